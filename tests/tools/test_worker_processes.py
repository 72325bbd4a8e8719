"""Tools in worker processes: metered honestly, killed for real, and never able to take the caller down."""

import asyncio
import ctypes
import importlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from catp.tools import (
    ResultTooLarge,
    ToolCrashed,
    ToolFailed,
    ToolTimeout,
    ToolUnavailable,
    WorkerLimits,
    WorkerPool,
    WrongResult,
    run_program,
    tool,
)
from catp.tools.meter import CallMeter

POOL = WorkerPool(size=2, limits=WorkerLimits(result_bytes=64 << 20))
SMALL = WorkerPool(size=1, limits=WorkerLimits(result_bytes=1 << 20, memory_mb=1024, idle_rss_mb=150))


@pytest.fixture(autouse=True, scope="module")
def closed_pools() -> Iterator[None]:
    yield
    POOL.close()
    SMALL.close()


@dataclass(frozen=True)
class Where:
    pid: int
    loads: int


loads = 0


def load() -> None:
    global loads
    loads += 1
    spin(50)


def spin(cpu_ms: float) -> None:
    until = time.process_time() + cpu_ms / 1e3
    while time.process_time() < until:
        pass


@tool(pool=POOL, setup=load)
def where(text: str) -> Where:
    return Where(os.getpid(), loads)


def raise_error() -> None:
    raise KeyError("no such page")


MISDEEDS: dict[str, Callable[[], object]] = {
    "raise": raise_error,
    "exit": lambda: os._exit(3),
    "sys.exit": lambda: sys.exit(2),
    "sigkill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segfault": lambda: ctypes.string_at(0),
    "hang": lambda: time.sleep(600),
    "hang in a program": lambda: subprocess.run(["sleep", "600"], check=False),
    "burn": lambda: spin(600_000),
    "leak": lambda: threading.Thread(target=spin, args=(600_000,)).start(),
    "leak a program": lambda: subprocess.Popen(["sleep", "600"]),
    "print": lambda: print("noise"),
}
LIES: dict[str, object] = {"wrong type": 5, "unpicklable": lambda: 1}


@tool(pool=POOL, family="misbehaving")
def misbehave(how: str, note: Path | None = None) -> str:
    if note is not None:
        note.write_text(str(os.getpid()))
    MISDEEDS.get(how, lambda: None)()
    return LIES.get(how, "fine")  # type: ignore[return-value]  # wrong on purpose


@tool(pool=POOL)
def spend(cpu_ms: float = 0.0, sleep_ms: float = 0.0, memory_mb: int = 0) -> str:
    spin(cpu_ms)
    time.sleep(sleep_ms / 1e3)
    if memory_mb:
        block = bytearray(memory_mb << 20)
        block[::4096] = b"x" * len(block[::4096])
    return "done"


@tool(pool=SMALL)
def produce(megabytes: int) -> bytes:
    return b"x" * (megabytes << 20)


@tool(pool=POOL)
def produce_much(megabytes: int) -> bytes:
    return bytes(megabytes << 20)


@tool(pool=POOL)
def letters(text: str) -> Iterator[str]:
    yield from text


@tool(pool=POOL, placement="process")
async def aletters(text: str) -> AsyncIterator[str]:
    for letter in text:
        await asyncio.sleep(0)
        yield letter


async def call(how: str, *, timeout: float = 30, note: Path | None = None) -> str:
    result = await misbehave.spec.backend.call({"how": how, "note": note}, timeout=timeout)
    return str(result.value)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def until(condition: Callable[[], object]) -> bool:
    for _ in range(2000):
        if condition():
            return True
        await asyncio.sleep(0.01)
    return False


async def gone(pid: int) -> bool:
    return await until(lambda: not alive(pid))


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


async def written(path: Path) -> int:
    assert await until(lambda: read(path))
    return int(read(path).split()[0])


