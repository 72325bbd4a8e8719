"""The list of runs against all runs sorted in Python: every order, filter, page and count, on both kinds of store."""

import csv
import io
import math
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, get_args

import httpx
import pytest
from sqlalchemy import Connection

from catp.dashboard.read.period import period
from catp.dashboard.read.runs import Cursor, RunFilter, Sort, facets, page, selected
from catp.dashboard.read.runs_csv import COLUMNS, csv_lines
from catp.store import scores
from catp.store.ownership import myself
from catp.store.statements import execute
from catp.store.store import RunStore
from tests.store.conftest import postgres_server, store, target

__all__ = ["postgres_server", "store", "target"]

Make = Callable[..., httpx.AsyncClient]
STATUSES = ("complete", "failed", "cancelled", "running", "interrupted", "waiting")
PLAN = "f" * 64


def runs_of(count: int) -> list[dict[str, Any]]:
    """Runs with ties and unknown latencies."""
    rng = Random(3)
    rows = []
    for number in range(count):
        status = rng.choice(STATUSES)
        rows.append(
            {
                "id": f"01M{number:023d}", "policy": rng.choice(["search", "policy"]), "project": rng.choice("ab"),
                "status": status, "task": rng.choice(["50% off", "_x_", "Plain", "=cmd()"]), "cost": rng.randrange(5),
                "latency": None if status in ("running", "interrupted") else rng.choice([0.1, 2.5, 1e-05, 1e16]),
                "tools": set(rng.sample(["ocr", "sum", "say"], rng.randrange(3))), "created": rng.randrange(100),
            }
        )  # fmt: skip
    return rows


ALL = runs_of(60)


def put(connection: Connection) -> None:
    execute(
        connection,
        "INSERT INTO plans (hash, source, ast_json, n_nodes, created_ns) VALUES (?, 'out x', '{}', 2, 0)",
        [(PLAN,)],
    )
    real = {"interrupted": "running"}
    owners = {"running": myself(), "interrupted": "gone/0/0:1:1"}
    execute(
        connection, "INSERT INTO runs (id, project, agent, task, plan_hash, policy, status, created_ns, cost_nano, "
        "latency_ms, owner, heartbeat_ns, saved_nano, unpriced) VALUES (?, ?, '', ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0)",
        [
            (r["id"], r["project"], r["task"], PLAN, r["policy"], real.get(r["status"], r["status"]), r["created"],
             r["cost"], r["latency"], owners.get(r["status"]))
            for r in ALL
        ],
    )  # fmt: skip
    execute(
        connection,
        "INSERT INTO calls (run_id, step, element, attempt, tool, version, alternative, cached, started_ns)"
        " VALUES (?, ?, -1, 1, ?, '1', 0, ?, 0)",
        [(r["id"], tool, tool, False) for r in ALL for tool in r["tools"]],
    )
    execute(
        connection,
        "INSERT INTO steps (run_id, step, status, reason, calls, saved_nano) VALUES (?, ?, ?, '', 1, 0)",
        [(r["id"], tool, "ok" if tool == "ocr" else "running") for r in ALL for tool in r["tools"]],
    )


@pytest.fixture
def full(store: RunStore) -> RunStore:
    store.database.write(put)
    return store


FILTERS: list[tuple[dict[str, Any], Callable[[dict[str, Any]], bool]]] = [
    ({}, lambda r: True),
    *(({"status": (status,)}, lambda r, status=status: r["status"] == status) for status in STATUSES),
    ({"status": ("running", "interrupted", "failed")}, lambda r: r["status"] in ("running", "interrupted", "failed")),
    ({"status": ("interrupted", "complete")}, lambda r: r["status"] in ("interrupted", "complete")),
    ({"policy": "search", "project": "b"}, lambda r: r["policy"] == "search" and r["project"] == "b"),
    ({"tool": "ocr", "cost_min": 2, "cost_max": 3}, lambda r: "ocr" in r["tools"] and 2 <= r["cost"] <= 3),
    ({"text": "50%"}, lambda r: r["task"] == "50% off"),
    ({"text": "_X"}, lambda r: r["task"] == "_x_"),
    ({"from_ns": 20, "until_ns": 70, "status": ("running",)}, lambda r: 20 <= r["created"] < 70
     and r["status"] == "running"),
]  # fmt: skip


def in_order(rows: list[dict[str, Any]], sort: str) -> list[str]:
    name, down = sort.lstrip("-"), sort.startswith("-")
    if name == "created":
        return sorted((r["id"] for r in rows), reverse=down)
    known = sorted((r for r in rows if r[name] is not None), key=lambda r: (r[name], r["id"]), reverse=down)
    unknown = sorted((r["id"] for r in rows if r[name] is None), reverse=True)
    return [r["id"] for r in known] + unknown


