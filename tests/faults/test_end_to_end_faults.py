"""Agent, runtime, worker processes and store together while tools, machine and user misbehave; all of it for real."""

import asyncio
import importlib.util
import json
import os
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from catp.agent import Agent
from catp.planlang.money import usd
from catp.planlang.parser import parse
from catp.result import RunCancelled, RunRefused, RunResult
from catp.runtime.events import RunEvent
from catp.store.store import RunStore
from catp.tools.workers import default_pool
from tests import warm
from tests.warm import environment

ROGUES = Path(__file__).with_name("rogues.py")
MARKED = "in mark: text\na = {}(mark)\nout a\n"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fault_rogues", ROGUES)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fault_rogues"] = module
    spec.loader.exec_module(module)
    return module


rogues = _load()


def agent(**options: Any) -> Agent:
    return Agent(rogues.CATALOGUE, **options)


async def run(source: str, inputs: dict[str, Any] | None = None, **options: Any) -> RunResult:
    async with agent(**options) as bot:
        return await bot.run(parse(source), inputs)


def sound(result: RunResult) -> None:
    """The total is the sum of the rows, and the trace is whole."""
    assert result.spent == sum(row.amount or 0 for row in result.ledger)
    assert [event.seq for event in result.trace] == list(range(1, len(result.trace) + 1))
    assert result.trace[-1].type == "run.finished"


def alive(pid: int) -> bool:
    """True if the process runs; a zombie nobody reaped (its parent was killed) does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def computed(pid: int) -> float:
    """Seconds of CPU time that the process has taken, as far as the kernel counts them."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def until(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


# --- the agent --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ('raises(text="x")', "no such thing as x (at rogues.py"),
        ('lies(text="x")', "the result is int 42, expected Word"),
        ('huge(text="x")', "result exceeds"),
        ('dies(how="kill")', "killed by SIGKILL"),
        ('dies(how="exit")', "exited with code 3"),
        ('dies(how="segfault")', "killed by SIGSEGV"),
        ('dies(how="sys.exit")', "7 (at rogues.py"),
        ('odd(kind="circle")', "its result cannot be used: RecursionError"),
        ('odd(kind="deep")', "cannot be sent between processes"),
        ('wails(text="x")', "characters)"),
    ],
)
async def test_a_tool_that_goes_wrong_costs_its_price_and_only_its_own_branch(call: str, reason: str) -> None:
    result = await run(f'a = {call}\nb = echo(text="still here")\nout a, b')
    assert result.status == "degraded"
    assert result.outputs == {"b": "still here"}
    assert reason in result.results["a"].reason
    assert len(result.results["a"].reason) < 3000
    assert result.steps["a"].price in (usd("0.002"), usd("0.001"))
    sound(result)
    assert not [pid for pid in default_pool().pids if alive(pid)]


