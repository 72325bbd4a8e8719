"""Calls that were started before their plan was finished, and what becomes of them once it is.

    step decided ──start──> EarlyCall ──in the plan──> kept ──its step comes──> adopted: paid as a call of that step
                                │                        └── its step never comes ──┐
                                └── not in the plan, no plan ──stopped──> Loss <──────┘  a row of kind `eager`

A call is known by its content (tool, version, arguments), so that a plan which names its steps otherwise adopts it as
well. The money of a call that may yet be lost is held under a cap of its own, and in all limits of the agent; a step
that adopts it reserves in the ledger of its run instead. Neither what was held nor what a call cost above that comes
back to the cap: all calls that were ever started, adopted or lost, stay below it together.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from catp.planlang.money import Money, parse_usd
from catp.runtime.bills import Bill, bill_elapsed, bill_failed, bill_usage
from catp.runtime.clock import Clock, WallClock
from catp.runtime.events import RunEvent
from catp.runtime.ledger import BudgetRefused, CallKey, Ledger, Reservation
from catp.runtime.ledger_rows import money_text
from catp.runtime.losses import Loss
from catp.runtime.planning import PLANNING_STEP
from catp.runtime.reuse import content_key
from catp.runtime.values import Values
from catp.tools.errors import ToolError
from catp.tools.spec import BackendResult, QueueingBackend, ToolSpec
from catp.tools.usage import Usage, carrying

__all__ = ["EarlyCall", "EarlyCalls", "early_key"]

_GRACE_S = 2.0
"""How long a tool may take to let go of a call that is not wanted."""


def early_key(spec: ToolSpec, args: Mapping[str, Any]) -> str | None:
    """Return the content of a call; None if it has none. A default that is written out makes no other call."""
    constants = Values({}, lambda name: "a default cannot refer to another value")
    defaults = {p.name: constants.resolve(p.default) for p in spec.signature.params if p.default is not None}
    return content_key(spec, {**defaults, **args})


@dataclass(eq=False, slots=True)
class EarlyCall:
    """One call; it is the backend of the call that adopts it.

    `held` is None once its money is held by somebody else. `result` or `error` say how it ended, `taken` that a step
    will adopt it, `adopted` that it has.
    """

    key: str
    step: str
    spec: ToolSpec
    args: Mapping[str, Any]
    timeout_s: float
    clock: Clock
    ledger: Ledger
    held: Reservation | None
    reserved: Money
    began_ns: int | None = None
    ended_ns: int | None = None
    result: BackendResult | None = None
    error: BaseException | None = None
    taken: bool = False
    adopted: bool = False
    task: "asyncio.Task[None]" = field(init=False)

    @property
    def ms(self) -> float:
        """How long the tool has been at work."""
        if self.began_ns is None:
            return 0.0
        ended = self.clock.now_ns() if self.ended_ns is None else self.ended_ns
        return (ended - self.began_ns) / 1e6

    def let_go(self) -> None:
        """Hold no money any more: a run does now, or the call is over and lost."""
        if self.held is not None:
            self.ledger.release(self.held)
            self.held = None

    async def work(self) -> None:
        """Make the call. Never raises."""
        try:
            result = await self._call()
            if not isinstance(result, BackendResult):
                raise TypeError(f"its backend returned {type(result).__name__} instead of a BackendResult")
            self.result = result
        except BaseException as error:  # a tool may raise SystemExit or worse; cancellation is one way to end
            self.error = error
        finally:
            self.ended_ns = self.clock.now_ns()

    async def _call(self) -> BackendResult:
        backend = self.spec.backend
        if isinstance(backend, QueueingBackend):
            return await backend.call_when_free(self.args, timeout=self.timeout_s, began=self._begin)
        await self._begin()
        return await backend.call(self.args, timeout=self.timeout_s)

    async def _begin(self) -> None:
        self.began_ns = self.clock.now_ns()

    def bill(self) -> Bill:
        """What it cost, as far as is known now."""
        if self.began_ns is None:
            return Bill(())
        if self.result is not None:
            return bill_usage(self.spec, self.result.usage)
        if self.ended_ns is None:
            return Bill(None, "the tool ignored its cancellation")
        error = self.error
        if isinstance(error, ToolError):
            return bill_failed(self.spec, error.usage, error.billing, error.error_type, self.ms, self.reserved)
        usage = getattr(error, "usage", None)
        if isinstance(usage, Usage):
            return bill_usage(self.spec, usage)
        return bill_elapsed(self.spec, self.ms, self.reserved)

    def loss(self, why: str) -> Loss:
        """What is booked of it."""
        charges, note, estimated = self.bill()
        if charges is not None:
            amount: Money | None = Money(sum(charge.amount for charge in charges))
        else:
            amount, estimated = self.reserved if self.reserved > 0 else None, True
        return Loss(self.spec.name, self.step, self.ms, amount, f"{why}; {note}" if note else why, estimated)

    # --- as the backend of a call of the run ------------------------------------------------------------------------

    async def call(self, args: Mapping[str, Any], *, timeout: float) -> BackendResult:
        """Wait for the call that is under way; stopping this stops that."""
        self.adopted = True
        try:
            await asyncio.shield(self.task)
        except asyncio.CancelledError as stopped:
            self.task.cancel()
            await asyncio.wait([self.task])
            if self.result is None:
                usage = getattr(self.error, "usage", None)
                raise (carrying(stopped, usage) if isinstance(usage, Usage) else stopped) from None
        if self.result is not None:
            return self.result
        if isinstance(self.error, Exception):
            raise self.error
        raise RuntimeError(f"the call was started early and ended with {type(self.error).__name__}: {self.error}")

    async def close(self) -> None:
        """Nothing is held here that the tool's own backend does not hold."""