async def test_calls_run_elsewhere_and_reuse_the_warm_process() -> None:
    first = await where.spec.backend.call({"text": "a"}, timeout=30)
    second = await where.spec.backend.call({"text": "a"}, timeout=30)
    assert first.value == second.value == Where(first.value.pid, loads=1)
    assert first.value.pid != os.getpid()
    assert first.usage.cold_cpu_ms > 50  # the setup alone burns 50
    assert second.usage.cold_cpu_ms == 0
    assert second.usage.cpu_ms < 50
    assert first.usage.bytes_in > 0
    assert first.usage.bytes_out > 0


async def test_each_tool_has_its_own_process() -> None:
    await where.spec.backend.call({"text": "a"}, timeout=30)
    before = set(POOL.pids)
    await spend.spec.backend.call({}, timeout=30)
    assert len(set(POOL.pids) - before) <= 1
    assert len(POOL.pids) >= 2


async def test_generators_become_lists() -> None:
    assert (await letters.spec.backend.call({"text": "abc"}, timeout=30)).value == ["a", "b", "c"]
    assert (await aletters.spec.backend.call({"text": "abc"}, timeout=30)).value == ["a", "b", "c"]


async def test_cpu_time_is_billed_and_sleep_is_not() -> None:
    await spend.spec.backend.call({}, timeout=30)
    busy = (await spend.spec.backend.call({"cpu_ms": 200.0}, timeout=30)).usage
    idle = (await spend.spec.backend.call({"sleep_ms": 200.0}, timeout=30)).usage
    assert 190 <= busy.cpu_ms <= 300
    assert idle.cpu_ms < 50
    assert idle.wall_ms >= 200


async def test_a_transient_peak_of_memory_is_seen_and_forgotten_by_the_next_call() -> None:
    low = (await spend.spec.backend.call({}, timeout=30)).usage.peak_mb
    high = (await spend.spec.backend.call({"memory_mb": 100}, timeout=30)).usage.peak_mb
    after = (await spend.spec.backend.call({}, timeout=30)).usage.peak_mb
    assert 95 <= high - low <= 115
    assert after < low + 20


async def test_an_exception_arrives_with_its_type_place_and_usage() -> None:
    with pytest.raises(ToolFailed, match=r"misbehave: 'no such page' \(at test_worker_processes.py:\d+\)") as caught:
        await call("raise")
    assert caught.value.error_type == "KeyError"
    assert caught.value.usage.wall_ms > 0


@pytest.mark.parametrize(
    ("how", "error", "reason"),
    [
        ("exit", ToolCrashed, "exited with code 3 in the middle of the call"),
        ("sigkill", ToolCrashed, "killed by SIGKILL"),
        ("segfault", ToolCrashed, "killed by SIGSEGV"),
        ("sys.exit", ToolFailed, "2"),
        ("wrong type", WrongResult, "the result is int 5, expected text"),
        ("unpicklable", WrongResult, "function cannot be sent between processes"),
    ],
)
async def test_a_tool_that_dies_or_lies_hurts_only_its_call(how: str, error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=reason):
        await call(how)
    assert await call("well") == "fine"


@pytest.mark.parametrize("how", ["hang", "burn", "hang in a program"])
async def test_a_tool_that_hangs_is_killed(how: str, tmp_path: Path) -> None:
    await call("well")
    with pytest.raises(ToolTimeout, match=r"stopped after 0.6 s") as caught:
        await call(how, timeout=0.6, note=tmp_path / "pid")
    assert await gone(await written(tmp_path / "pid"))
    if how == "burn":
        assert 40 < caught.value.usage.cpu_ms < 1500
    else:
        assert caught.value.usage.cpu_ms < 200
    assert await call("well") == "fine"


