"""Looking after the store: rebuild, audit, prune, back up. Every figure stays the sum of its rows."""

import json
import os
import shutil
import sqlite3
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import Connection
from typer.testing import CliRunner

from catp.agent import Agent
from catp.cli.main import app
from catp.planlang.money import usd
from catp.store.audit import audit
from catp.store.budgets import set_budget
from catp.store.rebuild import rebuild
from catp.store.retention import doomed, prune
from catp.store.rollups import leaderboard
from catp.store.statements import execute, query
from catp.store.store import RunStore
from catp.tools import PerCall, tool

PROJECTIONS = ("runs", "steps", "calls", "costs", "rollup_day", "budget_periods")
PLAN = """
in xs: list[int]
in page: image
half = halve(each xs) @quorum(0.5) @retry(1)
big = grow(page)
word = say(half) | shout(half)
out half, big?, word
"""


@tool(price=PerCall("0.001"))
async def halve(x: int) -> int:
    """Halve even numbers."""
    if x % 2:
        raise ValueError(f"{x} is odd")
    return x // 2


@tool(price=PerCall("0.0025"))
async def grow(page: Image.Image) -> Image.Image:
    """Double the size."""
    return page.resize((page.width * 2, page.height * 2))


@tool(price=PerCall("0.004"))
async def say(xs: list[int]) -> str:
    """Fail on long lists."""
    if len(xs) > 2:
        raise RuntimeError("too long")
    return " ".join(map(str, xs))


@tool(price=PerCall("0.02"))
async def shout(xs: list[int]) -> str:
    """Say it loud."""
    return f"{xs}!"


def page(colour: int) -> Image.Image:
    return Image.effect_noise((300, 200), 40 + colour).convert("RGB")


async def fill(path: Path, runs: int = 6) -> list[str]:
    """Runs of two projects with retries, lost elements, fallbacks and pictures."""
    store = RunStore(path)
    store.database.write(lambda c: set_budget(c, "project", "a", "day", usd("5"), (0.5,), time.time_ns()))
    ids = []
    for number in range(runs):
        async with Agent([halve, grow, say, shout], store=store, project="ab"[number % 2]) as agent:
            result = await agent.run(PLAN, {"xs": list(range(number + 2)), "page": page(number)})
            assert result.saved, result.warnings
            ids.append(result.run_id)
    return ids


