"""The timers of one run: backoffs, hedges, the deadline."""

from collections.abc import Callable

from catp.runtime.clock import Clock, TimerHandle
from catp.runtime.commands import Event, TimerFired

__all__ = ["Timers"]


class Timers:
    """Posts `TimerFired` once for every timer that is set and not stopped before."""

    def __init__(self, clock: Clock, post: Callable[[Event], None]) -> None:
        self._clock = clock
        self._post = post
        self._waiting: dict[int, TimerHandle] = {}

    def set(self, timer: int, delay_s: float) -> None:
        """Set a timer; it fires at once if the delay is not positive."""

        def fire() -> None:
            if self._waiting.pop(timer, None) is not None:
                self._post(TimerFired(self._clock.now_ns(), timer))

        if delay_s <= 0:
            self._post(TimerFired(self._clock.now_ns(), timer))
        else:
            self._waiting[timer] = self._clock.call_later(delay_s, fire)

    def stop(self, timer: int) -> None:
        """Stop a timer; nothing happens if it has fired."""
        found = self._waiting.pop(timer, None)
        if found is not None:
            found.cancel()

    def clear(self) -> None:
        """Stop them all."""
        for timer in self._waiting.values():
            timer.cancel()
        self._waiting.clear()
