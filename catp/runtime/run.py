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
from collections.abc import Callable, Mapping
from typing import Any

from catp.planlang.compiled import CompiledPlan
from catp.planlang.money import format_usd
from catp.runtime.approval import ApprovalRequest, Approver, plan_request, step_request
from catp.runtime.binding import ToolSource
from catp.runtime.clock import Clock
from catp.runtime.commands import (
    Ask,
    Bind,
    CancelCall,
    CancelRun,
    Conclude,
    Event,
    Gather,
    Prepare,
    Prepared,
    RunStarted,
    SetTimer,
    StartCall,
    StopTimer,
)
from catp.runtime.events import RunEvent
from catp.runtime.ledger import Ledger
from catp.runtime.limits import LevelReached
from catp.runtime.outcome import OutputResult, RunOutcome, StepResult
from catp.runtime.rebind import charge_lost, resumed_data
from catp.runtime.reducer import reduce
from catp.runtime.restore import LostCall, Restored
from catp.runtime.run_ending import EndingRun
from catp.runtime.slots import Slots
from catp.tools.call_fact import CallFact

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


class Run(EndingRun):
    """One execution of a plan; see `catp.runtime.run_parts.RunParts` for the arguments and the errors."""

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
