"""Where a function runs: in the event loop, in a thread, or in a worker process.

| placement | for | CPU metered | memory metered | stopped on timeout |
|---|---|---|---|---|
| `process` | anything that computes | whole call, exactly | peak of the process | killed |
| `async` | coroutines that wait for the network | the coroutine's own steps | no | cancelled |
| `thread` | blocking functions that wait | the thread | no | **abandoned**: a thread cannot be killed |
"""

import asyncio
import contextvars
import inspect
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from catp.tools.contract import Contract
from catp.tools.errors import ToolError, ToolFailed, ToolTimeout
from catp.tools.meter import StepMeter
from catp.tools.spec import BackendResult
from catp.tools.usage import Usage, carrying
from catp.tools.workers import Job, WorkerPool, default_pool

__all__ = ["AsyncBackend", "ProcessBackend", "ThreadBackend", "collected", "nobody_asked"]

_log = logging.getLogger("catp.tools")


class ProcessBackend:
    """Runs a function in worker processes (see `WorkerPool`); without a contract nothing is checked."""

    def __init__(self, contract: Contract | None, job: Job, pool: WorkerPool | None = None) -> None:
        self.contract, self.job, self._pool = contract, job, pool

    async def call(self, args: Mapping[str, Any], *, timeout: float) -> BackendResult:
        """Run one call in a worker process."""
        return await self.call_when_free(args, timeout=timeout, began=nobody_asked)

    async def call_when_free(
        self, args: Mapping[str, Any], *, timeout: float, began: Callable[[], Awaitable[None]]
    ) -> BackendResult:
        """Like `call`, and says when the call has got one of the pool's places."""
        if self.contract is not None:
            self.contract.check_args(args)
        result = await (self._pool or default_pool()).call(self.job, args, timeout=timeout, began=began)
        if self.contract is None:
            return result
        return BackendResult(self.contract.check_result(result.value, result.usage), result.usage)

    def warm(self) -> bool:
        """True if a worker that has this tool loaded waits for a call."""
        return (self._pool or default_pool()).warm(self.job.family)

    def places(self) -> int:
        """The size of the pool: so many calls can run at once, each in a worker of its own."""
        return (self._pool or default_pool()).size

    async def close(self) -> None:
        """End the idle workers of this tool."""
        await (self._pool or default_pool()).close_family(self.job.family)


async def nobody_asked() -> None:
    """The `began` of callers that do not want to know."""


class AsyncBackend:
    """Runs a coroutine function or async generator in the caller's event loop."""

    def __init__(self, contract: Contract, function: Callable[..., Any]) -> None:
        self.contract, self.function = contract, function

    async def call(self, args: Mapping[str, Any], *, timeout: float) -> BackendResult:
        """Run one call; `usage` counts the CPU time of the coroutine's own steps."""
        self.contract.check_args(args)
        name = self.contract.signature.name
        started = time.perf_counter()
        meter = StepMeter(collected(self.function, args))
        limit = asyncio.timeout(timeout)

        def used() -> Usage:
            return Usage(wall_ms=(time.perf_counter() - started) * 1e3, cpu_ms=meter.cpu_ms)

        try:
            async with limit:
                value = await meter
        except TimeoutError as error:
            if limit.expired():
                raise ToolTimeout(name, f"stopped after {timeout:g} s", usage=used()) from None
            raise _failed(name, error, used()) from error
        except ToolError as error:
            raise _with_usage(error, used()) from error.__cause__
        except asyncio.CancelledError as stopped:
            raise carrying(stopped, used()) from None
        except Exception as error:
            raise _failed(name, error, used()) from error
        usage = used()
        return BackendResult(self.contract.check_result(value, usage), usage)

    async def close(self) -> None:
        """Nothing to release."""


async def collected(function: Callable[..., Any], args: Mapping[str, Any]) -> Any:
    """Call `function` and await or exhaust what it returns: generators become lists."""
    value = function(**args)
    if inspect.isawaitable(value):
        return await value
    if inspect.isasyncgen(value):
        return [item async for item in value]
    return value


class ThreadBackend:
    """Runs a blocking function in a thread of its own.

    A thread cannot be stopped: on timeout or cancellation the caller goes on and the thread is left to finish, with
    its result thrown away. `abandoned` counts those still running. Use `process` for anything that computes.
    """

    def __init__(self, contract: Contract, function: Callable[..., Any]) -> None:
        self.contract, self.function = contract, function
        self.abandoned = 0

    async def call(self, args: Mapping[str, Any], *, timeout: float) -> BackendResult:
        """Run one call; `usage` counts the CPU time of its thread."""
        self.contract.check_args(args)
        name = self.contract.signature.name
        loop = asyncio.get_running_loop()
        done: asyncio.Future[tuple[Any, BaseException | None, float]] = loop.create_future()
        started = time.perf_counter()
        context = contextvars.copy_context()

        def work() -> None:
            outcome = context.run(_timed, self.function, args)
            try:
                loop.call_soon_threadsafe(_settle, done, outcome)
            except RuntimeError:  # the event loop is gone: nobody is waiting any more
                pass

        threading.Thread(target=work, name=f"catp-{name}", daemon=True).start()
        try:
            async with asyncio.timeout(timeout):
                value, error, cpu_ms = await asyncio.shield(done)
        except (TimeoutError, asyncio.CancelledError) as stopped:
            self._abandon(done)
            if isinstance(stopped, asyncio.CancelledError):
                raise
            usage = Usage(wall_ms=(time.perf_counter() - started) * 1e3)
            raise ToolTimeout(name, f"abandoned after {timeout:g} s (a thread cannot be killed)", usage=usage) from None
        usage = Usage(wall_ms=(time.perf_counter() - started) * 1e3, cpu_ms=cpu_ms)
        if isinstance(error, ToolError):
            raise _with_usage(error, usage) from error.__cause__
        if error is not None:
            raise _failed(name, error, usage) from error
        return BackendResult(self.contract.check_result(value, usage), usage)

    def _abandon(self, done: "asyncio.Future[Any]") -> None:
        self.abandoned += 1
        _log.warning("%s still runs in a thread that was given up", self.contract.signature.name)

        def finished(_: "asyncio.Future[Any]") -> None:
            self.abandoned -= 1

        done.add_done_callback(finished)

    async def close(self) -> None:
        """Nothing to release."""


def _timed(function: Callable[..., Any], args: Mapping[str, Any]) -> tuple[Any, BaseException | None, float]:
    started = time.thread_time()
    value, error = None, None
    try:
        value = function(**args)
        if inspect.isgenerator(value):
            value = list(value)
    except BaseException as raised:
        error = raised
    return value, error, (time.thread_time() - started) * 1e3


def _settle(done: "asyncio.Future[Any]", outcome: Any) -> None:
    if not done.done():
        done.set_result(outcome)


def _failed(name: str, error: BaseException, usage: Usage) -> ToolFailed:
    return ToolFailed(name, str(error) or "no message", usage=usage, error_type=type(error).__name__)


def _with_usage(error: ToolError, usage: Usage) -> ToolError:
    """Add the metered times to an error an adapter raised with the units and prices it knows."""
    error.usage = replace(error.usage, wall_ms=usage.wall_ms, cpu_ms=usage.cpu_ms)
    return error
