"""Ages that never shrink: the time of day may be set back, a kept result must not become young again by it."""

import threading
from collections.abc import Callable

__all__ = ["AgeClock"]


class AgeClock:
    """Unix nanoseconds that go on from the latest moment ever seen, here or in what another process has written.

    When the clock of the machine is set back, this one goes on from where it was. Results keep their age, those that
    had expired stay so, and nothing is lost.
    """

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._ahead = 0
        self._latest = 0
        self._lock = threading.Lock()

    def seen(self, at_ns: int) -> None:
        """Something was written at this time, so it is not earlier now."""
        with self._lock:
            self._latest = max(self._latest, at_ns)

    def now_ns(self) -> int:
        """The time, at least as late as everything seen."""
        with self._lock:
            at = self._now_ns()
            self._ahead = max(self._ahead, self._latest - at)
            self._latest = at + self._ahead
            return self._latest
