"""The worker process: receives one call at a time over a socket, meters it, and replies.

Started by `catp.tools.workers`, never imported by the product itself. Libraries are pinned to one thread through the
environment before anything is imported; standard output goes to standard error so that a tool's prints cannot mix
with the product's output. The process ends when its parent does.
"""

import asyncio
import fcntl
import gc
import inspect
import os
import pickle
import resource
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from catp.tools import frames
from catp.tools.meter import CallMeter, cpu_seconds, rss_mb
from catp.tools.target import Target
from catp.tools.usage import Usage

__all__ = ["CallHeader", "Reply", "Status", "main"]

Status = Literal["ok", "raised", "unavailable", "too_large", "unpicklable"]


@dataclass(frozen=True, slots=True)
class CallHeader:
    """What the pool asks for: which function, prepared by which setup, and how large its result may be."""

    target: Target
    setup: Target | None
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Reply:
    """How the call ended. `total_cpu_ms` is all CPU time of this process so far; `idle_cpu_ms` was burnt between calls.

    `threads` counts Python threads the call started and left behind, `programs` is True if it left a program running.
    """

    status: Status
    usage: Usage
    total_cpu_ms: float
    idle_cpu_ms: float
    rss_mb: float
    threads: int
    programs: bool
    error_type: str = ""
    message: str = ""


def main(fd: int, leash: int, memory_mb: int) -> None:
    """Serve calls until the parent closes the socket; die when it closes the `leash`, which it also does by dying."""
    sock = socket.socket(fileno=fd)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(2, 1)
    _limit_memory(memory_mb)
    _let_kernel_kill(leash)
    threading.Thread(target=_die_with_parent, args=(leash,), name="catp-parent", daemon=True).start()
    _Server(sock).serve()


def _limit_memory(megabytes: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = megabytes << 20
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard < 0 else min(limit, hard), hard))


def _let_kernel_kill(leash: int) -> None:
    """Have the kernel kill this process group once the parent's end of the leash is closed.

    No thread of this process may get to run then: a tool can hold the interpreter lock for hours. `PR_SET_PDEATHSIG`
    would fire when the parent's *thread* ends, which is too early for `Agent.run_sync`.
    """
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(leash, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(leash, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(leash, fcntl.F_SETFL, fcntl.fcntl(leash, fcntl.F_GETFL) | os.O_ASYNC)


def _die_with_parent(leash: int) -> None:
    """Exit when the leash was cut before the kernel watched it, or on systems that cannot watch it."""
    poll = select.poll()
    poll.register(leash, 0)
    poll.poll()
    os.killpg(0, signal.SIGKILL)


class _Server:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loaded: dict[tuple[Target, Target | None], Callable[..., Any]] = {}
        self._reported = 0.0

    def serve(self) -> None:
        while True:
            first = self._receive(frames.PREFIX.size)
            size, count = frames.PREFIX.unpack(first)
            sizes = frames.lengths(self._receive(8 * count), count)
            payload = self._receive(size)
            self._answer(payload, sizes)
            del payload

    def _receive(self, size: int) -> bytearray:
        buffer = bytearray(size)
        view, at = memoryview(buffer), 0
        while at < size:
            got = self._sock.recv_into(view[at:])
            if not got:
                os._exit(0)
            at += got
        return buffer

    def _answer(self, payload: bytearray, sizes: tuple[int, ...]) -> None:
        header: CallHeader = frames.read_header(payload, sizes)
        started = cpu_seconds()
        idle = (started - self._reported) * 1e3 if self._loaded else 0.0
        cold = 0.0
        try:
            key = (header.target, header.setup)
            if key not in self._loaded:
                self._loaded[key] = self._load(header)
                cold = (cpu_seconds() - self._reported) * 1e3
            _pin_threads()
            args = frames.read_body(payload, sizes)
        except BaseException as error:
            self._send(self._reply("unavailable", Usage(cold_cpu_ms=cold), idle, 0, error), [], [])
            return
        self._call(header, self._loaded[header.target, header.setup], args, idle=idle, cold=cold)

    def _load(self, header: CallHeader) -> Callable[..., Any]:
        function = header.target.load()
        _pin_threads()
        if header.setup is not None:
            header.setup.load()()
        gc.collect()
        return function

    def _call(self, header: CallHeader, function: Callable[..., Any], args: Any, *, idle: float, cold: float) -> None:
        before = threading.active_count()
        meter = CallMeter()
        meter.start()
        value, error = None, None
        try:
            value = _collected(function(**args))
        except BaseException as raised:
            error = raised
        usage = replace(meter.stop(), cold_cpu_ms=cold)
        threads = threading.active_count() - before
        if error is not None:
            self._send(self._reply("raised", usage, idle, threads, error), [], [])
            return
        status, chunks, buffers, message = _packed(value, header.max_bytes)
        usage = replace(usage, bytes_out=message) if isinstance(message, int) else usage
        reply = self._reply(status, usage, idle, threads)
        self._send(replace(reply, message=message) if isinstance(message, str) else reply, chunks, buffers)

    def _reply(
        self, status: Status, usage: Usage, idle: float, threads: int, error: BaseException | None = None
    ) -> Reply:
        total = cpu_seconds()
        self._reported = total
        kind, words = (type(error).__name__, _describe(error)) if error is not None else ("", "")
        return Reply(status, usage, total * 1e3, idle, rss_mb(), max(0, threads), _programs_left(), kind, words)

    def _send(self, reply: Reply, chunks: list[Any], buffers: list[Any]) -> None:
        self._sock.sendall(frames.prefix(pickle.dumps(reply, protocol=5), chunks, buffers))
        for part in (*chunks, *buffers):
            self._sock.sendall(part)
        self._reported = cpu_seconds()


def _packed(value: Any, limit: int) -> tuple[Status, list[Any], list[Any], int | str]:
    try:
        chunks, buffers, size = frames.pack(value, limit=limit)
    except frames.TooLarge:
        return "too_large", [], [], f"result exceeds {limit} bytes"
    except Exception as error:
        return "unpicklable", [], [], f"{type(value).__name__} cannot be sent between processes: {error}"
    return "ok", chunks, buffers, size


def _collected(value: Any) -> Any:
    """Turn what the function returned into a value: run coroutines, exhaust generators."""
    if inspect.iscoroutine(value):
        return asyncio.run(value)
    if inspect.isasyncgen(value):
        return asyncio.run(_drain(value))
    return list(value) if inspect.isgenerator(value) else value


async def _drain(generator: Any) -> list[Any]:
    return [item async for item in generator]


def _describe(error: BaseException) -> str:
    frame = next(reversed(traceback.extract_tb(error.__traceback__)), None)
    place = f" (at {os.path.basename(frame.filename)}:{frame.lineno})" if frame else ""
    return f"{str(error) or 'no message'}{place}"


def _programs_left() -> bool:
    """True if a child process is still running."""
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


def _pin_threads() -> None:
    cv2 = sys.modules.get("cv2")
    if cv2 is not None and hasattr(cv2, "setNumThreads"):
        cv2.setNumThreads(int(os.environ["OPENCV_FOR_THREADS_NUM"]))
