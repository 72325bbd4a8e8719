"""A pool of worker processes: one call at a time per process, killed for real when time is up.

Each *family* of tools has its own processes, so the memory one tool holds is never billed to another and a price does
not depend on what ran before; by default every tool is its own family. At most `size` calls run at once, warm
processes wait for the next call of their family, and the least recently used are ended beyond `max_idle`.
"""

import asyncio
import atexit
import logging
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from catp.tools import frames
from catp.tools.errors import ResultTooLarge, ToolCrashed, ToolFailed, ToolTimeout, ToolUnavailable, WrongResult
from catp.tools.meter import signal_name
from catp.tools.spec import BackendResult
from catp.tools.target import Target
from catp.tools.usage import Usage, carrying
from catp.tools.worker import CallHeader, Reply
from catp.tools.worker_process import WorkerDied, WorkerLimits, WorkerProcess

__all__ = ["Job", "WorkerLimits", "WorkerPool", "default_pool", "share_pool"]

_log = logging.getLogger("catp.tools")

_IDLE_CPU_MS = 100.0
"""CPU time burnt between two calls above which a worker must have something running that it should not."""


@dataclass(frozen=True, slots=True)
class Job:
    """What to run: a tool's name (for errors), its family, its function, and what prepares it once per process."""

    tool: str
    family: str
    target: Target
    setup: Target | None = None