def test_every_order_and_filter_page_by_page(full: RunStore) -> None:
    read = full.database.read
    for given, test in FILTERS:
        wanted, expected = RunFilter(**given), [r for r in ALL if test(r)]
        for sort in get_args(Sort):
            ids, after = [], None
            while True:
                found = read(partial(page, wanted=wanted, sort=sort, limit=7, after=after))
                assert found["total_estimate"] == len(expected)
                ids += [row["id"] for row in found["items"]]
                if found["next"] is None:
                    break
                after = Cursor.read(found["next"], sort)
            assert ids == in_order(expected, sort), (given, sort)
        counts = read(partial(facets, wanted=wanted))
        for name in ("status", "policy", "project"):
            assert dict(counts[name]) == Counter(r[name] for r in expected), (given, name)
        assert dict(counts["tool"]) == Counter(tool for r in expected for tool in r["tools"])
        assert counts["tools_of"] == len(expected)


def test_a_page_stays_where_it_was_when_runs_are_added(full: RunStore) -> None:
    first = full.database.read(partial(selected, wanted=RunFilter(), sort="-cost", limit=10))
    full.database.write(
        lambda c: c.exec_driver_sql(
            "INSERT INTO runs (id, project, agent, task, plan_hash, policy, status, created_ns, cost_nano, saved_nano, "
            f"unpriced) VALUES ('01N{0:023d}', 'a', '', 't', '{PLAN}', 'p', 'complete', 0, 99, 0, 0)"
        )
    )
    after = Cursor(first[-1].cost, first[-1].id)
    rest = full.database.read(partial(selected, wanted=RunFilter(), sort="-cost", after=after, limit=100))
    assert [run.id for run in (*first, *rest)] == in_order(ALL, "-cost")


def test_a_period_counts_the_runs_created_in_it(full: RunStore) -> None:
    full.database.write(partial(scores.put, run_id=ALL[0]["id"], value=0.5, by="me", now_ns=1))
    for first, last in ((20, 70), (0, 100), (200, 300)):
        rows = [r for r in ALL if first <= r["created"] < last]
        found = full.database.read(partial(period, from_ns=first, until_ns=last))
        ended = [r for r in rows if r["status"] in ("complete", "failed")]
        assert found.statuses == Counter(r["status"] for r in rows)
        times = sorted(r["latency"] for r in ended)
        assert (found.timed, found.p50_ms, found.p95_ms) == (
            len(times), *(times[math.ceil(share * len(times)) - 1] if times else None for share in (0.5, 0.95)),
        )  # fmt: skip
        assert found.cost == (pytest.approx(sum(r["cost"] for r in ended) / len(ended)) if ended else None)
        assert found.scored == (ALL[0] in rows)
        assert (found.priced, found.with_deadline, found.attained) == (len(ended), 0, None)


def test_a_row_has_its_score_and_how_far_it_is(full: RunStore) -> None:
    full.database.write(partial(scores.put, run_id=ALL[0]["id"], value=0.5, by="me", now_ns=time.time_ns()))
    rows = {row["id"]: row for row in full.database.read(partial(page, wanted=RunFilter(), limit=100))["items"]}
    assert [row["quality"] for row in rows.values() if row["quality"] is not None] == [rows[ALL[0]["id"]]["quality"]]
    unneeded = {r["id"]: 2 - len(r["tools"]) if r["status"] == "complete" else 0 for r in ALL}
    assert {id_: row["progress"] for id_, row in rows.items()} == {
        r["id"]: {"total": 2, "done": int("ocr" in r["tools"]) + unneeded[r["id"]]} for r in ALL
    }


def test_the_table_has_every_run_once(full: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catp.dashboard.read.runs_csv._PAGE", 7)
    for sort in get_args(Sort):
        lines = csv.DictReader(io.StringIO("".join(csv_lines(full.database, RunFilter(), sort)), newline=""))
        rows = list(lines)
        assert tuple(lines.fieldnames or ()) == COLUMNS
        assert [row["id"] for row in rows] == in_order(ALL, sort)
    assert {row["task"] for row in rows} == {"50% off", "_x_", "Plain", "'=cmd()"}  # a spreadsheet computes nothing
    assert Counter(row["status"] for row in rows) == Counter(r["status"] for r in ALL)


async def test_over_http(filled: Path, client_of: Make) -> None:
    client = client_of(filled)
    dearest = await client.get("/api/v1/runs?sort=-cost&limit=1")
    following = await client.get(f"/api/v1/runs?sort=-cost&limit=9&cursor={dearest.json()['next']}")
    costs = [float(row["cost"]["amount"]) for row in dearest.json()["items"] + following.json()["items"]]
    assert len(costs) == 3
    assert costs == sorted(costs, reverse=True)
    table = await client.get("/api/v1/runs.csv?project=p&sort=cost")
    assert table.headers["content-type"].startswith("text/csv")
    assert "attachment" in table.headers["content-disposition"]
    assert [row["project"] for row in csv.DictReader(io.StringIO(table.text))] == ["p", "p", "p"]
    run = dearest.json()["items"][0]["id"]
    for wrong in (
        "sort=task", "cursor=x", f"cursor=1:{run}", f"sort=cost&cursor=1.5:{run}", f"sort=latency&cursor=nan:{run}",
        f"sort=cost&cursor=12345678901234567890:{run}", "sort=cost&cursor=1:'", "limit=0", "from=yesterday",
    ):  # fmt: skip
        assert (await client.get(f"/api/v1/runs?{wrong}")).status_code == 422, wrong
