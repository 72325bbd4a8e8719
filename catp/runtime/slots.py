"""A bounded number of calls at once, in order of urgency, over `asyncio_pool`.

Jobs wait in here, not in the pool: the pool only ever gets as many coroutines as it has room for, so it never queues
by its own (arrival) order. A tool's own limits (calls at once, calls per second) hold back only that tool's jobs.

A slot that becomes free is handed on inside its own task: the next job starts at once, without another trip through
the pool and the event loop. It does so only if the finished job left the context variables as it found them, and
within one run; otherwise a new task starts from the run's own context, so that no tool sees what another one set.

asyncio_pool 0.6 swallows cancellation around `map` and `spawn` and can hang in `join`; its `spawn_n` with
`cancel(future)` is safe once the coroutine has begun. That is all this module uses: a job is cancelled only after it
began, and a job that ignores its cancellation is given up after a grace period, so that one bad tool cannot hang a run.
"""

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from itertools import count
from typing import Any, Protocol

from asyncio_pool import AioPool

from catp.runtime.clock import Clock, TimerHandle
from catp.tools.spec import ToolLimits

__all__ = ["Job", "Slots"]

_TURNS = 16
"""Jobs one task may run in a row, so that tools that never wait cannot keep the event loop from its timers."""


class Work(Protocol):
    """What a slot is given to: `admit` is asked first and may decline (the slot then goes to the next)."""

    def admit(self) -> bool:
        """Take what the work needs; False if it does not want to run now."""
        ...

    def run(self) -> Coroutine[Any, Any, None]:
        """Do the work; must not raise."""
        ...

    def finish(self) -> None:
        """Say how it ended; called once the slot is free again."""
        ...

    def abandon(self) -> None:
        """The work ignored its cancellation and is left behind."""
        ...


class Job:
    """One piece of work in the slots."""

    __slots__ = ("began", "context", "future", "order", "over", "stopping", "tool", "withdrawn", "work")

    def __init__(self, order: tuple[float, ...], tool: "_ToolQueue", work: Work, context: Context) -> None:
        self.order = order
        self.context = context
        self.tool = tool
        self.work = work
        self.future: asyncio.Future[None] | None = None
        self.began = False
        self.over = False
        self.withdrawn = False
        self.stopping = False


class _ToolQueue:
    """The limits of one tool, and the jobs they hold back."""

    __slots__ = ("held", "limit", "next_ns", "period_ns", "running", "timer")

    def __init__(self, limits: ToolLimits) -> None:
        self.limit = limits.concurrency
        self.period_ns = int(1e9 / limits.rate_per_s) if limits.rate_per_s else 0
        self.next_ns = 0
        self.running = 0
        self.held: list[tuple[tuple[float, ...], int, Job]] = []
        self.timer: TimerHandle | None = None


