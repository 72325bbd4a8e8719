"""What goes in and out of the reducer.

Events say what happened, commands say what to do; both are plain tuples without values of the plan, so a run can be
replayed from its events alone. The shell (`catp.runtime.run`) turns the world into events and commands into actions.
A `RunEvent` among the commands is to be recorded.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

from catp.planlang.money import Money
from catp.runtime.events import RunEvent, RunStatus
from catp.runtime.program import Program
from catp.runtime.restore import LostCall, Restored

__all__ = [
    "Approved",
    "Ask",
    "Bind",
    "Call",
    "CallEnded",
    "CallResult",
    "CallStarted",
    "CancelCall",
    "CancelRun",
    "Command",
    "Conclude",
    "Concluded",
    "Event",
    "Gather",
    "Prepare",
    "Prepared",
    "Replanned",
    "RunStarted",
    "SetTimer",
    "StartCall",
    "StopTimer",
    "TimerFired",
    "Warned",
]

CallResult: TypeAlias = Literal["ok", "rejected", "error", "timeout", "refused", "missing", "cancelled"]
"""How a call ended. `rejected`: it returned, but its accept guard failed. `missing`: an argument had no value."""

Question: TypeAlias = Literal["guard", "width", "else"]


class Call(NamedTuple):
    """One call of a tool: `attempt` indexes the step's alternatives, `number` counts the calls of the unit from 1."""

    id: int
    step: str
    element: int | None
    attempt: int
    number: int


class RunStarted(NamedTuple):
    """The run begins, or goes on from `restored`.

    `lost` are the calls that were under way when the process stopped, with the record of what they are charged. `stop`
    is the reason why nothing more is to be done, if so.
    """

    at_ns: int
    deadline_s: float | None
    data: Mapping[str, Any]
    restored: Restored | None = None
    lost: tuple[tuple[LostCall, Mapping[str, Any]], ...] = ()
    stop: str = ""


class Prepared(NamedTuple):
    """The answer to `Prepare`. `yes` False with a `reason` means impossible; for a guard without one, it is false."""

    at_ns: int
    step: str
    question: Question
    yes: bool
    width: int = 0
    reason: str | None = None


class Approved(NamedTuple):
    """Somebody decided on an `@approve` step, or on the whole plan if `step` is None.

    `granted` None means that the answer will not come in this process.
    """

    at_ns: int
    step: str | None
    granted: bool | None
    reason: str


class CallStarted(NamedTuple):
    """Money is reserved and the tool is being called."""

    at_ns: int
    call: int
    data: Mapping[str, Any]


class CallEnded(NamedTuple):
    """A call is over and its money settled; `data` goes into the record, `refusal` says what a refused one needed."""

    at_ns: int
    call: int
    result: CallResult
    reason: str = ""
    error_type: str = ""
    amount: Money | None = None
    data: Mapping[str, Any] = {}
    permanent: bool = False
    refusal: Mapping[str, Any] | None = None


class TimerFired(NamedTuple):
    """A timer that the reducer set ran out."""

    at_ns: int
    timer: int


class CancelRun(NamedTuple):
    """Stop everything."""

    at_ns: int
    reason: str


class Warned(NamedTuple):
    """A call cost more than was reserved for it, or a budget reached a warn level with it."""

    at_ns: int
    step: str
    element: int | None
    data: Mapping[str, Any]


class Replanned(NamedTuple):
    """The run goes on with another plan; steps named in `keep` stay as they ended."""

    at_ns: int
    program: Program
    keep: frozenset[str]
    left_s: float | None
    data: Mapping[str, Any]


class Concluded(NamedTuple):
    """The outputs have been collected."""

    at_ns: int
    status: RunStatus
    data: Mapping[str, Any]


class Prepare(NamedTuple):
    """Look at values: is the guard true, how long are the lists to map over, is there a value for `else`?"""

    step: str
    question: Question
    attempt: int = 0


class Ask(NamedTuple):
    """Ask for approval of a step, or of the whole plan if `step` is None."""

    step: str | None


class StartCall(NamedTuple):
    """Resolve the arguments, wait for a slot, reserve, call."""

    call: Call


class CancelCall(NamedTuple):
    """Stop a call; a `CallEnded` must follow."""

    call: int
    reason: str


class SetTimer(NamedTuple):
    """Fire `TimerFired(timer)` after `delay_s` seconds."""

    timer: int
    delay_s: float


class StopTimer(NamedTuple):
    """The timer is no longer of interest."""

    timer: int


class Bind(NamedTuple):
    """The step (or its element) takes the result of this call."""

    step: str
    element: int | None
    call: int


class Gather(NamedTuple):
    """The elements of a mapped step that are there become its result."""

    step: str


class Conclude(NamedTuple):
    """Every step is over and every call released: collect the outputs."""


Event: TypeAlias = (
    RunStarted | Prepared | Approved | CallStarted | CallEnded | TimerFired | CancelRun | Warned | Replanned | Concluded
)
Command: TypeAlias = Prepare | Ask | StartCall | CancelCall | SetTimer | StopTimer | Bind | Gather | Conclude | RunEvent
