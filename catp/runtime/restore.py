"""What is known of a run that is taken up again: which steps have ended, with which values, after how many calls.

    events, values ──restore──> Restored ──(retried, without, settle_doubts)──> Restored ──> Run(restored=...)

A resumed run starts from the ends of its steps, not from a replay of its transitions, so it does not matter which
version of the reducer wrote the journal, and a fork can start from some steps of another run. Everything in here is a
pure function: `catp.runtime.fold` reads the events, `catp.runtime.doubts` decides about calls that may have acted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypeAlias

from catp.planlang.money import Money
from catp.runtime.events import RunEvent, RunStatus, StepStatus
from catp.runtime.ledger import LedgerRow
from catp.runtime.losses import Loss
from catp.runtime.repairs import FailedCall

__all__ = ["LostCall", "PastCall", "Restored", "RestoredStep", "RestoredUnit", "Say", "retried", "without"]

Say: TypeAlias = Literal["again", "done", "failed"]
"""What becomes of a call that may or may not have acted: make it again, take it as done, take it as failed."""


class PastCall(NamedTuple):
    """A call as its events tell it. `outcome` is None if it never settled, `alternative` indexes those of its step.

    `writes` is what its step was said to do when it was called; a tool may say otherwise by now.
    """

    step: str
    element: int | None
    number: int
    tool: str
    version: str
    alternative: int
    key: str | None
    reserved: Money | None
    estimate: Money | None
    started_ns: int
    outcome: str | None = None
    reason: str = ""
    error: str = ""
    writes: bool = False


LostCall: TypeAlias = PastCall
"""A call that was under way when its process died: it may have acted, and nobody knows what it cost."""


@dataclass(frozen=True, slots=True)
class RestoredUnit:
    """A step, or one element of a mapped step, as far as it got.

    `status` is None while it is open; `attempt` is then the alternative in hand, `tries` how often each alternative
    was called and ended by itself, `number` how many calls were made in all, and `problems` (status, reason) why
    earlier alternatives gave no value. `told` says that its end is in the journal. `last` is its last call;
    `undecided` that this call failed and the journal ends before what followed from that. `said` is what somebody
    decided about it.
    """

    status: StepStatus | None = None
    has_value: bool = False
    value: Any = None
    attempt: int = 0
    tries: Mapping[int, int] = field(default_factory=dict)
    number: int = 0
    reason: str = ""
    problems: tuple[tuple[StepStatus, str], ...] = ()
    told: bool = False
    last: PastCall | None = None
    undecided: bool = False
    said: Say | None = None


@dataclass(frozen=True, slots=True)
class RestoredStep:
    """A step of an earlier life of the run. `status` is None if it had not ended, or must be run again.

    `units` are by element, with None as the key of a step that is not mapped; `width` is that of a map, None if it is
    none or never opened.
    """

    status: StepStatus | None = None
    reason: str = ""
    has_value: bool = False
    value: Any = None
    tool: str | None = None
    calls: int = 0
    width: int | None = None
    ready_ns: int | None = None
    started_ns: int | None = None
    ended_ns: int | None = None
    units: Mapping[int | None, RestoredUnit] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Restored:
    """An earlier life of a run, or of the run that this one is forked from (`fork` True: nothing was paid here yet).

    `seq` is the number of its last event, `lives` how many processes drove it, `elapsed_ns` how long they did (its
    deadline counts only that), `calls` how many calls it made, `rows` what they cost. `lost` are calls without an end.
    `status` is how the run ended, None if it did not; `stopped` the reason if somebody stopped it. `begun` is True
    once its steps were let go. `source` is the plan a repair put in place of the first one, `told` what was said
    about the run when it was created, `notes` what the person who resumes it should know, `numbers`
    how many calls steps made that a repair has replaced. `early` are calls that were started before the plan was
    finished and that no step had adopted when the process died.
    """

    steps: Mapping[str, RestoredStep]
    inputs: Mapping[str, Any] = field(default_factory=dict)
    seq: int = 0
    lives: int = 0
    elapsed_ns: int = 0
    calls: int = 0
    rows: tuple[LedgerRow, ...] = ()
    lost: tuple[LostCall, ...] = ()
    failures: tuple[FailedCall, ...] = ()
    estimates: Mapping[str, Money] = field(default_factory=dict)
    events: tuple[RunEvent, ...] = ()
    status: RunStatus | None = None
    stopped: str = ""
    begun: bool = False
    fork: bool = False
    source: str | None = None
    told: Mapping[str, Any] = field(default_factory=dict)
    retried: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    numbers: Mapping[tuple[str, int | None], int] = field(default_factory=dict)
    early: tuple[Loss, ...] = ()


def retried(run: Restored) -> Restored:
    """Open every step again that ended without a value, with all its tries; what was skipped stays skipped."""
    steps = dict(run.steps)
    names = []
    for name, step in run.steps.items():
        if step.status in (None, "ok", "skipped"):
            continue
        names.append(name)
        units = {
            element: unit if unit.status == "ok" else RestoredUnit(number=unit.number, last=unit.last, told=False)
            for element, unit in step.units.items()
        }
        steps[name] = replace(step, status=None, reason="", ended_ns=None, units=units)
    return replace(run, steps=steps, retried=(*run.retried, *names))


def without(run: Restored, names: frozenset[str]) -> Restored:
    """Forget everything about some steps: they run as if they never had."""
    return replace(run, steps={name: step for name, step in run.steps.items() if name not in names})
