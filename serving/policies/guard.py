"""A policy on probation: one that breaks its time limit is replaced by its fallback for a while.

A decision that runs cannot be interrupted in its thread, but it can be the last of its kind. Its answer is still taken:
the time is spent. After a few overruns in a row the fallback decides, for twice as many decisions after each further
one.
"""

from collections.abc import Callable, Sequence
from math import inf
from time import thread_time

from catp.serving.policies.base import QueuePolicy
from catp.serving.policies.protocol import Context, View

__all__ = ["Guarded"]

_FIRST_PAUSE, _LONGEST_PAUSE = 16, 4096
_QUEUE = 256
"""The queue that a policy's limit is for; a longer one may take longer in proportion. (To order only its first part
would be worse: in overload, requests that are late already would fill that part.)"""


class Guarded(QueuePolicy):
    """A policy with its time limit enforced; has none of its own.

    Args:
        inner: the policy; its `limit` holds for each decision on up to 256 requests, in proportion on more.
        fallback: what decides meanwhile.
        clock: CPU seconds of this thread, so that other processes' time slices do not count.
        forgiven: overruns in a row that have no consequence (a garbage collection looks like one).

    `decisions`, `overruns` and `seconds` (spent in the policy's own decisions) are counters for metrics.
    """

    limit: float = inf

    def __init__(
        self, inner: QueuePolicy, fallback: QueuePolicy, *,
        clock: Callable[[], float] = thread_time, forgiven: int = 2,
    ) -> None:  # fmt: skip
        self.name = inner.name
        self._inner, self._fallback, self._clock, self._forgiven = inner, fallback, clock, forgiven
        self._paused, self._pause, self._row = 0, _FIRST_PAUSE, 0
        self.decisions = self.overruns = 0
        self.seconds = 0.0

    @property
    def cut_off(self) -> bool:
        """Whether the fallback decides now."""
        return self._paused > 0

    def order(self, waiting: Sequence[View], context: Context) -> list[str]:
        """Return the policy's order, or the fallback's while the policy is cut off."""
        self.decisions += 1
        if self._paused:
            self._paused -= 1
            return self._fallback.order(waiting, context)
        begin = self._clock()
        ids = self._inner.order(waiting, context)
        took = self._clock() - begin
        self.seconds += took
        if took <= self._inner.limit * max(len(waiting) / _QUEUE, 1.0):
            self._row, self._pause = 0, _FIRST_PAUSE
            return ids
        self.overruns += 1
        self._row += 1
        if self._row > self._forgiven:
            self._paused, self._pause = self._pause, min(self._pause * 2, _LONGEST_PAUSE)
        return ids

    def victim(self, running: Sequence[View], context: Context) -> str | None:  # noqa: D102
        return (self._fallback if self._paused else self._inner).victim(running, context)

    def shed(self, waiting: Sequence[View], context: Context) -> list[str]:  # noqa: D102
        return self._inner.shed(waiting, context)

    def served(self, tenant: str, prompt: int, output: int) -> None:  # noqa: D102
        self._inner.served(tenant, prompt, output)
