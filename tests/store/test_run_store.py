"""Reading the run store: pages, one run, values, artefacts, calls, several writers."""

import asyncio
import io
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import Connection

from catp.planlang.registry_view import Latency, PriceRange, Size
from catp.runtime.codec import DecodeError
from catp.runtime.events import RunEvent
from catp.runtime.ids import new_run_id
from catp.store.artifacts import Artifact, ArtifactStore
from catp.store.errors import StoreError
from catp.store.records import StoredRun
from catp.store.stats import store_stats
from catp.store.store import RunStore
from catp.tools.usage import Usage
from tests.store.recording import NANO, call_events, created, drive, finished, new_run, plan_of


async def kept(store: RunStore, run_id: str | None = None, **about: Any) -> str:
    """A run of one call that cost 5 nano-USD."""
    run = new_run(run_id)
    journal = store.begin(run)
    for event in (created(run, **about), *call_events(run.run_id, 2, [5]), finished(run.run_id, 6)):
        journal.event(event)
    assert await journal.close() is None
    return run.run_id


async def test_pages_cover_every_run_once(store: RunStore) -> None:
    ids = {await kept(store) for _ in range(25)}
    seen: list[str] = []
    before = None
    while page := store.list(limit=7, before=before):
        seen += [summary.id for summary in page]
        before = page[-1].id
    assert seen == sorted(ids, reverse=True)


async def test_pages_of_one_project_and_one_status(store: RunStore) -> None:
    mine = [await kept(store, project="mine") for _ in range(3)]
    await kept(store, project="yours")
    going: list[str] = []
    gone: list[str] = []
    for _ in range(4):
        run = new_run()
        journal = store.begin(run)
        journal.event(created(run, project="mine"))
        await journal.durable()
        if len(going) < 2:
            going.append(run.run_id)
        else:
            await journal.close()  # nobody drives it any more, and it never ended
            gone.append(run.run_id)
    assert {run.id for run in store.list(project="mine", status="complete")} == set(mine)
    assert {run.id for run in store.list(status="running")} == set(going)
    assert [run.id for run in store.list(status="interrupted", limit=1)] == [max(gone)]
    assert [run.id for run in store.list(status="interrupted", before=max(gone))] == [min(gone)]
    assert store.list(project="nobody's") == []
    counted = store.database.read(store_stats).runs
    assert (counted["running"], counted["interrupted"]) == (2, 2)
    assert sum(counted.values()) == len(store.list(limit=100))


async def test_find_by_part_of_the_id(store: RunStore) -> None:
    first, second = "01ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ3NDEKTSV4RRFFQ69G5XYZ"
    await kept(store, first)
    await kept(store, second)
    assert store.get("fav").summary.id == first
    with pytest.raises(KeyError, match="fits several runs"):
        store.get("01ARZ")
    for hopeless in ("nothing", "%", "", "_", "\\"):
        with pytest.raises(KeyError, match="no run"):
            store.get(hopeless)


async def test_costs_are_summed_from_rows_and_unpriced_is_not_zero(store: RunStore) -> None:
    run = new_run()
    journal = store.begin(run)
    price = {"low": "0.01", "expected": "0.02", "p95": "0.03"}
    journal.event(created(run, price=price, budget="0.5", latency_ms=7.5, quality=0.9, parent="01PARENT"))
    for event in call_events(run.run_id, 2, [5, None, 7]):
        journal.event(event)
    await journal.durable()
    found = store.get(run.run_id)
    assert (found.summary.cost, found.summary.unpriced, found.summary.status) == (12, 1, "running")
    assert [cost["amount_nano"] for cost in found.costs] == [5, None, 7]
    assert found.costs[0]["ts_ns"] == 2 * NANO  # when the call started
    assert found.summary.estimate == PriceRange(10_000_000, 20_000_000, 30_000_000)  # type: ignore[arg-type]
    assert found.summary.budget == 500_000_000
    assert (found.summary.est_latency_ms, found.summary.predicted_quality) == (7.5, 0.9)
    assert found.summary.parent == "01PARENT"
    assert found.outputs == ()
    await journal.close()


