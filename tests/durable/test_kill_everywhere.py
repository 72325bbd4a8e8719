"""`kill -9` at every event of a run in a real process over a real store, then resume in another process."""

import asyncio
import json
import os
import random
import signal
import sqlite3
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from catp.agent import Agent
from catp.planlang.parser import parse
from catp.resume import Decision, Doubt
from catp.runtime.events import RunEvent
from catp.runtime.replay import rebuild
from tests.durable import shop

pytestmark = pytest.mark.slow

AT_ONCE = 6
ACTS = {"act order-p1": 1, "act mail": 1, "act post-p1#0": 1, "act post-p1#1": 1, "act post-p1#2": 1}


def agent(folder: Path) -> Agent:
    shop.use(folder / "world.txt")
    return Agent(shop.catalogue(), store=folder / "runs.db", budget="1")


def look(doubt: Doubt) -> Decision:
    """What a person does: look whether it happened."""
    assert doubt.step == "mail", "only the write without a key may be in doubt"
    return Decision("done", "sent(order)") if shop.lines()["act mail"] else Decision("again")


def committed(folder: Path, event: RunEvent) -> None:
    """Wait until the store has an event; another connection sees it only when it is really there."""
    limit = time.monotonic() + 20
    while time.monotonic() < limit:
        with sqlite3.connect(folder / "runs.db") as raw:
            found = raw.execute("SELECT max(run_seq) FROM events WHERE run_id = ?", (event.run_id,)).fetchone()[0]
        raw.close()
        if found is not None and found >= event.seq:
            return
        time.sleep(0.002)
    raise TimeoutError(f"event {event.seq} was never committed")


def die(_event: object = None) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killer(folder: Path, seq: int, *, after_commit: bool) -> Callable[[RunEvent], None]:
    def watch(event: RunEvent) -> None:
        if event.seq == seq and event.type != "run.finished":  # after that there is nothing left to resume
            if after_commit:
                committed(folder, event)
            die()

    return watch


def fork(work: Callable[[], Any], result: Path) -> int:
    """Run `work` in a forked process; what it returns, or how it failed, goes into a file. Returns the process id."""
    pid = os.fork()
    if pid == 0:  # the child: nothing of pytest may run in here
        code = 1
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # pytest-timeout has a handler of its own
        watchdog = threading.Timer(90, os._exit, [3])
        watchdog.daemon = True
        watchdog.start()
        try:
            result.write_text(json.dumps(work()))
            code = 0
        except BaseException:
            result.write_text(traceback.format_exc())
        finally:
            os._exit(code)
    return pid


def in_child(work: Callable[[], Any], result: Path) -> int:
    """Run `work` in a forked process. Returns the signal that ended it, or 0 if it ended well."""
    _, status = os.waitpid(fork(work, result), 0)
    if os.WIFSIGNALED(status):
        return os.WTERMSIG(status)
    assert os.WEXITSTATUS(status) == 0, result.read_text()
    return 0


def told(outcome: Any) -> dict[str, Any]:
    """What must be the same however often the run was interrupted, and its money."""
    run = rebuild(outcome.trace)
    return {
        "same": {
            "status": outcome.status,
            "outputs": {name: output.value for name, output in outcome.results.items()},
            "steps": {name: [step.status, step.value] for name, step in outcome.steps.items()},
        },
        "run": outcome.run_id,
        "spent": outcome.spent,
        "rows": sum(row.amount or 0 for row in outcome.ledger),
        "seqs": [row.seq for row in outcome.ledger],
        "rebuilt": run.spent,
        "open": len(run.open_calls),
        "saved": outcome.saved,
        "warnings": list(outcome.warnings),
    }


def first_life(folder: Path, on_event: Callable[[RunEvent], None] | None) -> Callable[[], Any]:
    async def live() -> Any:
        async with agent(folder) as one:
            return told(await one.run(parse(shop.PLAN), {"page": "p1"}, on_event=on_event))

    return lambda: asyncio.run(live())


def next_life(folder: Path, on_event: Callable[[RunEvent], None] | None = None) -> Callable[[], Any]:
    async def live() -> Any:
        async with agent(folder) as one:
            assert one.store is not None
            run = one.store.list()[0]
            assert run.status == "interrupted"
            return told(await one.resume(run.id, in_flight=look, on_event=on_event))

    return lambda: asyncio.run(live())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], int]:
    """The run that nobody interrupts, and the number of its last event."""
    folder = tmp_path_factory.mktemp("whole")
    first_life(tmp_path_factory.mktemp("imports"), None)()  # so that no child has to import anything
    assert in_child(first_life(folder, None), folder / "result") == 0
    with sqlite3.connect(folder / "runs.db") as raw:
        last = raw.execute("SELECT max(run_seq) FROM events").fetchone()[0]
    raw.close()
    found = json.loads((folder / "result").read_text())
    assert found["same"]["status"] == "complete"
    assert acts(folder) == ACTS
    return found, last


def acts(folder: Path) -> dict[str, int]:
    return {line: times for line, times in shop.lines(folder / "world.txt").items() if line.startswith("act ")}


def finished(folder: Path) -> set[tuple[str, int | None]]:
    """What the store says has ended well: steps, and elements of maps."""
    with sqlite3.connect(folder / "runs.db") as raw:
        rows = raw.execute("SELECT step, element FROM events WHERE type = 'node.finished'").fetchall()
        paid = raw.execute(
            "SELECT step, element FROM events WHERE type = 'node.settled' AND data_json LIKE '%\"outcome\": \"ok\"%'"
        ).fetchall()
    raw.close()
    return {(step, element) for step, element in [*rows, *paid]}


