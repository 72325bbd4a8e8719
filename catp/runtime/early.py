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
from typing import Any

from catp.planlang.money import Money, parse_usd
from catp.runtime.clock import Clock, WallClock
from catp.runtime.early_call import EarlyCall
from catp.runtime.events import RunEvent
from catp.runtime.ledger import BudgetRefused, CallKey, Ledger
from catp.runtime.ledger_rows import money_text
from catp.runtime.losses import Loss
from catp.runtime.planning import PLANNING_STEP
from catp.runtime.reuse import content_key
from catp.runtime.values import Values
from catp.tools.spec import ToolSpec

__all__ = ["EarlyCalls", "early_key"]

_GRACE_S = 2.0
"""How long a tool may take to let go of a call that is not wanted."""


def early_key(spec: ToolSpec, args: Mapping[str, Any]) -> str | None:
    """Return the content of a call; None if it has none. A default that is written out makes no other call."""
    constants = Values({}, lambda name: "a default cannot refer to another value")
    defaults = {p.name: constants.resolve(p.default) for p in spec.signature.params if p.default is not None}
    return content_key(spec, {**defaults, **args})


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
