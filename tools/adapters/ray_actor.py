"""The side of a Ray pool that runs on the nodes: one actor is one place, and runs one call at a time.

The actor does not run tools itself. It holds a `WorkerPool` of one, exactly as the product does at home, so that a call
is metered, limited and killed by the same code and its usage means the same: the memory of a Ray process, about 80 MB,
is in no tool's bill. Values pass through packed; only the worker process unpacks them, after it imported the tool.
When the actor dies, the kernel kills its worker process (see `catp.tools.worker`).
"""

import asyncio
import os
import pickle
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from catp.tools.errors import ToolError, ToolUnavailable
from catp.tools.usage import Usage
from catp.tools.workers import Job, WorkerLimits, WorkerPool

__all__ = ["KEPT", "Answer", "CallActor", "Done", "RemoteCall", "Stopped"]

KEPT = 4
"""Worker processes of different tools that a place keeps for their next call."""


@dataclass(frozen=True, slots=True)
class RemoteCall:
    """What a place is asked for.

    `parts` are the chunks of the packed arguments and then their buffers; `size` is the bytes of all. `check` is the
    pickled `ToolSpec.unavailable`, or None if it cannot be pickled.
    """

    number: int
    job: Job
    check: bytes | None
    chunks: int
    parts: Sequence[Any]
    size: int
    timeout: float


@dataclass(frozen=True, slots=True)
class Done:
    """The call returned: `payload` and `sizes` are what `catp.tools.frames.read_body` takes."""

    usage: Usage
    payload: bytearray
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stopped:
    """The call was stopped on request, and had used this much."""

    usage: Usage


Answer = Done | Stopped | ToolError
"""How a call ended. Errors are answers, not exceptions: Ray would wrap them."""


class CallActor:
    """One place. Its methods run in the event loop of a Ray actor process."""

    def __init__(self, limits: WorkerLimits) -> None:
        self._pool = WorkerPool(size=1, max_idle=KEPT, limits=limits)
        self._checked: dict[bytes, str | None] = {}
        self._running: tuple[int, asyncio.Task[Answer]] | None = None
        self._stopped = 0

    async def report(self) -> str:
        """Say that the place is there, and where."""
        return f"{socket.gethostname()}, process {os.getpid()}"

    async def call(self, call: RemoteCall) -> Answer:
        """Run a call to its end, or until `stop` is asked for."""
        if call.number <= self._stopped:  # the request to stop it has overtaken it
            return Stopped(Usage())
        task = asyncio.ensure_future(self._call(call))
        self._running = call.number, task
        try:
            return await task
        except asyncio.CancelledError as stopped:
            return Stopped(getattr(stopped, "usage", Usage()))
        finally:
            self._running = None

    async def stop(self, number: int) -> None:
        """Kill the call of this number, running or still to come; `call` returns what it had used."""
        self._stopped = number
        if self._running is not None and self._running[0] == number:
            self._running[1].cancel()

    async def _call(self, call: RemoteCall) -> Answer:
        reason = await self._unavailable(call.check)
        if reason is not None:
            message = f"is not available on {socket.gethostname()}: {reason}"
            return ToolUnavailable(call.job.tool, message, billing="nothing")
        views = [memoryview(part) for part in call.parts]
        packed = views[: call.chunks], views[call.chunks :], call.size
        try:
            return Done(*await self._pool.relay(call.job, packed, timeout=call.timeout))
        except ToolError as error:
            return error

    async def _unavailable(self, check: bytes | None) -> str | None:
        """Ask once why the tool cannot run here; a check that fails is no reason: loading the tool says more."""
        if check is None:
            return None
        if check not in self._checked:
            try:
                self._checked[check] = await asyncio.to_thread(lambda: pickle.loads(check)())
            except Exception:
                self._checked[check] = None
        return self._checked[check]
