"""The asyncio shell: turns the reducer's commands into calls, timers and questions, and the world into events.

`execute` runs a compiled plan to its end. `Run` is the same with a handle: start it, watch it, cancel it, and read its
outcome also when the waiting task itself was cancelled (Ctrl-C):

    run = Run(compiled, inputs, catalogue, ledger=Ledger(usd("0.05")))
    try:
        outcome = await run.wait()
    except asyncio.CancelledError:
        print(run.outcome.status)       # cancelled; every call is stopped and every cent is in the ledger
        raise
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from catp.planlang.compiled import CompiledPlan
from catp.planlang.money import Money, format_usd
from catp.planlang.printer import to_text
from catp.runtime.accounts import Accounts
from catp.runtime.approval import ApprovalRequest, Approver, plan_request, step_request
from catp.runtime.asking import Asking
from catp.runtime.binding import ToolSource, bind_inputs, check_pools, look_up
from catp.runtime.clock import Clock, WallClock
from catp.runtime.commands import (
    Ask,
    Bind,
    CancelCall,
    CancelRun,
    Conclude,
    Concluded,
    Event,
    Gather,
    Prepare,
    Prepared,
    Replanned,
    RunStarted,
    SetTimer,
    StartCall,
    StopTimer,
    Warned,
)
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
from catp.runtime.mending import Mending, unchanged
from catp.runtime.observers import Observers
from catp.runtime.outcome import (
    OutputResult,
    RunOutcome,
    StepResult,
    collect_outputs,
    finished_data,
    step_result,
    verdict,
)
from catp.runtime.planning import PLANNING_STEP, Planning
from catp.runtime.program import build_program
from catp.runtime.rebind import charge_lost, resumed_data
from catp.runtime.reducer import new_state, reduce
from catp.runtime.repairs import Broken, Repaired, Repairer
from catp.runtime.restore import LostCall, Restored
from catp.runtime.slots import Slots
from catp.runtime.timers import Timers
from catp.runtime.values import Values
from catp.tools.call_fact import CallFact
from catp.tools.pools import Pool

__all__ = [
    "ApprovalRequest",
    "Approver",
    "OutputResult",
    "Run",
    "RunOutcome",
    "StepResult",
    "ToolSource",
    "execute",
]


async def execute(
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
) -> RunOutcome:
    """Run a plan to its end and return what came of it; see `Run` for the arguments and the errors."""
    run = Run(
        compiled, inputs, catalogue, ledger=ledger, deadline_s=deadline_s, slots=slots, clock=clock, on_event=on_event,
        on_call=on_call, run_id=run_id, approve=approve, seed=seed,
    )  # fmt: skip
    return await run.wait()


class Run:
    """One execution of a plan.

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

    # --- the handle -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin; needs a running event loop. Starting twice is harmless."""
        if self._started_ns:
            return
        now, past = self.clock.now_ns(), self._restored
        resumed = past is not None and not past.fork
        self._started_ns = now - (past.elapsed_ns if past is not None else 0)
        self._dispatcher.open(self._started_ns)
        cap, limits = self.ledger.cap, self._compiled.plan.limits
        data = {
            **(resumed_data(past) if past is not None and resumed else self._about),
            "plan": self._about.get("plan", self._compiled.digest),
            "steps": len(self._state.steps),
            "budget": None if cap is None else format_usd(cap),
            "limit": None if limits.cost is None else format_usd(limits.cost.nano),
            "deadline_ms": None if self._deadline_s is None else self._deadline_s * 1e3,
        }
        lost: tuple[tuple[LostCall, Mapping[str, Any]], ...] = ()
        for name, value in self._inputs.items() if not resumed else ():
            self._observers.keep("input", name, None, value)
        if past is not None:
            self._journaled.restore(past)
            self.events += past.events
            self._dispatcher.resume(past)
            lost = charge_lost(self._accounts, past, self._state.program.steps)
        levels = () if resumed else self._accounts.plan(self._planning, data)
        levels += self._adopt(data, past if resumed else None)
        self._post(RunStarted(now, self._deadline_s, data, past, lost, self._stop))
        self._warn(levels)

    def _adopt(self, data: dict[str, Any], past: Restored | None) -> tuple[LevelReached, ...]:
        """Take over calls that were started early; book those that are lost, of this life or of the one before."""
        if past is not None:
            return self._accounts.lose(past.early, data)
        if self._early is None or not self._early.claim():
            return ()
        self._dispatcher.early = self._early
        levels = self._accounts.lose(self._early.unbooked(), data)
        held = self._early.held()
        if held:
            data.setdefault("eager", {})["held"] = held
        return levels

    def _leave_early(self, data: dict[str, Any]) -> tuple[LevelReached, ...]:
        """Book the calls that were started early and that no step came to take."""
        early = self._dispatcher.early
        if early is None:
            return ()
        self._dispatcher.stopping.update(early.leave("its step did not come to be called"))
        return self._accounts.lose(early.unbooked(), data)

    def _warn(self, levels: tuple[LevelReached, ...]) -> None:
        for level in levels:
            self._post(Warned(self.clock.now_ns(), PLANNING_STEP, None, level.to_json()))

    def cancel(self, reason: str = "cancelled by the caller") -> None:
        """Stop all work; the run then ends as `cancelled` once every call has been released."""
        if self.outcome is None and self._started_ns:
            self._post(CancelRun(self.clock.now_ns(), reason))
            self._mending.cancel()

    async def wait(self) -> RunOutcome:
        """Start if need be, and wait for the end.

        If the waiting task is cancelled, the run is stopped first: calls are cancelled and released, the ledger is
        complete and `outcome` is there when `CancelledError` is raised on.
        """
        self.start()
        try:
            await self._over.wait()
        except asyncio.CancelledError:
            await self._stop_everything()
            raise
        finally:
            await self._clean_up()
        if self._crash is not None:
            raise self._crash
        assert self.outcome is not None
        return self.outcome

    async def _stop_everything(self) -> None:
        self.cancel("interrupted")
        try:
            await self._over.wait()
        except asyncio.CancelledError:  # a second interrupt: no more patience, but still a complete ledger
            self._dispatcher.abandon_all()
            raise

    async def _clean_up(self) -> None:
        if self._dispatcher.early is not None:  # nothing is left of it, unless a defect ended the run
            self._dispatcher.stopping.update(self._dispatcher.early.leave("the run ended by a defect"))
        self._dispatcher.close()
        self._timers.clear()
        asking = self._asking.tasks
        for task in asking:
            task.cancel()
        stopping = self._dispatcher.stopping  # these end by themselves: a call stops or is abandoned
        if asking or stopping:
            await asyncio.gather(*asking, *stopping, return_exceptions=True)

    # --- events in, commands out ------------------------------------------------------------------------------------

    def _post(self, event: Event) -> None:
        """Hand an event to the reducer and carry out what it decides."""
        self._inbox.append(event)
        if self._draining:
            return
        self._draining = True
        try:
            while self._inbox:
                for command in reduce(self._state, self._inbox.popleft())[1]:
                    _ACTIONS[type(command)](self, command)
        except Exception as error:  # a defect in here must end the run, not hang it
            self._crash = error
            self._inbox.clear()
            self._dispatcher.abandon_all()
            self._over.set()
        finally:
            self._draining = False
        self.slots.pump(self.clock)
        self._dispatcher.parking.refuse_stuck()

    def _stuck(self) -> bool:
        """True if no retry is due, nobody is being asked and no plan mended: only running calls can move the run."""
        return not self._state.timers and not self._state.asking and not self._mending.busy

    def _record(self, event: RunEvent) -> None:
        self._observers.tell(event)
        if event.type in ("run.finished", "run.waiting"):
            self._finish()
        elif event.type in _STEP_OVER and event.attempt is None and event.element is None and event.step is not None:
            self._dispatcher.step_over(event.step)

    def _prepare(self, command: Prepare) -> None:
        yes, width, reason = self._journaled.answer(command, self._state.steps[command.step])
        self._post(Prepared(self.clock.now_ns(), command.step, command.question, yes, width, reason))

    def _bind(self, command: Bind) -> None:
        self._journaled.bind(command.step, command.element, self._dispatcher.take(command.call))

    # --- questions, end ---------------------------------------------------------------------------------------------

    def _request(self, name: str | None) -> ApprovalRequest:
        if name is None:
            return plan_request(self.run_id, self._compiled, self._inputs, self.ledger.cap)
        step = self._state.steps[name]
        info = step.info
        attempt = info.attempts[step.first]
        args = {} if info.mapped else self._values.arguments(info.name, step.first, attempt, None)
        width = len(step.units or ()) if info.mapped else None
        estimate = self._dispatcher.estimate(attempt, args)
        return step_request(self.run_id, self._compiled, info, args, estimate, self.ledger.cap, width)

    def _conclude(self, command: Conclude) -> None:
        outputs = collect_outputs(self._state, self._values)
        broken = self._broken(outputs)
        if broken is None:
            self._end(outputs)
        else:
            self._mending.start(broken)

    def _broken(self, outputs: Mapping[str, OutputResult]) -> Broken | None:
        """What a repairer is told, or None if there is none, or nothing failed that could be repaired."""
        state = self._state
        missing = tuple(name for name, output in outputs.items() if output.status in ("failed", "poisoned"))
        if not missing or state.stopped or not self._mending.worth_it(len(state.failures.calls)):
            return None
        left_s = None
        if self._deadline_s is not None:
            left_s = self._deadline_s - (self.clock.now_ns() - self._started_ns - self._asking.held_ns) / 1e9
        return Broken(
            self._compiled, self._values.snapshot(),
            frozenset(name for name, step in state.steps.items() if step.has_value), tuple(state.failures.calls),
            missing, self._accounts.spent, self.ledger.available, left_s,
        )  # fmt: skip

    def _mended(self, repaired: Repaired | None, broken: Broken) -> None:
        planning = next(iter(broken.planning), None)
        if repaired is None or self._state.stopped:
            self._end(collect_outputs(self._state, self._values), planning)
        else:
            self._replan(repaired, broken.left_s, planning)

    def _replan(self, repaired: Repaired, left_s: float | None, planning: Planning | None) -> None:
        """Go on with another plan; steps that are the same in both and have ended stay as they ended."""
        now, program = self.clock.now_ns(), build_program(repaired.compiled)
        kept = unchanged(self._compiled.plan, repaired.compiled.plan, self._state)
        for name in program.steps.keys() - kept:
            self._journaled.reset(name)
        self._dispatcher.extend(look_up(program.steps.values(), self._catalogue))
        self._kept_back.plan(repaired.compiled, again=program.steps.keys() - kept)
        self._compiled = repaired.compiled
        data: dict[str, Any] = {
            "plan": repaired.compiled.digest, "source": to_text(repaired.compiled.source), "reason": repaired.reason,
            "kept": sorted(kept),
        }  # fmt: skip
        levels = self._accounts.plan(planning, data)
        self._post(Replanned(now, program, kept, left_s, data))
        self._warn(levels)

    def _end(self, outputs: dict[str, OutputResult], planning: Planning | None = None) -> None:
        """End the run; `planning` is what looking for another plan took, if that was in vain."""
        for name, reason in self._given_up.items():
            outputs.setdefault(name, OutputResult(None, "refused", reason, optional=True))
        status = verdict(self._state, outputs)
        for name, output in outputs.items():
            if output.ok:
                self._observers.keep("output", name, None, output.value)
        ended = self.clock.now_ns()
        booked: dict[str, Any] = {}
        self._warn(self._accounts.plan(planning, booked) + self._leave_early(booked))
        spent, ms = self._accounts.spent, (ended - self._started_ns) / 1e6
        data = booked | finished_data(status, outputs, spent, ms, self._state.stopped)
        self._ended = (outputs, status, ended, spent)
        self._post(Concluded(ended, status, data))

    def _finish(self) -> None:
        outputs, status, ended, spent = self._ended
        every_step, accounts = {**self._state.retired, **self._state.steps}, self._accounts
        self.outcome = RunOutcome(
            self.run_id, status, outputs,
            {
                name: step_result(step, self._values, accounts.prices.get(name), accounts.estimates.get(name))
                for name, step in every_step.items()
            },
            tuple(self.events), tuple(accounts.rows), spent, self._started_ns, ended, self._observers.error,
            self._compiled, tuple(self._dispatcher.refusals),
        )  # fmt: skip
        self._over.set()

    def _why_missing(self, name: str) -> str:
        step = self._state.steps.get(name)
        return f"{step.status}: {step.reason}" if step is not None else "nobody gave it a value"


_STEP_OVER = frozenset(
    ("node.finished", "node.failed", "node.skipped", "node.refused", "node.poisoned", "node.cancelled")
)

_ACTIONS: dict[type, Callable[[Run, Any], None]] = {
    RunEvent: Run._record,
    Prepare: Run._prepare,
    Ask: lambda run, command: run._asking.ask(command.step),
    StartCall: lambda run, command: run._dispatcher.start(run._state.steps[command.call.step].info, command.call),
    CancelCall: lambda run, command: run._dispatcher.cancel(command.call, command.reason),
    SetTimer: lambda run, command: run._timers.set(command.timer, command.delay_s),
    StopTimer: lambda run, command: run._timers.stop(command.timer),
    Bind: Run._bind,
    Gather: lambda run, command: run._values.close_map(command.step),
    Conclude: Run._conclude,
}
