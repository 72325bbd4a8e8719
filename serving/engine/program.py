"""What a request does with logits: a program is called after every step that computed a place it reads.

Programs run on the engine's thread between steps. An exception in one fails its own request and nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from catp.serving.engine.errors import EngineError, FinishReason
from catp.serving.engine.request import Branch, Job, Read
from catp.serving.engine.sampling import Drawn

__all__ = ["Control", "Program", "Result"]


@dataclass(frozen=True, slots=True)
class Result:
    """What a read found: the draws it asked for, or float32 logits (rows,) of the plan rows.

    `error` says why there is neither (logits that are NaN, a constraint that allows nothing): this request fails.
    """

    branch: Branch
    at: int
    drawn: tuple[Drawn, ...] = ()
    logits: Any = None
    error: EngineError | None = None


class Control(Protocol):
    """What a program may do to its job. All of it takes effect in the next step."""

    job: Job

    def extend(self, branch: Branch, ids: Sequence[int], reads: Sequence[Read] = (), *, forced: int = 0) -> None:
        """Add tokens to a branch; `forced` of them were no decision."""
        ...

    def wrote(self, tokens: int, *, forced: int = 0) -> None:
        """Count tokens that end a branch: they are output, and need not be computed any more."""
        ...

    def fork(self, branch: Branch, at: int) -> Branch:
        """Return a new branch with the first `at` tokens of another; computed blocks are shared by reference."""
        ...

    def close(self, branch: Branch) -> None:
        """Let a branch go; its blocks return to the pool (cached ones stay found)."""
        ...

    def emit(self, event: Any) -> None:
        """Send an event to whoever waits for the request."""
        ...

    def finish(self, reason: FinishReason, value: Any = None) -> None:
        """End the request with its value; nothing happens to it after that."""
        ...


class Program(Protocol):
    """A request's own logic.

    The engine makes the first branch of the prompt; `begin` says where it reads. `advance` gets every result of the job
    of one step, in the order of the reads.
    """

    def begin(self, root: Branch, control: Control) -> None:
        """Start: usually `control.extend(root, (), [Read(len(root.tokens) - 1)])`."""
        ...

    def advance(self, results: Sequence[Result], control: Control) -> None:
        """Go on, finish, or do nothing (other results are awaited)."""
        ...
