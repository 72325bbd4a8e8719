"""The reducer's memory: plain mutable records, changed only by `catp.runtime.reducer`.

    RunState ── StepRun (one per step) ── Unit (one per step, or one per element of a mapped step) ── Call

The state is mutable so that a transition costs the same in a plan of 10 and of 10,000 steps. It is still replayable:
it holds no values, no tasks and no clock, and its random generator is seeded, so the same plan and the same sequence
of events give the same state and the same commands, always.
"""

from collections import deque
from dataclasses import dataclass, field
from random import Random
from typing import Literal, TypeAlias

from catp.runtime.commands import Call, Command
from catp.runtime.events import RunStatus, StepStatus
from catp.runtime.program import Program, StepInfo
from catp.runtime.repairs import Failures
from catp.runtime.restore import RestoredStep, RestoredUnit

__all__ = ["TERMINAL", "Phase", "Problem", "RunState", "StepRun", "Unit", "Waiting"]

TERMINAL: frozenset[StepStatus] = frozenset({"ok", "failed", "skipped", "refused", "poisoned", "cancelled"})

Phase: TypeAlias = Literal["guard", "asked", "args", "else", "approval", "run", "over"]
"""What a step is waiting for: its `when` guard and `@after`, an answer, its arguments, its `else` value, a person,
its calls, nothing."""


@dataclass(slots=True, eq=False)
class Waiting:
    """Somebody who waits for results: counts what is still missing. A new `ticket` makes earlier promises void."""

    count: int = 0
    ticket: int = 0


@dataclass(frozen=True, slots=True)
class Problem:
    """Why one alternative gave no value: as which status it counts, and the reason in words."""

    status: StepStatus
    reason: str


@dataclass(slots=True, eq=False)
class Unit:
    """What must give one value: a step, or one element of a mapped step. Open while `status` is not terminal.

    `attempt` is the alternative in hand and `parked` says that it waits for its inputs; `number` counts the calls made.
    `lost` marks an element given up within a quorum, here or upstream; `cut` one whose source step gave no value.
    `past` is how far it got in an earlier life of the run, until that has been taken into account.
    """

    step: "StepRun"
    element: int | None
    attempt: int
    tries: list[int]
    status: StepStatus = "pending"
    reason: str = ""
    number: int = 0
    lost: bool = False
    parked: bool = False
    cut: bool = False
    calls: dict[int, Call] = field(default_factory=dict)
    timers: dict[int, tuple[Literal["retry", "hedge"], int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    waiters: list[tuple["StepRun | Unit", int, bool]] = field(default_factory=list)
    waiting: Waiting = field(default_factory=Waiting)
    past: RestoredUnit | None = None

    @property
    def open(self) -> bool:
        """True while the unit may still give a value."""
        return self.status not in TERMINAL


@dataclass(slots=True, eq=False)
class StepRun:
    """One step of a run. `has_value` is True if consumers can read a result: also after `else`."""

    info: StepInfo
    status: StepStatus = "pending"
    reason: str = ""
    phase: Phase = "guard"
    first: int = 0
    has_value: bool = False
    units: list[Unit] | None = None
    left: int = 0
    ok: int = 0
    lost: int = 0
    bad: int = 0
    calls: int = 0
    ready_ns: int | None = None
    started_ns: int | None = None
    ended_ns: int | None = None
    problems: list[Problem] = field(default_factory=list)
    waiters: list[tuple["StepRun | Unit", int, bool]] = field(default_factory=list)
    width_waiters: list[tuple["StepRun | Unit", int, bool]] = field(default_factory=list)
    waiting: Waiting = field(default_factory=Waiting)

    @property
    def open(self) -> bool:
        """True while the step has not ended."""
        return self.status not in TERMINAL


@dataclass(slots=True, eq=False)
class RunState:
    """Everything the reducer knows of a run. Make one with `catp.runtime.reducer.new_state`.

    `begun` says that the steps may go, and `left_s` with how much of the deadline. `held` is True while the whole
    plan waits for approval; `asking` counts open questions, `deferred` names the steps (None for the plan) whose answer
    will not come in this process. `past` holds the steps that an earlier life of the run left open, `numbers` how
    many calls steps made that a repair has replaced: steps of the same name count on, so no two calls share a key.
    """

    program: Program
    run_id: str
    steps: dict[str, StepRun]
    rng: Random
    status: RunStatus = "running"
    started: bool = False
    concluding: bool = False
    failures: Failures = field(default_factory=Failures)
    retired: dict[str, StepRun] = field(default_factory=dict)
    stopped: str = ""
    begun: bool = False
    held: bool = False
    asking: int = 0
    deferred: set[str | None] = field(default_factory=set)
    cancelled: bool = False
    deadline_s: float | None = None
    left_s: float | None = None
    deadline_timer: int | None = None
    past: dict[str, RestoredStep] = field(default_factory=dict)
    numbers: dict[tuple[str, int | None], int] = field(default_factory=dict)
    now_ns: int = 0
    seq: int = 0
    open_steps: int = 0
    calls_made: int = 0
    next_id: int = 0
    spent: int = 0
    live: dict[int, tuple[Call, Unit]] = field(default_factory=dict)
    timers: dict[int, Unit] = field(default_factory=dict)
    todo: deque["StepRun | Unit"] = field(default_factory=deque)
    out: list[Command] = field(default_factory=list)
