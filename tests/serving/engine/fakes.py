"""A runner whose memory is a dictionary, and programs that write pseudo-random tokens.

What a place reads depends on all tokens before it, and on nothing else: so a run is right exactly if every token it
wrote is what a run without cache, forks, chunks and preemption writes.
"""

from collections.abc import Sequence
from hashlib import sha256

from catp.serving.engine.blocks import BlockPool
from catp.serving.engine.program import Result
from catp.serving.engine.step import Row, Step, StepResult, reads_in


def choice(tokens: Sequence[int], vocabulary: int = 50) -> int:
    """What a model without randomness writes after these tokens."""
    return sha256(repr(list(tokens)).encode()).digest()[0] % vocabulary


class FakeRunner:
    """Writes each token to its place, and checks before that all earlier places of the row hold what they should."""

    def __init__(self, pool: BlockPool) -> None:
        self.pool = pool
        self.memory: dict[int, list[tuple[str | None, int, int] | None]] = {
            block: [None] * pool.size for block in range(pool.blocks)
        }
        self.computed = 0
        self.steps = 0

    def execute(self, step: Step) -> StepResult:
        contents = [list(self.memory[source]) for source, _ in step.copies]
        for (_, target), content in zip(step.copies, contents, strict=True):
            self.memory[target] = content
        for row in step.rows:
            for at in range(row.begin, row.end):
                self._place(row, at)[at % self.pool.size] = self._value(row, at)
        for row in step.rows:
            self.computed += row.count
            for at in range(row.end):
                found = self._place(row, at)[at % self.pool.size]
                assert found == self._value(row, at), f"branch {row.branch.number} reads {found} at {at}"
        self.steps += 1
        results = [
            Result(row.branch, row.branch.reads[number].at, logits=self._logits(row, number))
            for row in step.rows
            for number in reads_in(row)
        ]
        return StepResult(tuple(results), 0.01)

    def _place(self, row: Row, at: int) -> list[tuple[str | None, int, int] | None]:
        return self.memory[row.branch.blocks[at // self.pool.size]]

    def _value(self, row: Row, at: int) -> tuple[str | None, int, int]:
        return row.branch.job.request.adapter, at, row.branch.tokens[at]

    def _logits(self, row: Row, number: int) -> int:
        return choice(row.branch.tokens[: row.branch.reads[number].at + 1])