class WorkerPool:
    """Worker processes shared by all tools that run in processes. Usable from any event loop, one after the other.

    Example:
        pool = WorkerPool(size=2)
        tool = catp.tools.tool(pool=pool)(function)
    """

    def __init__(self, size: int | None = None, *, max_idle: int = 12, limits: WorkerLimits | None = None) -> None:
        self.size = size or len(os.sched_getaffinity(0))
        self.limits = limits or WorkerLimits()
        self._max_idle = max_idle
        self._idle: deque[WorkerProcess] = deque()
        self._busy: set[WorkerProcess] = set()
        self._running = 0
        self._waiting: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()
        self._lock = threading.Lock()

    async def call(
        self,
        job: Job,
        args: Mapping[str, Any],
        *,
        timeout: float,
        began: Callable[[], Awaitable[None]] | None = None,
    ) -> BackendResult:
        """Run one call in a worker. Raises the errors of `ToolBackend`; waiting for a free slot does not count.

        `began` is awaited when the call has its slot.
        When cancelled, the worker is killed before this returns, and the `CancelledError` carries its usage.
        """
        await self._acquire()
        try:
            if began is not None:
                await began()
            usage, payload, sizes = await self._run(job, frames.pack(args), timeout)
        finally:
            self._release()
        return BackendResult(frames.read_body(payload, sizes), usage)

    async def relay(self, job: Job, args: frames.Packed, *, timeout: float) -> tuple[Usage, bytearray, tuple[int, ...]]:
        """Like `call`, for a caller that passes on what others packed and will unpack: no value is decoded here.

        Returns the usage, and what `frames.read_body` takes to read the value.
        """
        await self._acquire()
        try:
            return await self._run(job, args, timeout)
        finally:
            self._release()

    async def _run(self, job: Job, args: frames.Packed, timeout: float) -> tuple[Usage, bytearray, tuple[int, ...]]:
        started = time.perf_counter()
        worker = self._take(job.family)
        try:
            async with asyncio.timeout(timeout):
                reply, payload, sizes = await worker.request(
                    CallHeader(job.target, job.setup, self.limits.result_bytes), args
                )
        except TimeoutError:
            usage, _ = await self._end(worker, started)
            raise ToolTimeout(job.tool, f"stopped after {timeout:g} s", usage=usage) from None
        except WorkerDied:
            usage, code = await self._end(worker, started)
            raise ToolCrashed(job.tool, f"its process {_how(code)}", usage=usage) from None
        except asyncio.CancelledError as stopped:
            usage, _ = await self._end(worker, started)
            raise carrying(stopped, usage) from None
        except BaseException:
            self._discard(worker)
            raise
        usage = await self._keep_or_end(worker, reply, job)
        usage = replace(usage, wall_ms=(time.perf_counter() - started) * 1e3)
        _raise_if_failed(job.tool, reply, usage)
        return usage, payload, sizes

    def _take(self, family: str) -> WorkerProcess:
        with self._lock:
            worker = next((w for w in reversed(self._idle) if w.family == family), None)
            if worker is not None:
                self._idle.remove(worker)
                self._busy.add(worker)
                return worker
        worker = WorkerProcess(family, self.limits)
        with self._lock:
            self._busy.add(worker)
        return worker

    async def _keep_or_end(self, worker: WorkerProcess, reply: Reply, job: Job) -> Usage:
        """Return the worker to the pool, or end one that is not clean and bill what it burnt until then."""
        reason = None
        if reply.threads:
            reason = f"left {reply.threads} thread(s) running"
        elif reply.programs:
            reason = "left a program running"
        elif reply.idle_cpu_ms > _IDLE_CPU_MS:
            reason = f"used {reply.idle_cpu_ms:.0f} ms of CPU between calls"
        elif reply.rss_mb > self.limits.idle_rss_mb:
            reason = f"kept {reply.rss_mb:.0f} MB of memory"
        if reason is None:
            self._put_back(worker)
            return reply.usage
        _log.warning("%s %s; its worker process is ended", job.tool, reason)
        self._discard(worker)
        _, more = await worker.gone()
        return replace(reply.usage, cpu_ms=reply.usage.cpu_ms + more)

    def _put_back(self, worker: WorkerProcess) -> None:
        with self._lock:
            self._busy.discard(worker)
            self._idle.append(worker)
            spare = [self._idle.popleft() for _ in range(len(self._idle) - self._max_idle)]
        for old in spare:
            old.kill()

    def _discard(self, worker: WorkerProcess) -> None:
        with self._lock:
            self._busy.discard(worker)
        worker.kill()

    async def _end(self, worker: WorkerProcess, started: float) -> tuple[Usage, int]:
        self._discard(worker)
        code, cpu_ms = await worker.gone()
        return Usage(wall_ms=(time.perf_counter() - started) * 1e3, cpu_ms=cpu_ms), code

    async def _acquire(self) -> None:
        with self._lock:
            if self._running < self.size and not self._waiting:
                self._running += 1
                return
            loop = asyncio.get_running_loop()
            turn: asyncio.Future[None] = loop.create_future()
            self._waiting.append((loop, turn))
        try:
            await turn
        except asyncio.CancelledError:
            with self._lock:
                waiting = (loop, turn) in self._waiting
                if waiting:
                    self._waiting.remove((loop, turn))
            if not waiting:  # the slot was handed over just before the cancellation
                self._release()
            raise

    def _release(self) -> None:
        with self._lock:
            while self._waiting:
                loop, turn = self._waiting.popleft()
                try:
                    loop.call_soon_threadsafe(_wake, turn)
                except RuntimeError:  # that loop was closed with the call still waiting
                    continue
                return
            self._running -= 1

    def warm(self, family: str) -> bool:
        """True if an idle worker of this family has made a call before."""
        with self._lock:
            return any(worker.family == family for worker in self._idle)

    async def close_family(self, family: str) -> None:
        """End the idle workers of one family and wait until they are gone."""
        with self._lock:
            ended = [worker for worker in self._idle if worker.family == family]
            for worker in ended:
                self._idle.remove(worker)
        for worker in ended:
            worker.kill()
        for worker in ended:
            await worker.gone()

    def close(self) -> None:
        """Kill every worker, busy ones too, and wait until they are gone. The pool can be used again."""
        with self._lock:
            workers = [*self._idle, *self._busy]
            self._idle.clear()
            self._busy.clear()
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.join()

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the living workers, idle ones first."""
        with self._lock:
            return tuple(worker.pid for worker in (*self._idle, *self._busy))


def _wake(turn: "asyncio.Future[None]") -> None:
    if not turn.done():
        turn.set_result(None)


def _how(code: int) -> str:
    if code < 0:
        hint = " (out of memory?)" if code == -signal.SIGKILL else ""
        return f"was killed by {signal_name(-code)}{hint}"
    return f"exited with code {code} in the middle of the call"


def _raise_if_failed(tool: str, reply: Reply, usage: Usage) -> None:
    if reply.status == "raised":
        raise ToolFailed(tool, reply.message, usage=usage, error_type=reply.error_type)
    if reply.status == "unavailable":
        message = f"cannot be loaded in a worker process: {reply.error_type}: {reply.message}"
        raise ToolUnavailable(tool, message, usage=usage, error_type=reply.error_type)
    if reply.status == "too_large":
        raise ResultTooLarge(tool, reply.message, usage=usage)
    if reply.status == "unpicklable":
        raise WrongResult(tool, reply.message, usage=usage)


_default: dict[int, WorkerPool] = {}


def share_pool(pool: WorkerPool) -> None:
    """Have all tools of this process that have no pool of their own use `pool` from now on; it is closed at the end."""
    default_pool().close()
    _default[os.getpid()] = pool
    atexit.register(pool.close)


def default_pool() -> WorkerPool:
    """Return the pool all tools share unless given another; it is closed when the program ends."""
    pool = _default.get(os.getpid())
    if pool is None:
        pool = _default[os.getpid()] = WorkerPool()
        atexit.register(pool.close)
    return pool
