"""One worker process, as its parent sees it: started, sent calls over a socket, killed with all that it started.

A worker is a session leader: killing its group takes the programs it started with it. What a killed call had used is
still known, from `wait4` on the worker and `/proc` for the rest of its group.
"""

import asyncio
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, replace

from catp.tools import frames
from catp.tools.meter import group_cpu_ms
from catp.tools.worker import CallHeader, Reply

__all__ = ["WorkerDied", "WorkerLimits", "WorkerProcess"]

_THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS", "RAYON_NUM_THREADS", "OPENCV_FOR_THREADS_NUM",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """Bounds on one worker: bytes a result may have, memory it may allocate, resident memory it may keep when idle.

    `threads` is what libraries are told to use for one call.
    """

    result_bytes: int = 256 << 20
    memory_mb: int = 8192
    idle_rss_mb: float = 2048.0
    threads: int = 1

    def environment(self) -> dict[str, str]:
        """Return the environment variables that hold a worker's libraries to `threads`."""
        known = dict.fromkeys(_THREADS, str(self.threads))
        return {**known, "TOKENIZERS_PARALLELISM": "false" if self.threads == 1 else "true"}


class WorkerDied(Exception):
    """The worker closed its socket in the middle of a call."""


class WorkerProcess:
    """One process and the socket to it. Bound to no event loop."""

    def __init__(self, family: str, limits: WorkerLimits) -> None:
        self.family = family
        self.reported_cpu_ms = 0.0
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        leash, self._leash = os.pipe()
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; from catp.tools.worker import main; "
            f"main({theirs.fileno()}, {leash}, {limits.memory_mb})"
        )
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code], stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(), leash),
                start_new_session=True, env={**os.environ, **limits.environment()},
            )  # fmt: skip
        except BaseException:
            self._socket.close()
            os.close(self._leash)
            raise
        finally:
            theirs.close()
            os.close(leash)
        self.pid = self._process.pid
        self._dead = threading.Event()
        self._killed = False
        self._cpu_ms = 0.0

    async def request(self, header: CallHeader, args: frames.Packed) -> tuple[Reply, bytearray, tuple[int, ...]]:
        """Send a call and wait for the reply; return it with the undecoded payload."""
        loop = asyncio.get_running_loop()
        chunks, buffers, size = args
        try:
            await loop.sock_sendall(self._socket, frames.prefix(pickle.dumps(header, protocol=5), chunks, buffers))
            for part in (*chunks, *buffers):
                await loop.sock_sendall(self._socket, part)
            total, count = frames.PREFIX.unpack(await self._receive(loop, frames.PREFIX.size))
            sizes = frames.lengths(await self._receive(loop, 8 * count), count)
            payload = await self._receive(loop, total)
        except (ConnectionError, EOFError) as error:
            raise WorkerDied from error
        reply: Reply = frames.read_header(payload, sizes)
        self.reported_cpu_ms = reply.total_cpu_ms
        return replace(reply, usage=replace(reply.usage, bytes_in=size)), payload, sizes

    async def _receive(self, loop: asyncio.AbstractEventLoop, size: int) -> bytearray:
        buffer = bytearray(size)
        view, at = memoryview(buffer), 0
        while at < size:
            got = await loop.sock_recv_into(self._socket, view[at:])
            if not got:
                raise EOFError
            at += got
        return buffer

    def kill(self) -> None:
        """Kill the whole group now; the process is reaped by a thread of its own. Harmless when repeated."""
        if self._killed:
            return
        self._killed = True
        others = group_cpu_ms(self.pid)
        others.pop(self.pid, None)
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._socket.close()
        os.close(self._leash)
        threading.Thread(target=self._reap, args=(sum(others.values()),), name="catp-reap", daemon=True).start()

    def _reap(self, others_ms: float) -> None:
        _, status, used = os.wait4(self.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._cpu_ms = (used.ru_utime + used.ru_stime) * 1e3 + others_ms
        self._dead.set()

    async def gone(self) -> tuple[int, float]:
        """Wait until the process is reaped; return its exit code and the CPU milliseconds it never reported."""
        while not self._dead.is_set():  # noqa: ASYNC110  the event is set by a thread and belongs to no loop
            await asyncio.sleep(0.001)
        return self._process.returncode, max(0.0, self._cpu_ms - self.reported_cpu_ms)

    def join(self) -> None:
        """Block until the process is reaped."""
        self._dead.wait(5.0)