def dump(store: RunStore) -> dict[str, list[tuple[Any, ...]]]:
    def read(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
        return {
            table: sorted((tuple(row) for row in query(connection, f"SELECT * FROM {table}")), key=repr)
            for table in PROJECTIONS
        }

    return store.database.read(read)


async def test_rebuilding_gives_the_same_rows_again(tmp_path: Path) -> None:
    await fill(tmp_path / "catp.db")
    store = RunStore(tmp_path / "catp.db")
    before = dump(store)
    assert all(before.values())
    assert store.database.read(audit) == []
    told: list[tuple[int, int]] = []
    done = store.database.write(lambda c: rebuild(c, lambda *counts: told.append(counts)))
    assert told[-1] == (done, done)
    assert dump(store) == before

    def spoil(connection: Connection) -> None:
        connection.exec_driver_sql("UPDATE runs SET cost_nano = cost_nano + 5")
        connection.exec_driver_sql("UPDATE rollup_day SET cost_nano = 1 WHERE name = 'grow'")
        connection.exec_driver_sql("DELETE FROM steps WHERE step = 'big'")
        connection.exec_driver_sql("UPDATE budget_periods SET spent_nano = 7")

    store.database.write(spoil)
    wrong = {str(found).split(",")[0].split(":")[0][:6] for found in store.database.read(audit)}
    assert len(store.database.read(audit)) == 6 + 2 + 1
    assert {"run 01", "budget"} <= wrong
    store.database.write(rebuild)
    assert dump(store) == before
    store.close()


async def test_leaderboard_adds_up_over_days_and_projects(tmp_path: Path) -> None:
    await fill(tmp_path / "catp.db")
    store = RunStore(tmp_path / "catp.db")
    rows = {row.name: row for row in store.database.read(leaderboard)}
    costs = store.database.read(lambda c: query(c, "SELECT tool, SUM(amount_nano), COUNT(*) FROM costs GROUP BY tool"))
    assert {name: (row.cost, row.n) for name, row in rows.items()} == {name: (cost, n) for name, cost, n in costs}
    assert rows["grow"].ok == rows["grow"].n == 6
    assert rows["say"].ok < rows["say"].n
    assert rows["halve"].p50_ms is not None
    parts = [store.database.read(partial(leaderboard, project=p)) for p in "ab"]
    assert sum(row.cost for part in parts for row in part) == sum(row.cost for row in rows.values())
    (policy,) = store.database.read(lambda c: leaderboard(c, "policy"))
    assert (policy.name, policy.n, policy.cost) == ("given", 6, sum(row.cost for row in rows.values()))
    assert store.database.read(lambda c: leaderboard(c, since="2999-01-01")) == []
    store.close()


def board_of(store: RunStore) -> list[tuple[object, ...]]:
    return [tuple(row) for row in store.database.read(leaderboard)]


def alike(board: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """The same leaderboard; a mean is a sum of fractions, which depends a little on their order."""
    return [tuple(pytest.approx(x, rel=1e-6) if isinstance(x, float) else x for x in row) for row in board]


async def test_pruning_removes_runs_and_files_but_keeps_the_sums(tmp_path: Path) -> None:
    ids = await fill(tmp_path / "catp.db")
    store = RunStore(tmp_path / "catp.db")
    board = board_of(store)
    spent = store.database.read(lambda c: query(c, "SELECT SUM(spent_nano) FROM budget_periods"))[0][0]
    files = {path.name for path in (tmp_path / "artifacts").rglob("*") if path.is_file()}
    old = store.database.read(lambda c: doomed(c, before_ns=time.time_ns(), keep=2))
    assert old == ids[:-2]
    gone = store.database.write(lambda c: prune(c, old))
    assert gone.runs == 4
    assert set(gone.files) < files
    store.artifacts.drop(gone.files)
    assert {path.name for path in (tmp_path / "artifacts").rglob("*") if path.is_file()} == files  # put just now
    for digest in gone.files:
        hours_ago = time.time() - 7200

        os.utime(tmp_path / "artifacts" / digest[:2] / digest, (hours_ago, hours_ago))
    store.artifacts.drop(gone.files)
    assert {path.name for path in (tmp_path / "artifacts").rglob("*") if path.is_file()} == files - set(gone.files)
    assert [run.id for run in store.list()] == ids[:3:-1]
    for left in ids[-2:]:
        assert [value.value() for value in store.values(left)]
    assert board_of(store) == alike(board)
    assert store.database.read(audit) == []
    store.database.write(rebuild)
    assert board_of(store) == alike(board)
    assert store.database.read(lambda c: query(c, "SELECT SUM(spent_nano) FROM budget_periods"))[0][0] == spent
    assert store.database.read(audit) == []
    store.close()


async def test_runs_that_have_not_ended_are_never_pruned(tmp_path: Path) -> None:
    ids = await fill(tmp_path / "catp.db", 3)
    store = RunStore(tmp_path / "catp.db")
    waits = f"UPDATE runs SET status = 'waiting' WHERE id = '{ids[0]}'"
    store.database.write(lambda c: execute(c, waits, [()]))
    assert store.database.read(lambda c: doomed(c, before_ns=time.time_ns())) == ids[1:]
    assert store.database.read(lambda c: doomed(c, before_ns=time.time_ns(), project="b")) == [ids[1]]
    assert store.database.read(lambda c: doomed(c, before_ns=0)) == []
    store.close()


def catp(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


async def test_the_db_command(tmp_path: Path) -> None:
    await fill(tmp_path / "catp.db")
    at = ("--store", str(tmp_path / "catp.db"))
    stats = json.loads(catp("db", "stats", *at, "--json").stdout)
    assert stats["runs"] == {"complete": 2, "degraded": 4} or sum(stats["runs"].values()) == 6
    assert stats["rows"]["events"] > 100
    assert json.loads(catp("db", "check", *at, "--json").stdout)["ok"] is True
    assert catp("db", "rebuild", *at).exit_code == 0
    made = json.loads(catp("db", "backup", str(tmp_path / "copy"), *at, "--json").stdout)
    assert made["copied"] == made["files"] == stats["files"]
    assert json.loads(catp("db", "check", "--store", made["database"], "--json").stdout)["ok"] is True
    again = json.loads(catp("db", "backup", str(tmp_path / "copy"), *at, "--json").stdout)
    assert again["copied"] == 0
    assert "4 runs would" in catp("db", "prune", "--older-than", "0d", "--keep", "2", "--dry-run", *at).stdout
    assert json.loads(catp("db", "prune", "--older-than", "0d", *at, "--json").stdout)["runs"] == 6
    assert json.loads(catp("db", "check", *at, "--json").stdout)["ok"] is True
    wrong = catp("db", "prune", "--older-than", "soon", *at)
    assert wrong.exit_code == 2
    assert "such as 90d" in wrong.stderr
    assert catp("db", "upgrade", *at).exit_code == 0


@pytest.mark.parametrize("command", ["stats", "check", "rebuild", "upgrade"])
def test_a_store_that_is_not_there_is_not_whole_and_is_not_made(tmp_path: Path, command: str) -> None:
    refused = catp("db", command, "--store", str(tmp_path / "typo.db"))
    assert refused.exit_code == 6
    assert "there is no run store" in refused.stderr
    assert list(tmp_path.iterdir()) == []


async def test_check_names_what_is_damaged(tmp_path: Path) -> None:
    await fill(tmp_path / "catp.db", 2)
    file = next(path for path in (tmp_path / "artifacts").rglob("*") if path.is_file())
    file.write_bytes(b"something else")
    with sqlite3.connect(tmp_path / "catp.db") as raw:
        raw.execute("UPDATE runs SET cost_nano = 1")
    found = catp("db", "check", "--store", str(tmp_path / "catp.db"), "--json")
    assert found.exit_code == 1
    report = json.loads(found.stdout)
    assert report["damaged_files"] == [file.name]
    assert len(report["discrepancies"]) == 2
    assert catp("db", "rebuild", "--store", str(tmp_path / "catp.db")).exit_code == 0
    assert json.loads(catp("db", "check", "--store", str(tmp_path / "catp.db"), "--json").stdout)["discrepancies"] == []


async def test_a_backup_onto_a_full_disk_keeps_the_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(tmp_path / "catp.db", 2)
    at = ("--store", str(tmp_path / "catp.db"))
    assert catp("db", "backup", str(tmp_path / "copy"), *at).exit_code == 0
    before = (tmp_path / "copy" / "catp.db").read_bytes()
    await fill(tmp_path / "catp.db", 3)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    failed = catp("db", "backup", str(tmp_path / "copy"), *at)
    assert failed.exit_code == 6
    assert "No space left" in failed.stderr
    assert (tmp_path / "copy" / "catp.db").read_bytes() == before
