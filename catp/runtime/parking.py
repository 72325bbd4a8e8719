"""Calls that wait for money: parked when they do not fit into the budget, queued again when money comes back.

Money comes back when a call of the process settles below what it held (the ledger tells), or when another process gives
some back (nobody tells, so it is asked for again from time to time). A call that waits for money which is kept back for
steps that cannot go on either is refused.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

from catp.runtime.calls import ToolCall
from catp.runtime.clock import Clock, TimerHandle
from catp.runtime.ledger import Ledger
from catp.runtime.limits import BudgetRefused

__all__ = ["Parking"]

_ASK_AGAIN_S, _ASK_AGAIN_AT_MOST_S = 0.1, 1.0
"""How often money that other processes hold is asked for again: at first, and after some time without any."""


class Parking:
    """The parked calls of one run.

    Args:
        ledger: Tells when money comes back.
        clock: Time.
        submit: Queues a call for a slot.
        pump: Starts what there is room for.
        stuck: True if so many parked calls are all that is left, and nothing else could move the run on.
    """

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        *,
        submit: Callable[[ToolCall], None],
        pump: Callable[[], None],
        stuck: Callable[[int], bool],
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._submit = submit
        self._pump = pump
        self._stuck = stuck
        self._parked: list[tuple[ToolCall, BudgetRefused]] = []
        self._asking_again: TimerHandle | None = None
        self._pause_s = _ASK_AGAIN_S
        self._loop: asyncio.AbstractEventLoop
        self._thread = 0
        self._unwatch: Callable[[], None] | None = None

    def open(self) -> None:
        """Listen to the ledger; needs the running event loop of the run."""
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        self._unwatch = self._ledger.watch(self.money_came_back)

    def close(self) -> None:
        """The run is over: hear no more of the ledger."""
        if self._unwatch is not None:
            self._unwatch()
            self._unwatch = None
        if self._asking_again is not None:
            self._asking_again.cancel()
            self._asking_again = None

    def park(self, call: ToolCall, refusal: BudgetRefused) -> None:
        """Keep a call that does not fit into the budget as long as money may come back."""
        self._parked.append((call, refusal))
        may_miss_it = refusal.cause == "elsewhere" or self._ledger.shares  # given back before this call was parked
        if may_miss_it and self._asking_again is None:
            self._asking_again = self._clock.call_later(self._pause_s, self._ask_again)
        asyncio.get_running_loop().call_soon(self.refuse_stuck)

    def got_some(self) -> None:
        """A call holds its money: ask often again."""
        self._pause_s = _ASK_AGAIN_S

    def refuse_stuck(self) -> None:
        """Refuse calls that wait for money kept back for steps which cannot go on either."""
        waiting = [(call, refusal) for call, refusal in self._parked if not call.over]
        if not waiting or not self._stuck(len(waiting)):
            return
        if all(refusal.cause == "kept" for _, refusal in waiting):
            self._parked = []
            for call, refusal in waiting:
                call.refuse(refusal)

    def money_came_back(self) -> None:
        """Queue every parked call again; may be called from any thread."""
        if not self._parked:
            return
        if threading.get_ident() != self._thread:  # a limit shared with runs in other event loops
            with suppress(RuntimeError):  # that loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self.money_came_back)
            return
        parked, self._parked = self._parked, []
        for call, _ in parked:
            if not call.over:
                self._submit(call)
        # Not at once: the steps that the finished call makes ready compete for the same money.
        asyncio.get_running_loop().call_soon(self._pump)

    def _ask_again(self) -> None:
        self._asking_again = None
        self._pause_s = min(_ASK_AGAIN_AT_MOST_S, self._pause_s * 1.5)
        self.money_came_back()
