"""What one run is made of: its plan, its money, its values and who reads and writes them, put together.

`catp.runtime.run_ending` ends it, `catp.runtime.run` moves it.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from catp.planlang.compiled import CompiledPlan
from catp.planlang.money import Money
from catp.runtime.accounts import Accounts
from catp.runtime.approval import ApprovalRequest, Approver
from catp.runtime.asking import Asking
from catp.runtime.binding import ToolSource, bind_inputs, check_pools, look_up
from catp.runtime.clock import Clock, WallClock
from catp.runtime.commands import Event, Warned
from catp.runtime.dispatch import Dispatcher
from catp.runtime.early import EarlyCalls
from catp.runtime.events import RunEvent, RunStatus
from catp.runtime.flights import Flights
from catp.runtime.funding import KeptBack
from catp.runtime.hooks import Journal, Understudy
from catp.runtime.ids import new_run_id
from catp.runtime.journaled import JournaledValues
from catp.runtime.ledger import Ledger, Limit
from catp.runtime.limits import LevelReached
from catp.runtime.mending import Mending
from catp.runtime.observers import Observers
from catp.runtime.outcome import OutputResult, RunOutcome
from catp.runtime.planning import PLANNING_STEP, Planning
from catp.runtime.program import build_program
from catp.runtime.reducer import new_state
from catp.runtime.repairs import Broken, Repaired, Repairer
from catp.runtime.restore import Restored
from catp.runtime.slots import Slots
from catp.runtime.timers import Timers
from catp.runtime.values import Values
from catp.tools.call_fact import CallFact
from catp.tools.pools import Pool

__all__ = ["RunParts"]


class RunParts(ABC):
    """The parts of a run that has not started.

    Args:
        compiled: The plan.
        inputs: A value for every plan input that has no default.
        catalogue: Where tools are looked up and calls are priced beforehand.
        ledger: Pays for the run; several runs may share one.
        deadline_s: Seconds until everything unfinished is cancelled; the plan's own latency limit may only shorten it.
        slots: Bounds how many calls run at once; share one between runs. By default the run has its own.
        clock: Time; a `VirtualClock` in tests.
        on_event: Called with every event as it happens, in order; must be fast and must not block.
        on_call: Told what every call used, so that profiles can learn from it.
        run_id: By default a new ULID.
        approve: Decides about the plan and the steps with `@approve`; without it they are refused.
        seed: Decides the jitter of retries.
        journal: Keeps the events and values, so that the run can be resumed.
        about: What else is known of the run (task, policy, prices), as JSON values for the record.
        pools: Where steps with `@pin` run, by name.
        flights: Results of tools that allow it are used again through these; share one between runs.
        repair: Asked for another plan when steps have failed and nothing else is left to do.
        given_up: Optional outputs that were asked for and are not in this plan, with the reason.
        restored: An earlier life of this run that it goes on from, or the steps of another run that it takes over.
        stop: Why nothing more is to be done: the run only ends, as cancelled.
        understudy: Plays all tools, in a replay.
        planning: What making the plan took; booked first, unless another run has done so.
        early: Calls that were started while the plan was made: adopted, or booked, unless another run has done so.

    Raises:
        ValueError: A missing or unknown input, an unknown tool or pool, or a deadline that is not positive.
            Nothing has been spent then.
    """

    def __init__(
        self,
        compiled: CompiledPlan,
        inputs: Mapping[str, Any],
        catalogue: ToolSource,
        *,
        ledger: Ledger,
        deadline_s: float | None = None,
        slots: Slots | None = None,
        clock: Clock | None = None,
        on_event: Callable[[RunEvent], None] | None = None,
        on_call: Callable[[CallFact], None] | None = None,
        run_id: str | None = None,
        approve: Approver | None = None,
        seed: int = 0,
        journal: Journal | None = None,
        about: Mapping[str, Any] | None = None,
        pools: Mapping[str, Pool] | None = None,
        flights: Flights | None = None,
        repair: Repairer | None = None,
        given_up: Mapping[str, str] | None = None,
        restored: Restored | None = None,
        stop: str = "",
        understudy: Understudy | None = None,
        planning: Planning | None = None,
        early: EarlyCalls | None = None,
    ) -> None:
        if deadline_s is not None and not deadline_s > 0:
            raise ValueError(f"the deadline must be more than zero seconds, not {deadline_s!r}")
        self.run_id = run_id or new_run_id()
        self.ledger = ledger
        self.clock: Clock = clock or WallClock()
        self.slots = slots or Slots()
        self.outcome: RunOutcome | None = None
        self._compiled = compiled
        program = build_program(compiled)
        self._state = new_state(program, self.run_id, seed=seed)
        tools = look_up(program.steps.values(), catalogue)
        self._deadline_s = min((d for d in (deadline_s, program.max_latency_s) if d is not None), default=None)
        bound = bind_inputs(compiled, inputs)
        self._values = Values(bound, self._why_missing)
        self._inputs = {name: bound[name] for name in inputs}
        self._observers = Observers(journal, on_event, on_call)
        self.events = self._observers.events
        self._journaled = JournaledValues(self._values, self._observers, restored)
        self._about = dict(about or {})
        self._catalogue = catalogue
        self._mending = Mending(repair, done=self._mended, failed=self._observers.failed)
        self._restored = restored
        self._planning = planning
        self._early = early
        self._stop = stop
        check_pools(program.steps.values(), tools, pools or {})
        self._kept_back = KeptBack(compiled)
        self._given_up = dict(given_up or {})
        limit = Limit(program.max_cost, "the plan's own limit") if program.max_cost else None
        self._accounts = Accounts(self.run_id, ledger, limit)
        self._dispatcher = Dispatcher(
            self.run_id, tools, catalogue.estimator(live=True), self._values, ledger=ledger, accounts=self._accounts,
            clock=self.clock, slots=self.slots, deadline_s=self._deadline_s, post=self._post,
            on_call=self._observers.on_call, journal=journal, pools=pools or {}, failures=self._state.failures,
            kept=self._kept_back, stuck=self._stuck, flights=flights, understudy=understudy,
        )  # fmt: skip
        self._asking = Asking(
            approve, request=self._request, clock=self.clock, post=self._post, postpone=self._dispatcher.postpone
        )
        self._timers = Timers(self.clock, self._post)
        self._inbox: deque[Event] = deque()
        self._draining = False
        self._crash: BaseException | None = None
        self._over = asyncio.Event()
        self._ended: tuple[dict[str, OutputResult], RunStatus, int, Money]
        self._started_ns = 0

    @abstractmethod
    def _post(self, event: Event) -> None:
        """Hand an event to the reducer and carry out what it decides."""

    @abstractmethod
    def _stuck(self) -> bool:
        """True if only running calls can move the run."""

    @abstractmethod
    def _request(self, name: str | None) -> ApprovalRequest:
        """What is asked about a step, or about the plan."""

    @abstractmethod
    def _mended(self, repaired: Repaired | None, broken: Broken) -> None:
        """Whoever was asked for another plan has answered."""

    def _warn(self, levels: tuple[LevelReached, ...]) -> None:
        for level in levels:
            self._post(Warned(self.clock.now_ns(), PLANNING_STEP, None, level.to_json()))

    def _why_missing(self, name: str) -> str:
        step = self._state.steps.get(name)
        return f"{step.status}: {step.reason}" if step is not None else "nobody gave it a value"
