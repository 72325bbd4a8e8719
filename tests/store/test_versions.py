"""Layouts: fresh stores, stores of the first layout, of a newer catp, of something else, damaged ones."""

import multiprocessing
import sqlite3
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from catp.planlang.money import usd
from catp.store.approvals import get
from catp.store.audit import audit
from catp.store.budgets import standings
from catp.store.errors import StoreError
from catp.store.scores import put
from catp.store.store import RunStore
from catp.store.tables import metadata
from tests.store.recording import created, new_run

FIRST, SECOND = (Path(__file__).with_name(f"store_000{n}.sql") for n in (1, 2))
KILLED, COMPLETE, DEGRADED = "C4K2", "TYHP4C8", "EQA7W3"


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A store as catp left it before it had a journal: a finished, a degraded and a killed run."""
    return made_of(FIRST, tmp_path / "runs.db")


@pytest.fixture
def second(tmp_path: Path) -> Path:
    """A store as catp left it before anybody could score a run: a finished, a degraded and a waiting run; a budget."""
    return made_of(SECOND, tmp_path / "second.db")


def made_of(dump: Path, path: Path) -> Path:
    raw = sqlite3.connect(path)
    raw.executescript(dump.read_text())
    raw.close()
    return path


def layout(path: Path) -> dict[str, str]:
    raw = sqlite3.connect(path)
    found = raw.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    raw.close()
    return {name: " ".join(sql.replace('"', "").split()) for name, sql in found}


def differences(connection: Connection) -> list[Any]:
    return list(compare_metadata(MigrationContext.configure(connection), metadata))


def test_a_fresh_store_has_the_tables_it_should(store: RunStore) -> None:
    assert store.database.read(differences) == []


@pytest.mark.parametrize("dump", [FIRST, SECOND], ids=["0001", "0002"])
def test_a_migrated_store_is_like_a_fresh_one(dump: Path, tmp_path: Path) -> None:
    old = made_of(dump, tmp_path / "old.db")
    store, fresh = RunStore(old), RunStore(tmp_path / "fresh.db")
    assert store.list()
    assert fresh.list() == []
    assert store.database.read(differences) == []
    store.close()
    fresh.close()
    assert layout(old) == layout(tmp_path / "fresh.db")


def test_the_second_layout_is_carried_over_with_everything_in_it(second: Path) -> None:
    store = RunStore(second)
    waiting, degraded, complete = store.list()
    assert [run.status for run in (waiting, degraded, complete)] == ["waiting", "degraded", "complete"]
    assert [run.cost for run in (waiting, degraded, complete)] == [usd("0"), usd("0.005"), usd("0.004")]
    assert {run.quality for run in (waiting, degraded, complete)} == {None}
    assert [one.step for one in store.database.read(partial(get, run_id=waiting.id))] == ["a"]
    (budget,) = store.database.read(partial(standings, now_ns=waiting.created_ns))
    assert (budget.budget.name, budget.spent) == ("shop", usd("0.009"))
    assert {value.name: value.value() for value in store.values(complete.id) if value.kind == "output"} == {
        "b": ["TWO", "WORDS"]
    }
    assert store.database.read(audit) == []
    store.database.write(partial(put, run_id=complete.id, value=0.5, by="me", note="", now_ns=7))
    assert store.find(complete.id).quality == 0.5
    store.close()


def test_the_first_layout_is_carried_over_with_everything_in_it(first: Path) -> None:
    store = RunStore(first)
    killed, degraded, complete = store.list()
    assert [run.status for run in (killed, degraded, complete)] == ["interrupted", "degraded", "complete"]
    assert [run.cost for run in (killed, degraded, complete)] == [usd("0.001"), usd("0.009"), usd("0.004")]
    assert complete.unpriced == 1
    assert degraded.budget == usd("0.02")
    assert degraded.estimate.expected is not None
    kept = store.get(complete.id)
    assert {o.name: o.text for o in kept.outputs if o.text} == {"b": '["TWO", "WORDS"]', "a": '["two", "words"]'}
    long = next(o for o in kept.outputs if o.name == "c")
    assert (long.mime, long.sha256 is not None) == ("text/plain; charset=utf-8", True)
    assert [(c["step"], c["element"], c["amount_nano"]) for c in kept.costs] == [
        ("a", None, usd("0.002")), ("b", 0, usd("0.001")), ("c", None, None), ("b", 1, usd("0.001")),
    ]  # fmt: skip
    assert {step.step: step.status for step in kept.steps} == {"a": "ok", "b": "ok", "c": "ok"}
    assert [event.seq for event in kept.events] == list(range(1, len(kept.events) + 1))
    assert [o.reason for o in store.get(degraded.id).outputs][1]
    assert "out b" in store.get(killed.id).plan_source
    assert store.database.read(audit) == []
    store.close()


def test_migrating_needs_alembic_and_nothing_else_does(first: Path, tmp_path: Path) -> None:
    RunStore(first).list()
    code = (
        "import sys; from catp.store.store import RunStore; "
        f"RunStore({str(first)!r}).list(); RunStore({str(tmp_path / 'new.db')!r}).list(); "
        "print([m for m in ('alembic', 'asyncpg', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_a_migration_that_fails_changes_nothing(first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_connection: Connection) -> None:
        raise OSError(28, "No space left on device")

    before = layout(first)
    monkeypatch.setattr("catp.store.rebuild.rebuild", fail)
    with pytest.raises(StoreError, match="No space left"):
        RunStore(first).list()
    assert layout(first) == before
    monkeypatch.undo()
    store = RunStore(first)
    assert len(store.list()) == 3
    store.close()


def _open(path: Path, start: Any, found: Any) -> None:
    start.wait()
    store = RunStore(path)
    try:
        found.put(len(store.list()))
        run = new_run()
        store.begin(run).event(created(run))
    except Exception as error:
        found.put(repr(error))
    store.close()


@pytest.mark.parametrize("kind", ["fresh", "first"])
def test_processes_that_open_one_file_at_once(kind: str, tmp_path: Path, first: Path) -> None:
    path = first if kind == "first" else tmp_path / "fresh.db"
    context = multiprocessing.get_context("spawn")
    start, found = context.Event(), context.Queue()
    processes = [context.Process(target=_open, args=(path, start, found)) for _ in range(4)]
    for process in processes:
        process.start()
    start.set()
    counts = [found.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
    before = 3 if kind == "first" else 0
    assert all(isinstance(count, int) and count >= before for count in counts), counts
    store = RunStore(path)
    assert len(store.list()) == before + 4
    store.close()


def test_a_newer_layout_is_refused_and_left_alone(store: RunStore, target: Path | str) -> None:
    def age(connection: Connection) -> None:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0042'")
        connection.exec_driver_sql("UPDATE meta SET value = '9.1.0' WHERE key = 'written_by'")

    store.database.write(age)
    with pytest.raises(StoreError, match=r"layout 0042, written by catp 9\.1\.0.*Upgrade catp") as caught:
        RunStore(target).list()
    assert store.name in str(caught.value)
    assert store.list() == []  # whoever had it open goes on


def test_databases_of_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    raw = sqlite3.connect(path)
    raw.execute("CREATE TABLE notes (text)")
    raw.commit()
    raw.close()
    content = path.read_bytes()
    with pytest.raises(StoreError, match=r"notes.db is a database of something else \(it has the tables notes\)"):
        RunStore(path).list()
    assert path.read_bytes() == content


def test_files_that_are_no_database_are_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("hello " * 1000)
    (tmp_path / "folder.db").mkdir()
    for name in ("text.db", "folder.db"):
        with pytest.raises(StoreError, match=name):
            RunStore(tmp_path / name).list()
    assert (tmp_path / "text.db").read_text() == "hello " * 1000


async def test_half_a_file_is_called_damaged_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    store = RunStore(path)
    for _ in range(300):
        run = new_run()
        store.begin(run).event(created(run))
    store.close()
    whole = path.read_bytes()
    for size in (100, 1024, 5000, len(whole) // 2):
        path.write_bytes(whole[:size])
        damaged = RunStore(path)
        with pytest.raises(StoreError, match=r"(?s)runs\.db.*(backup|damaged)"):
            damaged.list(limit=1000)
        with pytest.raises(StoreError, match=r"runs\.db"):
            damaged.begin(new_run())
        damaged.close()
        assert path.read_bytes() == whole[:size]
    path.write_bytes(whole)
    store = RunStore(path)
    assert len(store.list(limit=1000)) == 300
    store.close()


def test_an_empty_file_is_a_fresh_store(tmp_path: Path) -> None:
    (tmp_path / "runs.db").touch()
    store = RunStore(tmp_path / "runs.db")
    assert store.list() == []
    store.close()
