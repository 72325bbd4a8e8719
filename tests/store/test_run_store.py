"""The run store on real SQLite files: round trips, paging, several writers, damaged files."""

import sqlite3
import threading
from pathlib import Path

import pytest

from catp.planlang.money import Money, usd
from catp.planlang.registry_view import UNPRICED, PriceRange
from catp.runtime.events import RunEvent
from catp.runtime.ids import new_run_id
from catp.runtime.ledger import LedgerRow
from catp.runtime.outcome import OutputResult
from catp.store.artifacts import Artifact, ArtifactStore, encode_value
from catp.store.recorder import RunRecorder
from catp.store.store import NewRun, RunStore, StoreError


def new_run(run_id: str | None = None, price: PriceRange = UNPRICED) -> NewRun:
    return NewRun(run_id or new_run_id(), "task", "search", "a" * 64, "out x", {}, 1, price, 5.0)


def row(run_id: str, seq: int, amount: int | None) -> LedgerRow:
    money = None if amount is None else Money(amount)
    return LedgerRow(seq, run_id, "s", 1, None, "t", "call", 1.0, "call", "0.01", money, "declared", amount is not None)


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "deep" / "runs.db")


def test_costs_are_summed_from_rows_and_unpriced_is_not_zero(store: RunStore) -> None:
    run = new_run(price=PriceRange(usd("0.01"), usd("0.02"), usd("0.03")))
    store.begin(run)
    rows = [row(run.run_id, 1, 5), row(run.run_id, 2, None), row(run.run_id, 3, 7)]
    store.finish(run.run_id, status="complete", latency_ms=1.0, ledger=rows, outputs={})
    found = store.get(run.run_id)
    assert found.summary.cost == 12
    assert found.summary.unpriced == 1
    assert [cost["amount_nano"] for cost in found.costs] == [5, None, 7]
    assert found.summary.estimate == run.price
    store.close()


def test_outputs_keep_value_or_reason(store: RunStore) -> None:
    run = new_run()
    store.begin(run)
    outputs = {
        "short": OutputResult("grüße \ud800", "ok"),
        "long": OutputResult("x" * 10_000, "ok"),
        "record": OutputResult({"a": [1, None]}, "ok"),
        "bytes": OutputResult(b"\x00\xff", "ok"),
        "none": OutputResult(None, "failed", "it broke"),
    }
    store.finish(run.run_id, status="degraded", latency_ms=1.0, ledger=[], outputs=outputs)
    found = {o.name: o for o in store.get(run.run_id).outputs}
    assert list(found) == list(outputs)
    assert found["short"].text is not None
    assert found["long"].sha256 is not None
    assert store.artifacts.get(found["long"].sha256) == b"x" * 10_000
    assert found["record"].text == '{"a": [1, null]}'
    assert (found["none"].status, found["none"].reason, found["none"].mime) == ("failed", "it broke", None)
    store.close()


def test_pages_cover_every_run_once(store: RunStore) -> None:
    ids = {new_run_id() for _ in range(25)}
    for run_id in ids:
        store.begin(new_run(run_id))
    seen: list[str] = []
    before = None
    while page := store.list(limit=7, before=before):
        seen += [summary.id for summary in page]
        before = page[-1].id
    assert seen == sorted(ids, reverse=True)
    store.close()


def test_find_by_part_of_the_id(store: RunStore) -> None:
    first, second = "01ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ3NDEKTSV4RRFFQ69G5XYZ"
    store.begin(new_run(first))
    store.begin(new_run(second))
    assert store.get("fav").summary.id == first
    with pytest.raises(KeyError, match="fits several runs"):
        store.get("01ARZ")
    for hopeless in ("nothing", "%", "", "_"):
        with pytest.raises(KeyError, match="no run"):
            store.get(hopeless)
    store.close()


def test_two_processes_worth_of_writers_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    runs = [new_run() for _ in range(4)]

    def work(run: NewRun) -> None:
        store = RunStore(path)
        store.begin(run)
        recorder = RunRecorder(store)
        for seq in range(1, 201):
            recorder.record(RunEvent(seq, run.run_id, seq, "node.ready", f"s{seq}", data={"k": seq}))
        recorder.close()
        store.close()

    threads = [threading.Thread(target=work, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = RunStore(path)
    for run in runs:
        events = store.get(run.run_id).events
        assert [event.seq for event in events] == list(range(1, 201))
        assert events[41].data == {"k": 42}
    store.close()


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    store = RunStore(path)
    store.list()
    store.close()
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE meta SET value = '99'")
    raw.close()
    with pytest.raises(StoreError, match="schema version 99"):
        RunStore(path).list()


def test_files_that_are_no_store(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("hello " * 1000)
    (tmp_path / "folder.db").mkdir()
    for name in ("text.db", "folder.db"):
        with pytest.raises(StoreError, match=name):
            RunStore(tmp_path / name).list()


def test_recorder_reports_the_first_error_and_never_blocks(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs.db")
    recorder = RunRecorder(store)
    recorder.record(RunEvent(1, "no such run", 1, "run.created"))  # breaks a foreign key
    recorder.record(RunEvent(2, "no such run", 1, "run.created"))
    with pytest.raises(StoreError, match="FOREIGN KEY"):
        recorder.close()
    store.close()


def test_artifacts_are_written_once_and_checked_when_read(tmp_path: Path) -> None:
    folder = ArtifactStore(tmp_path)
    digest = folder.put(Artifact(b"abc", "text/plain"))
    assert folder.put(Artifact(b"abc", "text/plain")) == digest
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [digest]
    assert folder.get(digest) == b"abc"
    folder.path(digest).write_bytes(b"abd")
    with pytest.raises(ValueError, match="corrupt"):
        folder.get(digest)


def test_values_that_no_encoder_knows_still_get_a_record() -> None:
    assert encode_value({"x": object}).mime == "application/json"
    assert b"class" in encode_value({"x": object}).data