def last_event(folder: Path) -> int:
    with sqlite3.connect(folder / "runs.db") as raw:
        found = raw.execute("SELECT coalesce(max(run_seq), 0) FROM events").fetchone()[0]
    raw.close()
    return int(found)


def called_after(folder: Path, seq: int) -> list[tuple[str, int | None]]:
    with sqlite3.connect(folder / "runs.db") as raw:
        rows = raw.execute("SELECT step, element FROM events WHERE type = 'node.started' AND run_seq > ?", (seq,))
        found = [(step, element) for step, element in rows]
    raw.close()
    return found


def check(folder: Path, wanted: dict[str, Any]) -> None:
    found = json.loads((folder / "result").read_text())
    assert found["same"] == wanted["same"]
    assert acts(folder) == ACTS, "something was done twice, or not at all"
    assert found["saved"], found["warnings"]
    assert found["open"] == 0
    assert found["seqs"] == list(range(1, len(found["seqs"]) + 1))
    assert found["spent"] == found["rows"] == found["rebuilt"]
    with sqlite3.connect(folder / "runs.db") as raw:
        status, cost = raw.execute("SELECT status, cost_nano FROM runs").fetchone()
        rows = raw.execute("SELECT sum(amount_nano) FROM costs").fetchone()[0]
        steps = raw.execute("SELECT sum(cost_nano) FROM steps").fetchone()[0]
        twice = raw.execute(
            "SELECT step, element FROM calls WHERE outcome = 'ok' GROUP BY step, element HAVING count(*) > 1"
        ).fetchall()
    raw.close()
    assert (status, cost) == (found["same"]["status"], found["spent"])
    assert rows == steps == cost
    assert not twice, "a call that had ended well was paid twice"


def killed_and_resumed(folder: Path, wanted: dict[str, Any], seq: int, *, after_commit: bool) -> None:
    folder.mkdir()
    ended = in_child(first_life(folder, killer(folder, seq, after_commit=after_commit)), folder / "result")
    assert ended == signal.SIGKILL
    before = last_event(folder)
    if not before:  # nothing of the run was on the disk, and nothing had been done
        assert not acts(folder)
        return
    done = finished(folder)
    assert in_child(next_life(folder), folder / "result") == 0
    check(folder, wanted)
    again = [call for call in called_after(folder, before) if call in done]
    assert not again, f"called again although finished: {again}"


def several(works: list[Callable[[], None]], folder: Path) -> None:
    """Do all of them, some at once, each in a process of its own that looks after its children."""
    folder.mkdir(exist_ok=True)
    waiting = list(enumerate(works))
    running: dict[int, int] = {}
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            number, work = waiting.pop()
            running[fork(work, folder / f"told{number}")] = number
        pid = next(iter(running))  # the oldest; `os.wait()` could take a child of somebody else
        number = running.pop(pid)
        _, status = os.waitpid(pid, 0)
        assert status == 0, (folder / f"told{number}").read_text()


@pytest.mark.parametrize("after_commit", [False, True], ids=["as it happens", "after the commit"])
def test_killed_at_every_event(whole: tuple[dict[str, Any], int], tmp_path: Path, after_commit: bool) -> None:
    wanted, last = whole

    def at(seq: int) -> Callable[[], None]:
        return lambda: killed_and_resumed(tmp_path / f"at{seq}", wanted, seq, after_commit=after_commit)

    several([at(seq) for seq in range(1, last)], tmp_path / "told")


def test_killed_again_while_it_resumes(whole: tuple[dict[str, Any], int], tmp_path: Path) -> None:
    wanted, last = whole

    def again_and_again(seed: int) -> None:
        rng, folder = random.Random(seed), tmp_path / f"seed{seed}"
        folder.mkdir()
        first = killer(folder, rng.randint(3, last - 1), after_commit=True)
        assert in_child(first_life(folder, first), folder / "result") == signal.SIGKILL
        for _ in range(8):
            second = killer(folder, last_event(folder) + rng.randint(1, 20), after_commit=rng.random() < 0.5)
            if in_child(next_life(folder, second), folder / "result") == 0:
                break
        else:
            assert in_child(next_life(folder), folder / "result") == 0
        check(folder, wanted)

    several([partial(again_and_again, seed) for seed in range(12)], tmp_path / "told")


def test_killed_at_any_moment(whole: tuple[dict[str, Any], int], tmp_path: Path) -> None:
    """Not at an event, but whenever a timer of the kernel says so: also in the middle of a tool or of a commit."""
    wanted, _ = whole

    def at_a_moment(seed: int) -> None:
        rng, folder = random.Random(seed), tmp_path / f"seed{seed}"
        folder.mkdir()

        def arm(event: RunEvent) -> None:
            if event.type == "run.created":
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.001, 0.1))  # its default action kills

        in_child(first_life(folder, arm), folder / "result")
        with sqlite3.connect(folder / "runs.db") as raw:
            status = raw.execute("SELECT status FROM runs").fetchone()
        raw.close()
        if status == ("running",):
            assert in_child(next_life(folder), folder / "result") == 0
            check(folder, wanted)
        assert status is None or acts(folder) == ACTS

    several([partial(at_a_moment, seed) for seed in range(24)], tmp_path / "told")