async def test_a_killed_tool_takes_its_programs_with_it(tmp_path: Path) -> None:
    task = asyncio.create_task(call("hang in a program", note=tmp_path / "pid"))
    pid = await written(tmp_path / "pid")
    child = await written(Path(f"/proc/{pid}/task/{pid}/children"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await gone(pid)
    assert await gone(child)


async def test_cancelling_stops_the_work_at_once(tmp_path: Path) -> None:
    task = asyncio.create_task(call("burn", note=tmp_path / "pid"))
    pid = await written(tmp_path / "pid")
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as stopped:
        await task
    assert await gone(pid)
    assert getattr(stopped.value, "usage").cpu_ms > 10  # noqa: B009  an attribute asyncio does not know


async def test_a_leaked_thread_ends_with_its_process(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert await call("leak", note=tmp_path / "pid") == "fine"
    assert await gone(await written(tmp_path / "pid"))
    assert "left 1 thread(s) running" in caplog.text


async def test_a_program_left_behind_ends_with_its_process(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert await call("leak a program", note=tmp_path / "pid") == "fine"
    assert await gone(await written(tmp_path / "pid"))
    assert "left a program running" in caplog.text


@tool(pool=POOL)
def wind_up(text: str) -> str:
    """Keep the process busy after the call in a way that leaves no Python thread, as native threads may."""
    signal.signal(signal.SIGALRM, lambda *_: spin(300))
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    return text


async def test_a_process_that_is_busy_between_calls_is_ended(caplog: pytest.LogCaptureFixture) -> None:
    await wind_up.spec.backend.call({"text": "a"}, timeout=30)
    await asyncio.sleep(2.5)
    await wind_up.spec.backend.call({"text": "a"}, timeout=30)
    assert "ms of CPU between calls" in caplog.text


async def test_what_a_tool_prints_does_not_reach_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    assert await call("print") == "fine"
    assert capfd.readouterr().out == ""


async def test_a_result_over_the_limit_never_crosses_the_pipe() -> None:
    assert len((await produce.spec.backend.call({"megabytes": 0}, timeout=30)).value) == 0
    meter = CallMeter()
    meter.start()
    before = meter.stop().peak_mb
    meter.start()
    with pytest.raises(ResultTooLarge, match="exceeds 1048576 bytes"):
        await produce.spec.backend.call({"megabytes": 64}, timeout=30)
    assert meter.stop().peak_mb < before + 16


@pytest.mark.slow
async def test_a_result_of_two_gigabytes_is_refused_without_harm() -> None:
    meter = CallMeter()
    meter.start()
    before = meter.stop().peak_mb  # other tests may have left this process large
    meter.start()
    with pytest.raises(ResultTooLarge):
        await produce_much.spec.backend.call({"megabytes": 2048}, timeout=100)
    assert meter.stop().peak_mb < before + 1024
    assert len((await produce_much.spec.backend.call({"megabytes": 1}, timeout=30)).value) == 1 << 20


async def test_a_tool_cannot_take_more_memory_than_a_worker_may() -> None:
    with pytest.raises(ToolFailed) as caught:
        await produce.spec.backend.call({"megabytes": 2000}, timeout=60)
    assert caught.value.error_type == "MemoryError"


async def test_no_more_calls_run_at_once_than_the_pool_has_slots() -> None:
    async def one() -> float:
        return (await produce.spec.backend.call({"megabytes": 0}, timeout=30)).usage.wall_ms

    await asyncio.gather(*(one() for _ in range(12)))
    assert len(SMALL.pids) == 1


async def test_waiting_for_a_slot_does_not_count_as_running_and_can_be_cancelled() -> None:
    slow = [asyncio.create_task(spend.spec.backend.call({"sleep_ms": 2500.0}, timeout=20)) for _ in range(2)]
    await asyncio.sleep(0.3)
    waiting = asyncio.create_task(spend.spec.backend.call({}, timeout=2))
    dropped = asyncio.create_task(spend.spec.backend.call({}, timeout=2))
    await asyncio.sleep(0.01)
    dropped.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dropped
    await asyncio.gather(*slow, waiting)


def test_the_pool_outlives_an_event_loop() -> None:
    pids = {asyncio.run(where.spec.backend.call({"text": "a"}, timeout=30)).value.pid for _ in range(3)}
    assert len(pids) == 1


async def test_closing_a_tool_ends_its_processes() -> None:
    pid = (await where.spec.backend.call({"text": "a"}, timeout=30)).value.pid
    await where.spec.backend.close()
    await where.spec.backend.close()
    assert not alive(pid)
    assert (await where.spec.backend.call({"text": "a"}, timeout=30)).value.pid != pid


@tool(pool=POOL)
def child_program(mb: int) -> dict:  # type: ignore[type-arg]  # plain dict is what users write
    code = f"b = bytearray({mb} << 20); b[::4096] = b'x' * len(b[::4096]); sum(range(3_000_000))"
    finished = run_program([sys.executable, "-S", "-c", code])
    return {"code": finished.returncode, "cpu_ms": finished.cpu_ms, "peak_mb": finished.peak_mb}


async def test_external_programs_count_towards_the_call() -> None:
    result = await child_program.spec.backend.call({"mb": 200}, timeout=60)
    assert result.value["code"] == 0
    assert result.value["peak_mb"] > 200
    assert result.usage.peak_mb >= result.value["peak_mb"]
    assert result.usage.cpu_ms >= result.value["cpu_ms"] > 10


SCRIPT = """
    import asyncio, os, sys
    from dataclasses import dataclass
    from catp.tools import tool

    @dataclass
    class Answer:
        pid: int

    @tool()
    def whoami(text: str) -> Answer:
        return Answer(os.getpid())

    @tool()
    def sleep(text: str) -> str:
        import time
        print("pid", os.getpid(), file=sys.stderr, flush=True)
        time.sleep(600)
        return text

    if __name__ == "__main__":
        if sys.argv[1:] == ["sleep"]:
            asyncio.run(sleep.spec.backend.call({"text": "x"}, timeout=500))
        answer = asyncio.run(whoami.spec.backend.call({"text": "x"}, timeout=30)).value
        print(type(answer) is Answer, answer.pid != os.getpid())
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "my_script.py"
    path.write_text(textwrap.dedent(SCRIPT))
    return path


def test_tools_may_be_defined_in_the_script_that_is_run(script: Path) -> None:
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("True True\n", "", 0)


def test_tools_may_be_defined_in_a_module_that_is_run(script: Path) -> None:
    command = [sys.executable, "-m", "my_script"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=script.parent)
    assert (done.stdout, done.stderr, done.returncode) == ("True True\n", "", 0)


async def test_workers_die_with_their_parent(script: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, str(script), "sleep", stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
    )
    assert parent.stderr is not None
    pid = int((await parent.stderr.readline()).split()[1])
    assert alive(pid)
    parent.kill()
    await parent.communicate()
    assert await gone(pid)


def test_a_tool_of_an_interactive_session_is_refused_with_a_reason() -> None:
    code = "from catp.tools import tool\n@tool()\ndef f(x: str) -> str: return x\n"
    done = subprocess.run([sys.executable, "-"], input=code, capture_output=True, text=True, timeout=60, check=False)
    assert "interactive session" in done.stderr


async def test_a_module_that_cannot_be_loaded_makes_the_tool_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "fickle_module.py"
    module.write_text("from catp.tools import tool\n\n@tool()\ndef fickle(x: str) -> str:\n    return x\n")
    monkeypatch.syspath_prepend(tmp_path)
    fickle_module = importlib.import_module("fickle_module")

    module.write_text("raise RuntimeError('broken since')\n")
    with pytest.raises(ToolUnavailable, match="cannot be loaded in a worker process: RuntimeError: broken since"):
        await fickle_module.fickle.spec.backend.call({"x": "a"}, timeout=30)
