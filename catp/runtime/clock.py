"""Time as the runtime sees it: one protocol, the wall clock, and a virtual clock for tests.

Everything that waits in the runtime waits through a `Clock`, so a test can run a plan of ten minutes in a few
milliseconds and still read exact times. The virtual clock jumps to the next timer whenever the event loop has nothing
else to do; it therefore suits tools that wait only on the same clock, not real processes or sockets, and one virtual
clock per event loop at a time.
"""

import asyncio
import heapq
import time
from collections.abc import Callable
from itertools import count
from typing import Protocol

__all__ = ["Clock", "TimerHandle", "VirtualClock", "WallClock"]


class TimerHandle(Protocol):
    """A timer that can be called off."""

    def cancel(self) -> None:
        """Do not call back any more; harmless after the timer fired."""
        ...


class Clock(Protocol):
    """Reads and waits. `now_ns` never goes backwards; it counts Unix nanoseconds."""

    def now_ns(self) -> int:
        """The time of day in nanoseconds since 1970."""
        ...

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> TimerHandle:
        """Call `callback` in the event loop after `delay_s` seconds."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Wait for `delay_s` seconds."""
        ...


class WallClock:
    """Real time: the time of day when it was made, moved on by the monotonic clock, so it never jumps back."""

    def __init__(self) -> None:
        self._offset = time.time_ns() - time.monotonic_ns()

    def now_ns(self) -> int:
        """The time of day in nanoseconds since 1970."""
        return self._offset + time.monotonic_ns()

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> TimerHandle:
        """Call `callback` after `delay_s` seconds."""
        return asyncio.get_running_loop().call_later(delay_s, callback)

    async def sleep(self, delay_s: float) -> None:
        """Wait for `delay_s` seconds."""
        await asyncio.sleep(delay_s)


class _Timer:
    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class VirtualClock:
    """Time that moves only when every task is waiting, then straight to the next timer.

    Example:
        clock = VirtualClock()
        await clock.sleep(3600)      # returns at once
        assert clock.elapsed_s == 3600
    """

    def __init__(self, start_ns: int = 1_700_000_000_000_000_000) -> None:
        self._start = self._now = start_ns
        self._timers: list[tuple[int, int, _Timer]] = []
        self._order = count()
        self._watching = False

    @property
    def elapsed_s(self) -> float:
        """Virtual seconds since the clock was made."""
        return (self._now - self._start) / 1e9

    def now_ns(self) -> int:
        """The virtual time in nanoseconds."""
        return self._now

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> TimerHandle:
        """Call `callback` once the virtual time has moved on by `delay_s` seconds."""
        timer = _Timer(callback)
        heapq.heappush(self._timers, (self._now + max(0, round(delay_s * 1e9)), next(self._order), timer))
        if not self._watching:
            self._watching = True
            asyncio.get_running_loop().call_soon(self._watch)
        return timer

    async def sleep(self, delay_s: float) -> None:
        """Wait until the virtual time has moved on by `delay_s` seconds."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.call_later(delay_s, lambda: None if done.done() else done.set_result(None))
        try:
            await done
        finally:
            timer.cancel()

    def _watch(self) -> None:
        # The loop's queue of ready callbacks is the only exact sign that nobody has anything left to do at this time.
        loop = asyncio.get_running_loop()
        if not loop._ready:  # type: ignore[attr-defined]  # private, but the same in every CPython since 3.4
            self._jump()
        self._drop_cancelled()
        if self._timers:
            loop.call_soon(self._watch)
        else:
            self._watching = False

    def _jump(self) -> None:
        self._drop_cancelled()
        if self._timers:
            self._now = self._timers[0][0]
        while self._timers and self._timers[0][0] <= self._now:
            callback = heapq.heappop(self._timers)[2].callback
            if callback is not None:
                callback()

    def _drop_cancelled(self) -> None:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
