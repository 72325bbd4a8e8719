"""The calls of one run: made out of steps, sent to the slots, stopped.

`ToolCall` is one call; here is what calls of the same run share: the tools, the values they read, the keys they use,
the deadline. `Parking` keeps those that wait for money, `Accounts` adds up what they cost.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context, copy_context
from functools import partial
from typing import Any

from catp.planlang.money import Money
from catp.planlang.registry_view import CallEstimate, Estimator, ValueFacts
from catp.planlang.types import ANY, Type
from catp.runtime.accounts import Accounts
from catp.runtime.call_state import CallState
from catp.runtime.calls import ToolCall
from catp.runtime.clock import Clock
from catp.runtime.codec import digest_arguments
from catp.runtime.commands import Call, CallEnded, Event
from catp.runtime.early import EarlyCalls
from catp.runtime.flights import Flights
from catp.runtime.funding import KeptBack, Refusal
from catp.runtime.hooks import Journal, Understudy
from catp.runtime.ledger import Ledger, Settlement
from catp.runtime.limits import BudgetRefused
from catp.runtime.parking import Parking
from catp.runtime.program import AttemptInfo, StepInfo
from catp.runtime.repairs import BLOCKED, Failures
from catp.runtime.restore import Restored
from catp.runtime.reuse import Reuse, life_of
from catp.runtime.slots import Slots
from catp.runtime.values import Missing, Values
from catp.tools.call_fact import CallFact
from catp.tools.errors import ToolUnavailable
from catp.tools.pools import Pool, backend_in
from catp.tools.spec import ToolBackend, ToolSpec

__all__ = ["Dispatcher", "spawn"]

_AFTER_DEADLINE_S = 1.0
"""A call's own limit comes after the run's deadline: the deadline, and nothing else, is why it is stopped then."""


class Dispatcher:
    """Makes the calls of one run; the host of its `ToolCall`s.

    Args:
        run_id: The run.
        tools: The tools of the plan, by name.
        estimator: Prices calls beforehand.
        values: What references are read from.
        ledger: Pays.
        accounts: Adds up what was paid, and knows the limits of the plan.
        clock: Time.
        slots: Where calls wait and run.
        deadline_s: Seconds after the start when everything ends.
        post: Takes what becomes of the calls.
        on_call: Told about every call that taught something; must not raise.
        journal: Where the run is kept; a step that writes waits for it before it acts.
        failures: What went wrong so far, so that nothing is tried the same way forever.
        kept: What required steps may still need.
        stuck: True if nothing but a call that waits for money could move the run on.
        pools: Where steps with `@pin` run, by name, and others if one is called `default`.
        flights: Results that may be used again, and the calls that other runs make of the same; None calls always.
        understudy: Plays all tools, in a replay.
    """

    def __init__(
        self,
        run_id: str,
        tools: Mapping[str, ToolSpec],
        estimator: Estimator,
        values: Values,
        *,
        ledger: Ledger,
        accounts: Accounts,
        clock: Clock,
        slots: Slots,
        deadline_s: float | None,
        post: Callable[[Event], None],
        on_call: Callable[[CallFact], None] | None,
        journal: Journal | None,
        failures: Failures,
        kept: KeptBack,
        stuck: Callable[[], bool],
        pools: Mapping[str, Pool],
        flights: Flights | None = None,
        understudy: Understudy | None = None,
    ) -> None:
        self.run_id = run_id
        self.ledger = ledger
        self.clock = clock
        self.slots = slots
        self.post = post
        self.on_call = on_call
        self.journal = journal
        self.stopping: set[asyncio.Task[None]] = set()
        self._tools = dict(tools)
        self._failures = failures
        self._kept = kept
        self._stuck = stuck
        self.refusals: list[Refusal] = []
        self._pools = pools
        self._understudy = understudy
        self.early: EarlyCalls | None = None
        """Calls that were started before the plan was finished."""
        self._reuse = None if flights is None else Reuse(flights, partial(spawn, self.stopping))
        self._estimator = estimator
        self._values = values
        self._accounts = accounts
        self._deadline_s = deadline_s
        self._params = _param_types(tools)
        self._keys: dict[tuple[str, int | None], str] = {}
        self._calls: dict[int, ToolCall] = {}
        self._started_ns = 0
        self._context: Context
        self.parking = Parking(
            ledger, clock, submit=self._submit, pump=partial(slots.pump, clock), stuck=self._only_parked
        )

    def extend(self, tools: Mapping[str, ToolSpec]) -> None:
        """Know the tools of another plan as well."""
        self._tools.update(tools)
        self._params.update(_param_types(tools))

    def step_over(self, step: str) -> None:
        """A step has ended: what was kept back for it is there for others."""
        if self._kept.over(step):
            self.parking.money_came_back()

    def resume(self, past: Restored) -> None:
        """Keep nothing back for steps that ended in an earlier life of the run, and use the keys it used."""
        for name, step in past.steps.items():
            if step.status is not None:
                self._kept.over(name)
            for unit in step.units.values():
                if unit.last is not None and unit.last.key is not None:
                    self._keys[unit.last.step, unit.last.element] = unit.last.key

    def open(self, started_ns: int) -> None:
        """The run starts: the deadline counts from here, and calls see the context variables of now."""
        self._started_ns = started_ns
        self._context = copy_context()
        self.parking.open()

    def postpone(self, waited_ns: int) -> None:
        """The plan had to be approved first: the deadline counts from that much later."""
        self._started_ns += waited_ns

    def close(self) -> None:
        """The run is over: hear no more of the ledger."""
        self.parking.close()

    def start(self, info: StepInfo, call: Call) -> None:
        """Make a call as soon as there is a slot and money for it; every call ends in one `CallEnded`."""
        attempt = info.attempts[call.attempt]
        spec = self._tools[attempt.tool]
        try:
            backend = self._backend(spec, info.pin) if self._understudy is None else spec.backend
            args = self._values.arguments(info.name, call.attempt, attempt, call.element)
            key = self._key(info, call)
        except Missing as error:
            self.post(CallEnded(self.clock.now_ns(), call.id, "missing", str(error)))
            return
        except ToolUnavailable as error:
            message = f"{spec.name} {error.message}"
            self.post(CallEnded(self.clock.now_ns(), call.id, "error", message, error.error_type, permanent=True))
            return
        blocked = self._blocked(spec, args)
        if blocked is not None:
            self.post(CallEnded(self.clock.now_ns(), call.id, "error", blocked, BLOCKED, permanent=True))
            return
        estimate = self.estimate(attempt, args)
        if self._understudy is not None:
            spec, backend, estimate = self._understudy.stand_in(call, spec, estimate)
        early = None if self.early is None or backend is not spec.backend else self.early.take(spec, args)
        self._calls[call.id] = tool_call = ToolCall(
            self, call, info, spec, early or backend, args, estimate, self._accounts.limits_of(info),
            self._timeout(info, spec), key, early=early,
        )  # fmt: skip
        life_s = None if self._reuse is None else life_of(info, spec)
        if life_s is None or self._reuse is None:
            self._submit(tool_call)
        else:
            tool_call.life_s = life_s
            self._reuse.join(tool_call)

    def _blocked(self, spec: ToolSpec, args: Mapping[str, Any]) -> str | None:
        """Why this call is not made again: it failed the same way too often."""
        if not self._failures.suspects(spec.name):
            return None
        return self._failures.blocked(spec.name, digest_arguments(spec.name, spec.version, args))

    def _backend(self, spec: ToolSpec, pin: str | None) -> ToolBackend:
        """Return what makes the call; a tool that a pool runs is asked there, not here, whether it can."""
        backend = backend_in(spec, pin, self._pools)
        reason = spec.unavailable() if backend is spec.backend else None
        if reason is not None:
            raise ToolUnavailable(spec.name, f"is not available here: {reason}")
        return backend

    def take(self, call: int) -> Any:
        """Return the value of a call that ended well, and let go of it."""
        return self._calls.pop(call).value

    def cancel(self, call: int, reason: str) -> None:
        """End a call: at once if it waits, else when the tool lets go."""
        found = self._calls.get(call)
        if found is not None and not found.over and not self._withdraw(found, reason):
            self.stop(found)

    def abandon_all(self) -> None:
        """End every call now; what a tool still does is on its own."""
        for call in list(self._calls.values()):
            if not call.over and not self._withdraw(call, "interrupted"):
                self.stop(call)
                call.abandon()

    def estimate(self, attempt: AttemptInfo, args: Mapping[str, Any]) -> CallEstimate | None:
        """Predict one call, or None if that is not possible."""
        types, values = self._params[attempt.tool], self._values
        facts = {
            arg.name: ValueFacts(types.get(arg.name, ANY), values.size(arg, args[arg.name]))
            for arg in attempt.args
            if arg.name in args
        }
        try:
            return self._estimator.estimate(self._tools[attempt.tool].name, facts)
        except Exception:  # a prediction that fails is no prediction: the ledger's rule for unknown prices decides
            return None

    # --- the host of the calls --------------------------------------------------------------------------------------

    def kept_back(self, call: ToolCall) -> Money:
        """What required steps may still need, if this call is not of one of them."""
        return self._kept.beside(call.call.step)

    def reserved(self, call: ToolCall, amount: Money) -> None:
        """What a required step holds need not be kept back for it any more."""
        self._kept.reserved(call.call.step, amount)
        self.parking.got_some()

    def park(self, call: ToolCall, refusal: BudgetRefused) -> None:
        """Keep a call that does not fit into the budget as long as money may come back."""
        call.job = None
        self.parking.park(call, refusal)

    def refused(self, call: ToolCall, refusal: BudgetRefused) -> None:
        """Remember what a call would have taken."""
        place = call.call
        self.refusals.append(Refusal(place.step, place.element, place.number, call.spec.name, refusal))

    def settled(self, call: CallState, settlement: Settlement) -> None:
        """Add what a call cost to its step."""
        self._accounts.settled(call.call.step, settlement, call.estimate.price.expected if call.estimate else None)

    def stop(self, call: ToolCall) -> None:
        """Cancel a started call in the background; it reports its own end."""
        if call.job is not None and not call.over:
            spawn(self.stopping, self.slots.stop(call.job, self.clock))

    def forget(self, call: CallState) -> None:
        """Let go of a call that gave no value."""
        self._calls.pop(call.call.id, None)

    def submit(self, call: ToolCall) -> None:
        """Queue a call that is not on its way yet, and start what there is room for."""
        self._submit(call)
        asyncio.get_running_loop().call_soon(self.slots.pump, self.clock)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _submit(self, call: ToolCall) -> None:
        element = call.call.element
        order = (*call.info.order, -1 if element is None else element)
        call.job = self.slots.submit(call.spec.name, call.spec.limits, order, call, self._context)

    def _withdraw(self, call: ToolCall, reason: str) -> bool:
        """End a call that has not started; False if it has."""
        waiting = call.job is None or self.slots.withdraw(call.job)
        if waiting:
            call.cancel_queued(reason)
        return waiting

    def _only_parked(self, parked: int) -> bool:
        return parked >= len(self._calls) and self._stuck()

    def _key(self, info: StepInfo, call: Call) -> str | None:
        if info.key is None:
            return None
        known = self._keys.get((info.name, call.element))
        if known is not None:
            return known
        key = str(self._values.resolve(info.key))
        return key if call.element is None else f"{key}#{call.element}"

    def _timeout(self, info: StepInfo, spec: ToolSpec) -> float:
        timeout = spec.limits.timeout_s if info.timeout_s is None else min(spec.limits.timeout_s, info.timeout_s)
        if self._deadline_s is not None:
            passed = (self.clock.now_ns() - self._started_ns) / 1e9
            timeout = min(timeout, max(0.0, self._deadline_s - passed) + _AFTER_DEADLINE_S)
        return timeout


def _param_types(tools: Mapping[str, ToolSpec]) -> dict[str, dict[str, Type]]:
    return {name: {param.name: param.type for param in spec.signature.params} for name, spec in tools.items()}


def spawn(tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
    """Start a task that removes itself from `tasks` when it is done."""
    task = asyncio.ensure_future(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
