"""The store while processes are killed and disks fill up: what is there is whole, and adds up."""

import asyncio
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from catp.runtime.replay import rebuild as replay
from catp.store.audit import audit
from catp.store.rebuild import rebuild
from catp.store.store import RunStore
from tests.store.recording import call_events, created, finished, new_run

WRITER = """
import asyncio, sys
from catp.runtime.ids import new_run_id
from catp.store.store import RunStore
from tests.store.recording import drive, plan_of

async def main():
    store = RunStore(sys.argv[1])
    print("ready", flush=True)
    while True:
        run_id = new_run_id()
        journal = store.begin(plan_of(run_id))
        await asyncio.gather(drive(journal, run_id), journal.durable())
        await journal.close()

asyncio.run(main())
"""

PROJECTIONS = ("runs", "steps", "calls", "costs", "rollup_day", "budget_periods")


def projected(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Every projected row, sums of times to nine digits; who drives a run does not follow from its events."""
    skip = {"owner", "heartbeat_ns"}
    found = {}
    for table in PROJECTIONS:
        rows = connection.exec_driver_sql(f"SELECT * FROM {table}").mappings()
        kept = [tuple(_short(value) for name, value in row.items() if name not in skip) for row in rows]
        found[table] = sorted(kept, key=repr)
    return found


def _short(value: Any) -> Any:
    return f"{value:.9g}" if isinstance(value, float) else value


def test_a_killed_writer_leaves_whole_runs_up_to_some_event(target: Path | str) -> None:
    chance = random.Random(4)
    for _ in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(target)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0.05, 0.4))
        writer.kill()
        writer.wait()
        writer.stdout.close()
        with closing(RunStore(target)) as store:
            check(store)


def check(store: RunStore) -> None:
    """Every run is whole up to its last event, every sum is the sum of its rows, and nothing is lost by a rebuild."""
    runs = store.list(limit=1000)
    assert [run for run in runs if run.status not in ("degraded", "interrupted")] == []
    for run in runs:
        events = store.events(run.id)
        assert replay(events).spent == run.cost  # and no event is missing
        kept = {(value.kind, value.name, value.element) for value in store.values(run.id)}
        ended = {(event.step, event.element) for event in events if event.type == "node.finished"}
        assert {("step", step, element) for step, element in ended if (step, element) != ("b", None)} <= kept
    assert store.database.read(audit) == []
    before = store.database.read(projected)
    store.database.write(rebuild)
    assert store.database.read(projected) == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with room for 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    done = subprocess.run(
        [mount or "mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, text=True, check=False
    ) if mount else None  # fmt: skip
    if done is None or done.returncode:
        pytest.skip(f"cannot mount a small file system here: {done.stderr.strip() if done else 'no mount command'}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


async def test_a_full_disk_costs_nothing_that_was_written(small_disk: Path) -> None:
    store = RunStore(small_disk / "runs.db", busy_s=0.2)
    run = new_run()
    journal = store.begin(run)
    journal.event(created(run))
    assert await journal.close() is None
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * (small_disk_room(small_disk) - 20_000))
    full = new_run()
    journal = store.begin(full)
    journal.event(created(full))
    journal.value("step", "a", None, "y" * 300_000)
    for event in call_events(full.run_id, 2, [5]):
        journal.event(event)
    closing = asyncio.ensure_future(journal.close())
    await asyncio.sleep(0.4)
    assert not closing.done()  # it waits for room, with everything in memory
    assert [kept.id for kept in store.list()] == [run.run_id]
    filler.unlink()
    assert await closing is None
    assert [event.seq for event in store.events(full.run_id)] == [1, 2, 3, 4, 5]
    assert store.values(full.run_id)[0].value() == "y" * 300_000
    assert store.database.read(audit) == []
    store.close()


async def test_a_disk_that_stays_full_is_told_and_the_store_stays_whole(small_disk: Path) -> None:
    store = RunStore(small_disk / "runs.db", busy_s=0.2)
    run = new_run()
    journal = store.begin(run)
    journal.event(created(run))
    await journal.durable()
    (small_disk / "filler").write_bytes(b"x" * (small_disk_room(small_disk) - 4096))
    for seq in range(2, 2000, 4):
        for event in call_events(run.run_id, seq, [5], step=f"s{seq}", first_row=seq):
            journal.event(event)
    journal.value("step", "a", None, "y" * 300_000)
    journal.event(finished(run.run_id, 2002))
    problem = await journal.close()
    assert problem is not None
    assert "full" in problem or "No space left" in problem
    await asyncio.to_thread(store.close)
    (small_disk / "filler").unlink()
    store = RunStore(small_disk / "runs.db")
    events = store.events(run.run_id)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert store.find(run.run_id).status == "interrupted"
    assert store.database.read(audit) == []
    store.close()


def small_disk_room(folder: Path) -> int:
    usage = shutil.disk_usage(folder)
    return usage.free