class EarlyCalls:
    """The calls started for one plan.

    Args:
        ledger: Holds their money; its cap is the most that may be spent on them.
        clock: Time; that of the run.
    """

    def __init__(self, ledger: Ledger, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or WallClock()
        self.losses: list[Loss] = []
        self._ledger = ledger
        self._calls: dict[str, EarlyCall] = {}
        self._count = 0
        self._overrun = 0
        self._unclaimed = [None]

    @property
    def count(self) -> int:
        """How many calls were started."""
        return self._count

    @property
    def lost(self) -> Money:
        """What the calls that no plan wants cost and no run has booked yet."""
        return Money(sum(loss.amount or 0 for loss in self.losses))

    @property
    def due(self) -> bool:
        """True until a run has taken the calls over."""
        return bool(self._unclaimed)

    @classmethod
    def recorded(cls, events: Iterable[RunEvent]) -> "EarlyCalls":
        """Return what a run lost by calls in vain, for the same run played again; nothing can be adopted."""
        found = cls(Ledger())
        for event in events:
            for call in event.data.get("eager", {}).get("calls", ()):
                (row,) = call["rows"]
                amount = parse_usd(row["amount"]) if "amount" in row else None
                note = row["note"].removeprefix(f"{call['step']}: ")
                found.losses.append(Loss(call["tool"], call["step"], call["ms"], amount, note, not row["priced"]))
        return found

    def unbooked(self) -> list[Loss]:
        """Return the losses that have come since the last call; the caller books them."""
        found, self.losses = self.losses, []
        return found

    def claim(self) -> bool:
        """True the first time: the caller adopts the calls and books the losses."""
        try:
            self._unclaimed.pop()
        except IndexError:
            return False
        return True

    def start(
        self, step: str, spec: ToolSpec, args: Mapping[str, Any], *, key: str, price: Money, timeout_s: float,
        ended: Callable[[EarlyCall], None],
    ) -> EarlyCall | None:  # fmt: skip
        """Call a tool now for at most `price`; None if that does not fit the cap or another limit.

        `ended` is called with a call that has come to its end by itself.
        """
        available = self._ledger.available
        if available is not None and price + self._overrun > available:
            return None
        place = CallKey("", PLANNING_STEP, 1, spec.name, self._count)
        held = self._ledger.reserve(place, price)
        if isinstance(held, BudgetRefused):
            return None
        self._count += 1
        call = EarlyCall(key, step, spec, args, timeout_s, self.clock, self._ledger, held, price)
        call.task = asyncio.ensure_future(call.work())

        def over(_: object) -> None:
            charges = call.bill().charges
            self._overrun += max(0, sum(charge.amount for charge in charges or ()) - call.reserved)
            ended(call)

        call.task.add_done_callback(over)
        self._calls[key] = call
        return call

    def get(self, key: str) -> EarlyCall | None:
        """Return the call of this content that was started and is not lost, if there is one."""
        return self._calls.get(key)

    def running(self, tool: str | None = None) -> int:
        """How many calls (of a tool) are under way."""
        return sum(not c.task.done() and tool in (None, c.spec.name) for c in self._calls.values())

    async def keep(self, kept: Collection[EarlyCall], why: str) -> None:
        """Stop all other calls, wait until they have let go, and turn them into losses for the reason `why`."""
        others = [call for call in self._calls.values() if call not in kept]
        for call in others:
            del self._calls[call.key]
            call.task.cancel()
        try:
            await self._stopped([call for call in others if not call.task.done()])
        finally:  # a second interruption ends the patience, not the accounts
            self._lose(others, why)

    async def _stopped(self, calls: Collection[EarlyCall]) -> None:
        if not calls:
            return
        waiting = asyncio.ensure_future(asyncio.wait([call.task for call in calls]))
        timer = self.clock.call_later(_GRACE_S, waiting.cancel)
        try:
            await asyncio.wait([waiting])
        finally:
            timer.cancel()
            waiting.cancel()

    def _lose(self, calls: Iterable[EarlyCall], why: str) -> None:
        for call in calls:
            self.losses.append(call.loss(why))
            call.let_go()

    # --- for the run ------------------------------------------------------------------------------------------------

    def held(self) -> list[dict[str, Any]]:
        """What a record says of calls that steps may adopt, as JSON values."""
        return [
            {"key": call.key, "tool": call.spec.name, "step": call.step, "reserved": money_text(call.reserved)}
            for call in self._calls.values()
        ]

    def take(self, spec: ToolSpec, args: Mapping[str, Any]) -> EarlyCall | None:
        """Return the call that is the same as this one, once."""
        if not any(call.spec.name == spec.name and not call.taken for call in self._calls.values()):
            return None  # the content of arguments can be large
        key = early_key(spec, args)
        call = None if key is None else self._calls.get(key)
        if call is None or call.taken:
            return None
        call.taken = True
        return call

    def leave(self, why: str) -> list[asyncio.Task[None]]:
        """The run is over: calls that no step adopted are lost. Return those that have yet to let go."""
        left = [call for call in self._calls.values() if not call.adopted]
        self._calls = {}
        for call in left:
            call.task.cancel()
            if call.ended_ns is None and call.began_ns is not None:
                call.ended_ns = self.clock.now_ns()  # priced by elapsed time; `work` may say a little more later
        self._lose(left, why)
        return [call.task for call in left if not call.task.done()]