async def test_large_values_are_artefacts_with_small_pictures(store: RunStore) -> None:
    run = new_run()
    journal = store.begin(run)
    picture = Image.effect_mandelbrot((900, 300), (-2, -1, 1, 1), 20).convert("RGB")
    values = {"picture": picture, "dot": Image.new("L", (3, 2), 9), "text": "x" * 10_000, "raw": b"\0\1", "none": None}
    journal.event(created(run))
    for name, value in values.items():
        journal.value("output", name, None, value)
    journal.value("output", "odd", None, object())
    end = {"status": "complete", "ms": 1.0, "outputs": {name: {"status": "ok"} for name in (*values, "odd")}}
    journal.event(RunEvent(2, run.run_id, NANO, "run.finished", data=end))
    assert await journal.close() is None
    found = {value.name: value for value in store.values(run.run_id)}
    assert found["picture"].value().tobytes() == picture.tobytes()
    assert found["raw"].value() == b"\0\1"
    assert found["none"].value() is None
    with pytest.raises(DecodeError, match="`odd` has no exact form"):
        found["odd"].value()
    outputs = {output.name: output for output in store.get(run.run_id).outputs}
    assert list(outputs) == [*values, "odd"]
    assert outputs["picture"].mime == "image/png"
    assert store.artifact(str(outputs["text"].sha256)) == b"x" * 10_000
    assert outputs["none"].text == "null"
    rows = store.database.read(
        lambda c: {
            r.sha256: r for r in c.exec_driver_sql("SELECT sha256, mime, width, height, thumb_sha256 FROM artifacts")
        }
    )
    small = rows[rows[outputs["picture"].sha256].thumb_sha256]
    assert (small.width, small.height) == (256, 85)
    assert Image.open(io.BytesIO(store.artifact(small.sha256))).size == (256, 85)
    dot = rows[outputs["dot"].sha256]
    assert dot.thumb_sha256 == dot.sha256


async def test_equal_values_are_kept_once(sqlite_store: RunStore, tmp_path: Path) -> None:
    for _ in range(3):
        run = new_run()
        journal = sqlite_store.begin(run)
        journal.event(created(run))
        journal.value("step", "a", None, "long " * 5000)
        assert await journal.close() is None
    assert len([path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]) == 1


async def test_a_value_whose_file_is_gone_or_changed_says_so(sqlite_store: RunStore, tmp_path: Path) -> None:
    run = new_run()
    journal = sqlite_store.begin(run)
    journal.event(created(run))
    journal.value("step", "a", None, "long " * 5000)
    await journal.close()
    value = sqlite_store.values(run.run_id)[0]
    for no_digest in ("", "../runs.db", "0" * 63, "G" * 64):
        with pytest.raises(FileNotFoundError, match="no artifact"):
            sqlite_store.artifact(no_digest)
    file = next(path for path in (tmp_path / "artifacts").rglob("*") if path.is_file())
    file.write_bytes(b"short")
    with pytest.raises(ValueError, match="corrupt"):
        value.value()
    file.unlink()
    with pytest.raises(FileNotFoundError):
        value.value()


async def test_calls_are_facts_for_profiles(store: RunStore) -> None:
    run_ids = [new_run_id(), new_run_id()]
    for run_id in run_ids:
        journal = store.begin(plan_of(run_id))
        await drive(journal, run_id)
        await journal.close()
    facts = list(store.calls())
    assert [fact.at_ns for fact in facts] == sorted(fact.at_ns for fact in facts)
    assert {fact.tool for fact in facts if fact.failed} == {"fails"}
    assert {fact.tool for fact in facts if not fact.failed} == {"up", "words", "unpriced"}
    words = list(store.calls(tool="words"))
    assert len(words) == 2
    assert (words[0].amount, words[0].output, words[0].failed) == (2_000_000, Size(5, 3), False)
    assert words[0].predicted == PriceRange(2_000_000, 2_000_000, 2_000_000)  # type: ignore[arg-type]
    assert isinstance(words[0].predicted_ms, Latency)
    assert words[0].usage.wall_ms > 0
    assert [fact.amount for fact in facts if fact.tool == "unpriced"] == [None, None]
    assert list(store.calls(since_ns=facts[-1].at_ns)) == facts[-1:]


