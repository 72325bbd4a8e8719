"""Metering one call: CPU time, peak memory and wall time, with the standard library only.

* CPU time is `getrusage` of this process and of the children it waited for: what the call computed, whatever else the
  machine was doing. It is what gets billed.
* Peak memory is the kernel's own high-water mark (`VmHWM`) after resetting it (`5` into `/proc/self/clear_refs`), so
  a transient of any length is seen; sampling would miss it, and `ru_maxrss` never falls.
* Both are process-wide: exact where a process runs one call at a time, as workers do. In the event loop and in
  threads only the CPU time of the call's own steps or thread is known (`StepMeter`, `time.thread_time`).
"""

import os
import resource
import selectors
import signal
import subprocess
import time
from collections.abc import Coroutine, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catp.tools.usage import Usage

__all__ = [
    "CallMeter",
    "Finished",
    "StepMeter",
    "cpu_seconds",
    "group_cpu_ms",
    "rss_mb",
    "run_program",
    "signal_name",
]

_CLEAR_REFS = "/proc/self/clear_refs"
_STATUS = "/proc/self/status"
_MB_PER_KB = 1 / 1024

_child_peak_mb = 0.0


def cpu_seconds() -> float:
    """Return the CPU time of this process and the children it waited for, in seconds."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def rss_mb() -> float:
    """Return the resident memory of this process in MB; 0 where the kernel does not say."""
    return _status_mb("VmRSS")


def _status_mb(name: str) -> float:
    try:
        with open(_STATUS, encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith(name):
                    return int(line.split()[1]) * _MB_PER_KB
    except OSError:
        pass
    return 0.0


def _reset_peak() -> bool:
    try:
        with open(_CLEAR_REFS, "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        return False
    return True


class CallMeter:
    """Meters the one call this process is running: `start`, then `stop`, which returns its `Usage`."""

    def start(self) -> None:
        """Reset the high-water mark and note the clocks."""
        global _child_peak_mb
        _child_peak_mb = 0.0
        self._exact_peak = _reset_peak()
        self._wall = time.perf_counter()
        self._cpu = cpu_seconds()

    def stop(self) -> Usage:
        """Return what was used since `start`. Without `/proc`, the peak is the largest this process ever had."""
        cpu, wall = cpu_seconds() - self._cpu, time.perf_counter() - self._wall
        own = _status_mb("VmHWM") if self._exact_peak else 0.0
        if not own:
            own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MB_PER_KB
        return Usage(wall_ms=wall * 1e3, cpu_ms=cpu * 1e3, peak_mb=max(own, _child_peak_mb))


class StepMeter:
    """Awaits a coroutine and adds up the CPU time of its own steps, leaving out everything else in the event loop.

    Tasks the coroutine starts are not its steps and are not seen.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self.cpu_ms = 0.0

    def __await__(self) -> Generator[Any, Any, Any]:
        step, sent, clock = self._coroutine.send, None, time.thread_time
        while True:
            started = clock()
            try:
                waiting_for = step(sent)
            except StopIteration as stop:
                return stop.value
            finally:
                self.cpu_ms += (clock() - started) * 1e3
            step = self._coroutine.send
            try:
                sent = yield waiting_for
            except GeneratorExit:
                self._coroutine.close()
                raise
            except BaseException as error:
                step, sent = self._coroutine.throw, error


@dataclass(frozen=True, slots=True)
class Finished:
    """How an external program ended: a negative `returncode` is the signal that killed it."""

    returncode: int
    stdout: bytes
    stderr: bytes
    cpu_ms: float
    peak_mb: float


def run_program(argv: Sequence[str], stdin: bytes = b"", *, env: Mapping[str, str] | None = None) -> Finished:
    """Run an external program to its end and meter it exactly with `wait4`.

    Call it from a tool that runs in a worker process: the program's CPU time and peak memory then count towards the
    call, and it is killed with the worker on timeout or cancellation. Raises `FileNotFoundError` if it is missing.
    """
    global _child_peak_mb
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    out, err = _exchange(process, stdin)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    peak = used.ru_maxrss * _MB_PER_KB
    _child_peak_mb = max(_child_peak_mb, peak)
    return Finished(process.returncode, out, err, (used.ru_utime + used.ru_stime) * 1e3, peak)


def _exchange(process: "subprocess.Popen[bytes]", stdin: bytes) -> tuple[bytes, bytes]:
    """Feed stdin and read both outputs at once, so that no pipe fills up and stalls the program."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    found: dict[int, bytearray] = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    out, err = found.values()
    rest = memoryview(stdin)
    with selectors.DefaultSelector() as selector, process.stdin, process.stdout, process.stderr:
        os.set_blocking(process.stdin.fileno(), False)
        for stream in (process.stdout, process.stderr):
            selector.register(stream, selectors.EVENT_READ)
        if rest:
            selector.register(process.stdin, selectors.EVENT_WRITE)
        else:
            process.stdin.close()
        while selector.get_map():
            for key, _ in selector.select():
                if key.fileobj is process.stdin:
                    rest = _feed(key.fd, rest)
                    if not rest:
                        selector.unregister(process.stdin)
                        process.stdin.close()
                elif chunk := os.read(key.fd, 1 << 16):
                    found[key.fd] += chunk
                else:
                    selector.unregister(key.fileobj)
    return bytes(out), bytes(err)


def _feed(fd: int, rest: memoryview) -> memoryview:
    try:
        return rest[os.write(fd, rest[: 1 << 16]) :]
    except BlockingIOError:
        return rest
    except BrokenPipeError:  # the program does not read its input to the end
        return rest[:0]


def group_cpu_ms(group: int) -> dict[int, float]:
    """Return the CPU time so far, by process, of a process group (children already waited for included)."""
    ticks_ms = 1e3 / os.sysconf("SC_CLK_TCK")
    found: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text(encoding="ascii", errors="replace")
            except OSError:
                continue
            values = text.rpartition(")")[2].split()
            if int(values[2]) == group:
                found[int(entry.name)] = sum(int(v) for v in values[11:15]) * ticks_ms
    return found


def signal_name(number: int) -> str:
    """Return `SIGSEGV` for 11; the number itself for signals without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