class Slots:
    """Up to `size` calls at once, shared by any number of runs in one event loop.

    Args:
        size: How many calls may run at once over all tools.
        grace_s: How long a cancelled call may take to stop before it is abandoned.
    """

    def __init__(self, size: int = 64, *, grace_s: float = 2.0) -> None:
        if size < 1:
            raise ValueError(f"slots must be at least 1, not {size}")
        self.size = size
        self.grace_s = grace_s
        self.running = 0
        self._pool: AioPool | None = None
        self._tools: dict[str, _ToolQueue] = {}
        self._ready: list[tuple[tuple[float, ...], int, Job]] = []
        self._order = count()
        self._handing_on = False
        self._pumping = False

    def submit(self, tool: str, limits: ToolLimits, order: tuple[float, ...], work: Work, context: Context) -> Job:
        """Queue work to run in `context`. Nothing starts before `pump`: what is submitted together is sorted first."""
        queue = self._tools.get(tool)
        if queue is None:
            queue = self._tools[tool] = _ToolQueue(limits)
        job = Job(order, queue, work, context)
        heapq.heappush(self._ready, (order, next(self._order), job))
        return job

    def pump(self, clock: Clock) -> None:
        """Start as many jobs as there is room for, the most urgent first."""
        if self._handing_on or self._pumping:  # work that declines may end its step, and that pumps again
            return
        self._pumping = True
        try:
            while (job := self._next(clock)) is not None:
                self._start(job, clock)
        finally:
            self._pumping = False

    def _next(self, clock: Clock) -> Job | None:
        """Take the most urgent job that may run now and has been admitted; it counts as running from here on."""
        while self._ready and self.running < self.size:
            entry = heapq.heappop(self._ready)
            job = entry[2]
            tool = job.tool
            if job.withdrawn:
                self._release(tool, clock)
            elif tool.limit is not None and tool.running >= tool.limit:
                heapq.heappush(tool.held, entry)
            elif tool.period_ns and clock.now_ns() < tool.next_ns:
                heapq.heappush(tool.held, entry)
                self._wake_later(tool, clock)
            elif job.work.admit():
                self.running += 1
                tool.running += 1
                if tool.period_ns:
                    tool.next_ns = max(tool.next_ns, clock.now_ns()) + tool.period_ns
                    if tool.held:
                        self._wake_later(tool, clock)
                return job
            else:
                self._release(tool, clock)
        return None

    def withdraw(self, job: Job) -> bool:
        """Take back a job that has not started; False if it has."""
        if job.future is not None:
            return False
        job.withdrawn = True
        return True

    async def stop(self, job: Job, clock: Clock) -> None:
        """Cancel a started job and wait until it is over, or abandon it after the grace period."""
        future, pool = job.future, self._pool
        assert future is not None
        assert pool is not None
        job.stopping = True  # from here on its task takes no other job, so the cancellation cannot hit a wrong one
        while not job.began and not job.over:  # noqa: ASYNC110 - two turns of the loop at most
            await asyncio.sleep(0)
        if job.over:
            return
        cancelling = asyncio.ensure_future(pool.cancel(future))
        timer = clock.call_later(self.grace_s, cancelling.cancel)
        try:
            await asyncio.wait([cancelling])
        finally:
            timer.cancel()
        if not job.over:
            job.work.abandon()

    def _start(self, job: Job, clock: Clock) -> None:
        if self._pool is None or (self.running == 1 and self._pool.loop is not asyncio.get_running_loop()):
            self._pool = AioPool(self.size)
        job.future = job.context.run(self._pool.spawn_n, self._work(job, clock))

    async def _work(self, job: Job, clock: Clock) -> None:
        """One task of the pool: a job, and then others as long as they may follow it."""
        before = copy_context()
        for turn in range(1, _TURNS + 1):
            job.began = True
            await job.work.run()
            job.over = True
            self.running -= 1
            job.tool.running -= 1
            self._release(job.tool, clock)
            self._handing_on = True
            try:
                job.work.finish()
            finally:
                self._handing_on = False
            following = self._next(clock) if turn < _TURNS and not job.stopping else None
            if following is not None and (following.context is not job.context or copy_context() != before):
                self._start(following, clock)
                following = None
            if following is not None:
                following.future = job.future
            self.pump(clock)
            if following is None:
                return
            job = following

    def _release(self, tool: _ToolQueue, clock: Clock) -> None:
        """Let the most urgent job that this tool held back compete for a slot again."""
        while tool.held and tool.held[0][2].withdrawn:
            heapq.heappop(tool.held)
        if tool.held:
            if tool.period_ns and clock.now_ns() < tool.next_ns:
                self._wake_later(tool, clock)
            else:
                heapq.heappush(self._ready, heapq.heappop(tool.held))

    def _wake_later(self, tool: _ToolQueue, clock: Clock) -> None:
        if tool.timer is None:
            tool.timer = clock.call_later((tool.next_ns - clock.now_ns()) / 1e9, self._waker(tool, clock))

    def _waker(self, tool: _ToolQueue, clock: Clock) -> Callable[[], None]:
        def wake() -> None:
            tool.timer = None
            self._release(tool, clock)
            self.pump(clock)

        return wake