async def test_calls_come_in_pages_without_gaps(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catp.store.store._PAGE", 3)
    for _ in range(4):
        run = new_run()
        journal = store.begin(run)
        events = [
            created(run),
            *call_events(run.run_id, 2, [5]),
            *call_events(run.run_id, 6, [6], step="b", first_row=2),
        ]
        for event in events:
            data = {**event.data, "usage": {"wall_ms": 5.0}} if event.type == "node.settled" else event.data
            journal.event(event._replace(data=data))
        await journal.close()
    facts = list(store.calls())
    assert [fact.amount for fact in facts].count(5) == 4  # type: ignore[arg-type]
    assert len(facts) == 8
    assert facts[0].usage == Usage(wall_ms=5.0)


def test_several_stores_on_one_database_lose_nothing(target: Path | str) -> None:
    runs = [new_run() for _ in range(4)]
    problems: list[object] = []

    async def record(store: RunStore, index: int) -> None:
        journal = store.begin(runs[index])
        journal.event(created(runs[index]))
        for seq in range(2, 201):
            journal.event(RunEvent(seq, runs[index].run_id, seq, "node.ready", f"s{seq}", data={"k": seq}))
        problems.append(await journal.close())

    def work(index: int) -> None:
        store = RunStore(target)
        asyncio.run(record(store, index))
        store.close()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == [None] * 4
    store = RunStore(target)
    for run in runs:
        events = store.events(run.run_id)
        assert [event.seq for event in events] == list(range(1, 201))
        assert events[41].data == {"k": 42}
    store.close()


async def test_reading_goes_on_while_something_is_written(store: RunStore) -> None:
    run_id = await kept(store)
    writing, done = threading.Event(), threading.Event()

    def slow(connection: Connection) -> None:
        connection.exec_driver_sql("UPDATE runs SET status = 'failed'")
        writing.set()
        if connection.dialect.name == "postgresql":
            while not done.is_set():  # its loop must go on: readers use it too
                connection.exec_driver_sql("SELECT pg_sleep(0.02)")
        else:
            done.wait(10)

    pending = store.database.submit_write(slow)
    await asyncio.to_thread(writing.wait, 10)
    found: list[StoredRun] = await asyncio.gather(*(asyncio.to_thread(store.get, run_id) for _ in range(20)))
    assert {run.summary.status for run in found} == {"complete"}
    done.set()
    await asyncio.wrap_future(pending)


async def test_work_that_raises_changes_nothing(store: RunStore) -> None:
    run_id = await kept(store)

    def half(connection: Connection) -> None:
        connection.exec_driver_sql("UPDATE runs SET cost_nano = 99")
        raise LookupError("half way")

    with pytest.raises(LookupError, match="half way"):
        store.database.write(half)
    with pytest.raises(LookupError, match="half way"):
        await store.database.awrite(half)
    assert store.find(run_id).cost == 5
    assert await store.database.aread(lambda c: c.exec_driver_sql("SELECT cost_nano FROM runs").scalar()) == 5


async def test_readers_cannot_write(store: RunStore) -> None:
    await kept(store)
    with pytest.raises(StoreError, match=r"read-?only"):
        store.database.read(lambda connection: connection.exec_driver_sql("UPDATE runs SET cost_nano = 99"))


def test_a_store_opens_again_after_it_was_closed(store: RunStore) -> None:
    for _ in range(3):
        asyncio.run(kept(store))
        store.close()
    assert len(store.list()) == 3


def test_urls_of_other_databases_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a run store is a SQLite file.*not 'mysql://x/y'"):
        RunStore("mysql://x/y")


def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    store = RunStore("postgresql://me:secret@127.0.0.1:1/db", busy_s=0.5)
    with pytest.raises(StoreError, match=r"postgresql://me:\*\*\*@127.0.0.1:1/db") as caught:
        store.list()
    assert "secret" not in str(caught.value)
    store.close()


async def test_values_of_foreign_keys_are_checked(sqlite_store: RunStore) -> None:
    await kept(sqlite_store)
    with pytest.raises(StoreError, match="FOREIGN KEY"):
        sqlite_store.database.write(
            lambda c: c.exec_driver_sql("INSERT INTO steps VALUES ('no', 's', 'ok', '', '', 0, 0, 0, 0, 0, 0)")
        )


def test_artifacts_are_written_once_and_checked_when_read(tmp_path: Path) -> None:
    folder = ArtifactStore(tmp_path)
    digest = folder.put(Artifact(b"abc", "text/plain"))
    assert folder.put(Artifact(b"abc", "text/plain")) == digest
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [digest]
    assert folder.get(digest) == b"abc"
    folder.path(digest).write_bytes(b"abd")
    with pytest.raises(ValueError, match="corrupt"):
        folder.get(digest)
    folder.path(digest).write_bytes(b"half")
    folder.put(Artifact(b"abc", "text/plain"))  # of the wrong size: written anew
    assert folder.get(digest) == b"abc"


async def test_a_busy_store_is_waited_for(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs.db", busy_s=5.0)
    await kept(store)
    locker = sqlite3.connect(tmp_path / "runs.db", isolation_level=None, check_same_thread=False)
    locker.execute("BEGIN IMMEDIATE")
    threading.Timer(0.3, lambda: locker.execute("ROLLBACK")).start()
    await kept(store)
    assert len(store.list()) == 2
    locker.close()
    store.close()
