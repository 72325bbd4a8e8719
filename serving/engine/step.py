"""One step: what the scheduler decided, what the runner computes, and what came out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from catp.serving.engine.program import Result
from catp.serving.engine.request import Branch, Job

__all__ = ["Row", "Runner", "Step", "StepResult", "reads_in"]


@dataclass(frozen=True, slots=True)
class Row:
    """`count` tokens of a branch from position `begin` on; its block table covers them."""

    branch: Branch
    begin: int
    count: int

    @property
    def end(self) -> int:
        """The position after its last token."""
        return self.begin + self.count


@dataclass(frozen=True, slots=True)
class Step:
    """Rows to compute in one pass, after blocks were copied (`copies`: from, to; all are read before any is written).

    `late` jobs were given up because their deadline cannot be met, `stuck` ones because the pool cannot hold what they
    grew to, even alone; the engine ends both.
    """

    rows: tuple[Row, ...] = ()
    copies: tuple[tuple[int, int], ...] = ()
    late: tuple[Job, ...] = ()
    stuck: tuple[Job, ...] = ()

    @property
    def tokens(self) -> int:
        """Tokens computed in it."""
        return sum(row.count for row in self.rows)


@dataclass(frozen=True, slots=True)
class StepResult:
    """Results of all reads that lie in the rows, in the order of rows and reads; device seconds of the step."""

    results: tuple[Result, ...]
    seconds: float


class Runner(Protocol):
    """Computes steps; the model behind it, or a model of its times (`catp.serving.sim`)."""

    def execute(self, step: Step) -> StepResult:
        """Compute a step.

        Raises:
            OutOfMemory: nothing was computed; the same step in smaller parts may work.
        """
        ...


def reads_in(row: Row) -> Sequence[int]:
    """Return the indices in `row.branch.reads` of what the row computes."""
    return [number for number, read in enumerate(row.branch.reads) if row.begin <= read.at < row.end]
