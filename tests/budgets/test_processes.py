"""Many runs in several processes under one shared budget: the cap holds, sums agree, money of the killed comes back."""

import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from catp.planlang.money import Money, usd
from catp.store.budget_report import report_on
from catp.store.budgets import Standing, set_budget, standings
from catp.store.store import RunStore
from tests.budgets.crowd import EXPECTED, MOST, SLOTS

ROOT = Path(__file__).parents[2]


def start(target: Path | str, runs: int, seed: int, mode: str, *more: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.budgets.crowd", str(target), str(runs), str(seed), mode, *more]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def results(processes: list["subprocess.Popen[str]"]) -> list[dict[str, Any]]:
    found = []
    for process in processes:
        out, _ = process.communicate(timeout=110)
        assert process.returncode == 0
        found += json.loads(out)
    return found


def prepare(target: Path | str, cap: Money, warn: tuple[float, ...] = ()) -> None:
    store = RunStore(target)
    store.database.write(lambda c: set_budget(c, "project", "crowd", "total", cap, warn, time.time_ns()))
    store.close()


def stand(target: Path | str) -> Standing:
    store = RunStore(target)
    (found,) = store.database.read(lambda c: standings(c, time.time_ns()))
    store.close()
    return found


@pytest.mark.slow
def test_the_cap_holds_where_estimates_bound_prices_and_every_sum_agrees(target: Path | str) -> None:
    cap = usd("2")
    prepare(target, cap, (0.5, 0.9))
    found = results([start(target, 8, seed, "bounded") for seed in range(4)])
    standing = stand(target)
    assert standing.spent <= cap
    assert standing.spent > cap - 2 * MOST  # refused only when nothing more would fit
    assert standing.reserved == 0
    assert standing.spent == sum(run["spent"] for run in found)
    told = sorted(level for run in found for level in run["told"])
    assert told == [0.5, 0.9]


@pytest.mark.slow
def test_prices_beyond_the_estimate_exceed_the_cap_by_no_more_than_what_was_in_flight(tmp_path: Path) -> None:
    path, cap = tmp_path / "runs.db", usd("2")
    prepare(path, cap)
    processes = 3
    found = results([start(path, 8, seed, "wild") for seed in range(processes)])
    standing = stand(path)
    assert standing.spent == sum(run["spent"] for run in found)
    assert standing.reserved == 0
    assert cap - MOST <= standing.spent <= cap + processes * SLOTS * (MOST - EXPECTED)
    store = RunStore(path)
    overruns = store.database.read(lambda c: report_on(c, standing.budget, 0)).overruns
    store.close()
    assert overruns.amount == sum(run["excess"] for run in found) > 0
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT SUM(amount_nano) FROM costs").fetchone()[0] == standing.spent
        assert db.execute("SELECT SUM(cost_nano) FROM runs").fetchone()[0] == standing.spent
        assert db.execute("SELECT SUM(cost_nano) FROM steps").fetchone()[0] == standing.spent


@pytest.mark.slow
def test_what_a_killed_process_held_comes_back_and_what_it_spent_does_not(tmp_path: Path) -> None:
    path, cap = tmp_path / "runs.db", usd("1.2")
    prepare(path, cap)
    frozen = start(path, 2, 7, "bounded", "--freeze")
    assert frozen.stdout is not None
    assert json.loads(frozen.stdout.readline()) == {"frozen": True}
    frozen.kill()
    frozen.communicate()
    before = stand(path)
    assert before.reserved > 0
    assert before.spent + before.reserved <= cap
    found = results([start(path, 4, seed, "bounded") for seed in range(2)])
    after = stand(path)
    assert after.spent == before.spent + sum(run["spent"] for run in found)
    assert cap - 2 * MOST < after.spent <= cap
