"""Writing plans: a session of `catp.training.policy.session`, computed by the engine.

Every run of the session follows a run that was computed before. It goes on in that run's branch if the branch ends
there, and in a fork of it otherwise; so plans that begin alike are computed once; forced tokens, tokens of plans that
are shown, and choices are all the same to the engine.
"""

from collections.abc import Iterator, Sequence

from catp.planners.writer import Usage
from catp.serving.engine.program import Control, Result
from catp.serving.engine.request import Branch, Read
from catp.serving.server.events import StepDecided
from catp.training.policy.decode import Place
from catp.training.policy.session import Session
from catp.training.policy.tree import Run

__all__ = ["PlanProgram", "width_of"]


def width_of(samples: int, beams: int, shown: int) -> int:
    """Return the most branches that a session has at once: beams part before those that lost are closed."""
    return 1 + samples + 2 * beams + shown


class PlanProgram:
    """A `Program` that writes and rates plans; its value is the session's `Draft`, without seconds or price.

    Args:
        session: fresh.
        stream: emit `StepDecided` events.
    """

    def __init__(self, session: Session, *, stream: bool = True) -> None:
        self._session, self._stream = session, stream
        self._branches: dict[Run, Branch] = {}
        self._open: dict[tuple[int, int], tuple[Run, int]] = {}
        """What is read at a position of a branch: a place in a run's logits."""
        self._found: dict[Run, list[object]] = {}

    def begin(self, root: Branch, control: Control) -> None:
        """Compute the prompt, the plans shown, and where plans begin."""
        trunk, *runs = self._session.waiting()
        self._branches[trunk] = root
        self._place(runs, control)

    def advance(self, results: Sequence[Result], control: Control) -> None:
        """Collect logits; once all are there, choose and go on."""
        for result in results:
            run, place = self._open.pop((result.branch.number, result.at))
            self._found[run][place] = result.logits
        if self._open:
            return
        self._fill()
        self._session.computed()
        if self._stream:
            for number, at, step in self._session.decided():
                control.emit(StepDecided(number, at, step))
        runs = self._session.waiting()
        if not runs:
            control.finish("stop", self._session.draft(Usage()))
            return
        self._place(runs, control)
        self._close(control)

    def _place(self, runs: Sequence[Run], control: Control) -> None:
        """Give every run a branch, and ask for its logits."""
        for run in runs:
            assert run.parent is not None
            branch = self._branches[run.parent]
            if len(branch.tokens) > run.begin:  # somebody else went on in it
                branch = control.fork(branch, run.begin)
            self._branches[run] = branch
            reads = [Read(run.begin + place) for place in run.reads]
            control.extend(branch, run.ids, reads)
            self._found[run] = [None] * len(reads)
            for place, read in enumerate(reads):
                self._open[branch.number, read.at] = run, place

    def _fill(self) -> None:
        import numpy as np

        for run, rows in self._found.items():
            run.logits = np.asarray(rows, dtype=np.float64)
        self._found = {}

    def _close(self, control: Control) -> None:
        """Let go of branches in which nothing can go on any more."""
        needed = {self._branches[place.run].number for place in _ahead(self._session.open())}
        for branch in control.job.branches[:]:
            if branch.number not in needed and not branch.closed and not branch.pending:
                control.close(branch)


def _ahead(open_: Sequence[Place]) -> Iterator[Place]:
    """Places at which plans go on, and those behind them that are known already: a plan may yet lead there."""
    waiting = list(open_)
    while waiting:
        place = waiting.pop()
        yield place
        waiting += place.next.values()