async def test_a_tool_that_hangs_is_killed_and_paid_for(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    result = await run(MARKED.format("hangs"), {"mark": str(mark)})
    assert result.status == "failed"
    assert "stopped after 2.5 s" in result.results["a"].reason
    assert result.spent == usd("0.002")
    assert not alive(int(mark.read_text()))
    sound(result)


async def test_a_leaked_thread_does_not_survive_its_call() -> None:
    async with agent() as bot:
        result = await bot.run(parse('a = leaks(text="x")\nout a'))
        assert result.outputs == {"a": "x"}
        assert not default_pool().pids


async def test_calls_that_wait_for_a_worker_are_neither_timed_nor_billed() -> None:
    """More calls than workers: the last ones wait far longer than their time limit."""
    width = 10 * default_pool().size
    result = await run(f"a = words({width})\nb = naps(each a)\nout b")
    assert result.status == "complete", result.results
    assert result.spent == usd("0.001") * width
    started = [event for event in result.trace if event.type == "node.started" and event.step == "b"]
    ends = {event.element: event.at_ns for event in result.trace if event.type == "node.settled" and event.step == "b"}
    assert all(ends[event.element] - event.at_ns < 3.2e9 for event in started)
    stopped = await run(f"a = words({width})\nb = naps(each a)\nout b", deadline_s=1.2)
    calls = sum(event.type == "node.started" and event.step == "b" for event in stopped.trace)
    assert calls < width
    assert stopped.spent == usd("0.001") * calls
    sound(stopped)


async def test_a_call_far_above_its_estimate_is_charged_flagged_and_stops_the_next(tmp_path: Path) -> None:
    profiles = tmp_path / "profiles.json"
    async with agent(profiles=profiles) as bot:
        for _ in range(3):
            await bot.run(parse("a = gulps(0.01)\nout a"))
    from catp.tools.profile import ProfileBook

    catalogue = rogues.CATALOGUE.with_profiles(ProfileBook.load(profiles))
    async with Agent(catalogue, budget="0.004") as bot:
        source = 'a = gulps(0.6)\nb = gulps(0.01) @after(a)\nc = echo(text="x") @after(a)\nout a, b?, c?'
        result = await bot.run(parse(source))
    assert result.outputs == {"a": "done"}
    assert result.spent > usd("0.006")
    assert all(row.overrun for row in result.ledger if row.step == "a")
    warning = next(event for event in result.trace if event.type == "run.budget_warning")
    assert warning.step == "a"
    assert warning.data["over_cap"] is True
    assert {result.steps[name].status for name in "bc"} == {"refused"}
    assert {row.step for row in result.ledger} == {"a"}
    sound(result)


@pytest.mark.parametrize("tool", ["unpriced", "priced_badly", "priced_never", "priced_below_zero"])
async def test_a_price_nobody_knows_is_refused_under_a_budget_and_never_0(tool: str) -> None:
    source = f'a = {tool}(text="x")\nout a'
    with pytest.raises(RunRefused, match="price of `a` is unknown"):
        await run(source, budget="1")
    free = await run(source)
    assert free.outputs == {"a": "x"}
    assert [(row.amount, row.priced) for row in free.ledger] == [(None, False)]
    assert free.steps["a"].price is None
    assumed = await run(source, assume_price="0.01")
    assert assumed.outputs == {"a": "x"}


async def test_alternatives_retries_and_hedges_over_processes_that_die(tmp_path: Path) -> None:
    source = """in mark: text
a = dies(how="segfault") | raises(text="x") | echo(text="third")
b = flaky(mark) @retry(2, backoff=10ms)
c = naps(text="slow") | echo(text="quick") @hedge(100ms)
out a, b, c
"""
    async with agent() as bot:
        await bot.run(parse('a = echo(text="warm")\nout a'))  # so that the hedge has a worker to win with
        result = await bot.run(parse(source), {"mark": str(tmp_path / "count")})
    assert result.status == "complete", result.results
    assert result.outputs["a"] == "third"
    assert result.outputs["b"] == "call 3"
    assert result.outputs["c"] in ("quick", "slow")
    assert result.steps["a"].price == usd("0.005")
    assert result.steps["b"].price == usd("0.003")
    sound(result)


async def test_cancelling_kills_the_worker_and_bills_what_it_computed(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs.db")
    mark = tmp_path / "pid"
    async with agent(store=store) as bot:
        running = asyncio.ensure_future(bot.run(parse(MARKED.format("burns")), {"mark": str(mark)}))
        await asyncio.to_thread(until, mark.exists)
        pid = int(mark.read_text())
        enough = computed(pid) + 0.2
        await asyncio.to_thread(until, lambda: computed(pid) > enough)
        running.cancel()
        with pytest.raises(RunCancelled) as caught:
            await running
    result = caught.value.result
    assert result.status == "cancelled"
    assert result.spent > usd("0.001")  # a cent is one second of CPU time
    assert not alive(pid)
    assert store.get(result.run_id).summary.cost == result.spent
    store.close()
    sound(result)


async def test_a_locked_store_costs_the_record_and_not_the_run(tmp_path: Path) -> None:
    RunStore(tmp_path / "runs.db").list()
    locker = sqlite3.connect(tmp_path / "runs.db", isolation_level=None)
    locker.execute("BEGIN EXCLUSIVE")
    result = await run('a = echo(text="x")\nout a', store=RunStore(tmp_path / "runs.db", busy_s=0.1))
    assert result.outputs == {"a": "x"}
    assert not result.saved
    assert "runs.db: database is locked" in result.warnings[0]
    locker.execute("ROLLBACK")

    def lock(event: RunEvent) -> None:
        if event.type == "node.started":
            locker.execute("BEGIN IMMEDIATE")

    store = RunStore(tmp_path / "runs.db", busy_s=0.1)
    async with agent(store=store) as bot:
        result = await bot.run(parse('a = later(text="x")\nout a'), on_event=lock)
    assert result.outputs == {"a": "x"}
    assert not result.saved
    assert "not completely saved" in result.warnings[0]
    locker.close()
    kept = [run for run in store.list() if run.id == result.run_id]
    assert not [run for run in kept if run.status == "complete"]  # its end is not in the record
    for run_kept in kept:
        assert [event.seq for event in store.events(run_kept.id)] == list(range(1, len(store.events(run_kept.id)) + 1))
    store.close()


# --- the command ------------------------------------------------------------------------------------------


def make_project(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    shutil.copy(ROGUES, folder / "rogues.py")
    (folder / "catp.toml").write_text(f'tools = "rogues:CATALOGUE"\nstore = "{folder}/runs.db"\n')
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path)


def command(folder: Path, source: str, *args: str) -> list[str]:
    (folder / "it.plan").write_text(source)
    return [sys.executable, "-W", "error", "-m", "catp.cli", "run", "it.plan", *args]


def catp(folder: Path, source: str, *args: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """Run a plan to its end; whatever happens, there is no traceback and no warning about something left open."""
    (folder / "it.plan").write_text(source)
    done = warm.catp(folder, "run", "it.plan", *args, env=environment(folder, **more))
    clean(done.stderr)
    return done


def clean(stderr: str) -> None:
    for word in ("Traceback", "Warning", "never awaited", "was destroyed", "Exception ignored"):
        assert word not in stderr, stderr


def stored(folder: Path) -> list[Any]:
    store = RunStore(folder / "runs.db")
    try:
        return list(store.list())
    finally:
        store.close()


def test_failures_are_told_in_words_and_exit_codes(project: Path) -> None:
    done = catp(project, 'a = dies(how="segfault")\nb = raises(text="x")\nout a, b\n')
    assert done.returncode == 1
    assert "killed by SIGSEGV" in done.stdout
    assert "Failed: $0.004" in done.stdout
    degraded = catp(project, 'a = raises(text="x")\nb = echo(text="y")\nout a, b\n')
    assert degraded.returncode == 1  # an output that was asked for is missing
    optional = catp(project, 'a = raises(text="x")\nb = echo(text="y")\nout a?, b\n')
    assert optional.returncode == 0
    assert "Degraded: $0.003" in degraded.stdout


def test_an_unpriced_run_never_shows_0(project: Path) -> None:
    done = catp(project, 'a = unpriced(text="x")\nb = echo(a)\nout b\n')
    assert done.returncode == 0
    assert "Complete: $0.001 + unpriced" in done.stdout
    alone = catp(project, 'a = unpriced(text="x")\nout a\n', "--jsonl")
    assert "$0" not in alone.stderr
    lines = [json.loads(line) for line in alone.stdout.splitlines()]
    assert lines[-1]["unpriced_rows"] == 1
    assert not lines[-1]["warnings"]
    assert "node.settled" in [line.get("type") for line in lines]
    assert catp(project, 'a = unpriced(text="x")\nout a\n', "--budget", "1").returncode == 4
    listed = warm.catp(project, "runs", "list", env=environment(project))
    assert listed.returncode == 0
    assert "$0.00 " not in listed.stdout
    assert "unpriced" in listed.stdout


def test_deadline_of_the_run_kills_the_worker_and_is_exit_5(project: Path) -> None:
    mark = project / "pid"
    done = catp(project, MARKED.format("burns"), "-i", f'mark:="{mark}"', "--deadline", "3")
    assert done.returncode == 5
    assert not alive(int(mark.read_text()))
    assert stored(project)[0].cost > 0


@pytest.mark.parametrize(("mode", "code", "words"), [("auto", 0, "yes"), ("never", 4, "denied"), ("later", 7, "waits")])
def test_approval_without_a_terminal(project: Path, mode: str, code: int, words: str) -> None:
    done = catp(project, 'a = echo(text="yes") @approve\nout a\n', "--approve", mode)
    assert (done.returncode, words in done.stdout) == (code, True), done.stdout


@pytest.mark.parametrize(("typed", "code"), [(b"y\n", 0), (b"\n", 4), (b"\x03", 130)])
def test_approval_at_a_terminal(project: Path, typed: bytes, code: int) -> None:
    """The question is asked once, in one line, and Ctrl-C ends the command although no answer came."""
    import pty

    argv = command(project, 'a = echo(text="\\u202eyes") @approve\nout a\n')
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(project)
        os.execve(argv[0], argv, environment(project, TERM="xterm", COLUMNS="200"))
    seen = b""
    try:
        while b"[y/N] " not in seen:
            seen += os.read(terminal, 4096)
        os.write(terminal, typed)
        while chunk := _read(terminal):
            seen += chunk
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == code, seen
    assert b"echo(text='\\u202eyes'), about $0.001, no cap? [y/N]" in seen
    assert b"\xe2\x80\xae" not in seen
    clean(seen.decode())


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # the other side is closed
        return b""


@pytest.fixture
def started(project: Path) -> Iterator[Callable[..., tuple["subprocess.Popen[str]", list[int]]]]:
    """Starts `catp run` with a tool that tells its process ids, and waits until it is at work."""
    processes = []
    workers: list[int] = []

    def start(tool: str, *args: str) -> tuple["subprocess.Popen[str]", list[int]]:
        mark = project / "pid"
        process = subprocess.Popen(
            command(project, MARKED.format(tool), "-i", f'mark:="{mark}"', *args), cwd=project,
            env=environment(project), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        processes.append(process)
        assert until(lambda: mark.exists() or process.poll() is not None)
        time.sleep(0.2)
        told = json.loads(mark.read_text())
        pids = told if isinstance(told, list) else [told]
        workers.extend(pids)
        return process, pids

    yield start
    for process in processes:
        process.kill()
        process.communicate()
    for pid in filter(alive, workers):  # a failed test must not leave what it found
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("tool", ["burns", "grips", "litters"])
def test_a_signal_stops_the_workers_and_completes_the_ledger(
    project: Path, started: Any, tool: str, number: signal.Signals
) -> None:
    process, pids = started(tool, "--json")
    process.send_signal(number)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 130, err
    clean(err)
    assert not [pid for pid in pids if alive(pid)]
    document = json.loads(out)
    assert document["status"] == "cancelled"
    assert float(document["spent_usd"]) > (0 if tool == "litters" else 0.001)
    assert [(run.status, run.cost) for run in stored(project)] == [("cancelled", usd(document["spent_usd"]))]


@pytest.mark.parametrize("tool", ["burns", "grips", "litters"])
def test_a_killed_command_leaves_no_orphans_and_a_readable_store(project: Path, started: Any, tool: str) -> None:
    process, pids = started(tool)
    process.kill()
    process.wait()
    assert until(lambda: not any(map(alive, pids)), 5.0), "a worker outlived the command"
    assert [run.status for run in stored(project)] == ["interrupted"]
    (project / "pid").unlink()
    assert catp(project, 'a = echo(text="x")\nout a\n').returncode == 0
    assert [run.status for run in stored(project)] == ["complete", "interrupted"]


def test_an_interrupt_before_the_run_is_quiet(project: Path) -> None:
    (project / "slow.py").write_text(
        "import time, pathlib\npathlib.Path('importing').touch()\ntime.sleep(3600)\nTOOLS = ()\n"
    )
    process = subprocess.Popen(
        [*command(project, 'a = echo(text="x")\nout a\n'), "--tools", "slow:TOOLS"], cwd=project,
        env=environment(project), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert until((project / "importing").exists)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 130
    assert out == ""
    clean(err)


@pytest.mark.slow
def test_a_full_disk_costs_the_record_and_not_the_results(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk.

    A store that cannot even be opened ends the command before anything is spent; later failures cost the record only.
    """
    cases = [(0, 6), (64, 6), (300, 1), (360, 1)]  # a fresh store has 280, what is written 400
    with ThreadPoolExecutor(len(cases)) as pool:  # each waits for room as long as a store may be busy
        list(pool.map(lambda case: _full_disk(make_project(tmp_path / str(case[0])), *case), cases))


def _full_disk(project: Path, kilobytes: int, code: int) -> None:
    argv = command(project, 'a = shouts(size=400000)\nb = echo(text="the result")\nout a, b\n', "-o", "out")
    quoted = " ".join(f"'{part}'" for part in argv)
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f {kilobytes}; exec {quoted}"], cwd=project, env=environment(project),
        capture_output=True, encoding="utf-8", timeout=60, check=False,
    )  # fmt: skip
    clean(done.stderr)
    assert done.returncode == code, done.stderr
    if code == 6:
        assert f"run store {project}/runs.db" in done.stderr
        assert done.stdout == ""
    else:
        assert "the result" in done.stdout
        assert "Complete: $0.001" in done.stdout
        assert f"not completely saved: run store {project}/runs.db" in done.stdout
        assert "cannot write the outputs to out" in done.stderr
    again = catp(project, 'a = echo(text="x")\nout a\n')
    assert again.returncode == 0, again.stdout + again.stderr
    assert "warning" not in again.stdout
    assert stored(project)[0].status == "complete"


@pytest.mark.parametrize("options", [(), ("--json",), ("--jsonl",)])
def test_output_closed_early_is_quiet_and_the_run_is_saved(project: Path, options: tuple[str, ...]) -> None:
    argv = command(project, 'a = shouts(size=3000000)\nb = later(text="x")\nout a, b\n', *options)
    process = subprocess.Popen(
        argv, cwd=project, env=environment(project), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(1) != b""
    process.stdout.close()
    err = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(30) in (0, 1)
    clean(err)
    assert "BrokenPipe" not in err
    assert [run.status for run in stored(project)] == ["complete"]


def test_standard_output_on_a_full_disk_says_so(project: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command(project, 'a = echo(text="x")\nout a\n', "--json"), cwd=project, env=environment(project),
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert "cannot write to standard output: No space left on device" in done.stderr
    clean(done.stderr)
    assert [run.status for run in stored(project)] == ["complete"]


def test_two_runs_at_once_share_one_store(project: Path) -> None:
    argv = command(project, 'a = later(text="x")\nb = words(30)\nc = echo(each b)\nout a, c\n', "--json")
    both = [
        subprocess.Popen(argv, cwd=project, env=environment(project), stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    documents = [json.loads(process.communicate(timeout=60)[0]) for process in both]
    assert all(document["status"] == "complete" and document["saved"] for document in documents)
    assert not [document["warnings"] for document in documents if document["warnings"]]
    assert {run.id for run in stored(project)} == {document["run"] for document in documents}
    learned = json.loads(next((project / "data").rglob("profiles.json")).read_text())
    assert sum(p["calls"] for p in learned["profiles"] if p["tool"] == "echo") == 90


def test_hostile_text_cannot_steer_the_terminal_and_long_text_is_cut(project: Path) -> None:
    done = catp(project, "a = shouts(size=50000000)\nout a\n")
    assert done.returncode == 0
    assert len(done.stdout) < 10_000
    assert "50,000,000 characters" in done.stdout
    assert not set("\x1b\x07\x00\u202e\u2066\x9b") & set(done.stdout + done.stderr)
    loud = catp(project, 'a = wails(text="x")\nout a\n')
    assert len(loud.stdout) + len(loud.stderr) < 10_000
    assert "\x1b" not in loud.stdout + loud.stderr


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_locale_without_utf_8(project: Path, options: tuple[str, ...]) -> None:
    more = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        command(project, 'a = shouts(size=60)\nb = raises(text="grüße")\nout a, b?\n', *options), cwd=project,
        env=environment(project, **more), capture_output=True, encoding="utf-8", timeout=60, check=False,
    )  # fmt: skip
    clean(done.stderr)
    assert done.returncode == 0, done.stderr
    assert "grüße" in done.stdout
    assert "on_event raised" not in done.stdout


def test_arguments_that_are_no_utf_8(project: Path) -> None:
    argv = [part.encode() for part in command(project, "in text: text\na = echo(text)\nout a\n")]
    done = subprocess.run(
        [*argv, b"-i", b"text=\xff\x1b[2J"], cwd=project, env=environment(project), capture_output=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    clean(done.stderr.decode())
    assert b"\x1b" not in done.stdout
    assert b"saved as" in done.stdout


def test_values_that_fit_nowhere_are_still_shown_saved_and_written(project: Path) -> None:
    source = 'a = odd(kind="keys")\nb = odd(kind="nan")\nc = odd(kind="object")\n'
    source += "".join(f'p{i} = paints(mode="{m}")\n' for i, m in enumerate(["CMYK", "HSV", "F", "empty"]))
    done = catp(project, source + "out a, b, c, p0, p1, p2, p3\n", "--json", "--output", "out")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert (document["status"], document["saved"], document["warnings"]) == ("complete", True, [])
    assert len(list((project / "out").iterdir())) == 7


def _bomb() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_bad_input_files_end_the_command_before_anything_is_spent(project: Path) -> None:
    (project / "empty.txt").touch()
    (project / "rubbish.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    (project / "bomb.png").write_bytes(_bomb())
    (project / "latin.txt").write_bytes("grüße".encode("latin-1"))
    (project / "folder.txt").mkdir()
    with open(project / "huge.txt", "wb") as file:
        file.truncate(1 << 40)
    for name, complaint in {
        "missing.png": "there is no file", "empty.txt": "is empty", "rubbish.png": "not an image",
        "bomb.png": "too many pixels", "latin.txt": "not UTF-8", "folder.txt": "is a folder",
        "huge.txt": "the limit is",
    }.items():  # fmt: skip
        done = catp(project, "in text: text\na = echo(text)\nout a\n", "-i", f"text={name}")
        assert (done.returncode, done.stdout) == (2, ""), name
        assert complaint in done.stderr, name
        assert name in done.stderr
    assert not (project / "runs.db").exists()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("def f(:", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError"),
        ("X = (print,)", "X"),
        ("raise SystemExit(3)", "SystemExit"),
    ],
)
def test_a_broken_tools_module_is_named(project: Path, content: str, complaint: str) -> None:
    (project / "broken.py").write_text(content)
    done = catp(project, 'a = echo(text="x")\nout a\n', "--tools", "broken:X")
    assert done.returncode == 2
    assert "broken" in done.stderr
    assert complaint in done.stderr
