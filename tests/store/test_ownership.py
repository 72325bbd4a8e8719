"""Who drives a run: taken over only from the dead, shown as interrupted once nobody does."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from catp.store import ownership
from catp.store.errors import RunOwned
from catp.store.store import RunStore
from tests.store.recording import call_events, created, finished, new_run

DRIVER = """
import asyncio, sys
from catp.store.store import RunStore
from tests.store.recording import created, new_run

async def main():
    store = RunStore(sys.argv[1])
    run = new_run()
    journal = store.begin(run)
    journal.event(created(run))
    await journal.durable()
    print(run.run_id, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture
def driver(target: Path | str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process in the middle of a run, and the run."""
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(target)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    yield process, process.stdout.readline().strip()
    process.kill()
    process.wait()
    process.stdout.close()


async def test_a_run_is_taken_over_only_from_a_dead_process(
    driver: tuple[subprocess.Popen[str], str], store: RunStore
) -> None:
    process, run_id = driver
    assert store.find(run_id).status == "running"
    with pytest.raises(RunOwned, match=rf"driven by process {process.pid} on "):
        store.resume(run_id)
    process.send_signal(signal.SIGKILL)
    # dead at once, although nobody has waited for the zombie
    assert await asyncio.to_thread(until, lambda: store.find(run_id).status == "interrupted")
    journal = store.resume(run_id)
    assert store.find(run_id).status == "running"
    with pytest.raises(RunOwned, match=f"driven by process {os.getpid()} on "):
        store.resume(run_id)
    for event in (*call_events(run_id, 2, [5]), finished(run_id, 6)):
        journal.event(event)
    assert await journal.close() is None
    assert store.find(run_id).status == "complete"
    assert [event.seq for event in store.events(run_id)] == list(range(1, 7))


async def test_whoever_lost_a_run_writes_no_more(store: RunStore) -> None:
    run = new_run()
    journal = store.begin(run)
    journal.event(created(run))
    await journal.durable()
    other = "elsewhere/boot/1:77:5"
    store.database.write(lambda c: c.exec_driver_sql(f"UPDATE runs SET owner = '{other}'"))
    for event in call_events(run.run_id, 2, [5]):
        journal.event(event)
    assert f"taken over by another process ({other})" in str(await journal.close())
    assert len(store.events(run.run_id)) == 1
    owner = store.database.read(lambda c: c.exec_driver_sql("SELECT owner FROM runs").scalar())
    assert owner == other


def test_runs_that_are_not_there_cannot_be_taken_over(store: RunStore) -> None:
    with pytest.raises(KeyError, match="no run 'X'"):
        store.resume("X")


async def test_a_driver_shows_that_it_lives(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "HEARTBEAT_S", 0.05)
    run = new_run()
    journal = store.begin(run)
    journal.event(created(run))
    await journal.durable()

    def heartbeat() -> int:
        return int(store.database.read(lambda c: c.exec_driver_sql("SELECT heartbeat_ns FROM runs").scalar()) or 0)

    first = heartbeat()
    assert await asyncio.to_thread(until, lambda: heartbeat() > first)
    await journal.close()
    last = heartbeat()
    await asyncio.sleep(0.2)
    assert heartbeat() == last


def test_who_is_alive() -> None:
    me = ownership.myself()
    place, pid, start = me.rsplit(":", 2)
    assert int(pid) == os.getpid()
    assert ownership.alive(me, None)
    assert not ownership.alive(None, time.time_ns())
    assert not ownership.alive(f"{place}:{pid}:{int(start) - 1}", time.time_ns())  # the number was used again
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert not ownership.alive(f"{place}:{child.pid}:{start}", time.time_ns())
    elsewhere, now = f"other-host/b/1:{pid}:{start}", time.time_ns()
    assert ownership.alive(elsewhere, now - 59 * 10**9, now_ns=now)
    assert not ownership.alive(elsewhere, now - 61 * 10**9, now_ns=now)
    assert ownership.alive(elsewhere, now + 3600 * 10**9, now_ns=now)  # a clock that is ahead, or ours went back
    assert not ownership.alive(elsewhere, None)
    assert ownership.alive("1:77:5", now, now_ns=now)


def test_a_fork_is_another_process() -> None:
    me = ownership.myself()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, ownership.myself().encode())
        os._exit(0)
    os.waitpid(child, 0)
    found = os.read(reader, 1000).decode()
    os.close(reader)
    os.close(writer)
    assert found != me
    assert f":{child}:" in found
