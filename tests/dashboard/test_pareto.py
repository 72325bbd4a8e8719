"""`/pareto` against brute force over the rows of the runs, on a store of known figures."""

import random
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from catp.dashboard.read.pareto import pareto
from catp.dashboard.read.runs import RunFilter
from catp.store import scores
from catp.store.statements import execute
from catp.store.store import RunStore

Make = Callable[..., httpx.AsyncClient]
Row = dict[str, Any]

PLANS = {f"{n:064x}": f"plan p{n}\nin t: text\na = up(t)\nout a\n" for n in range(3)}


def write(connection: Connection, rows: Sequence[Row]) -> None:
    """Put runs into the tables as the projector does, with a call per tool."""
    plans = [(digest, source, "{}", 1, 0) for digest, source in PLANS.items()]
    execute(
        connection, "INSERT INTO plans (hash, source, ast_json, n_nodes, created_ns) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (hash) DO NOTHING", plans,
    )  # fmt: skip
    columns = [
        "id", "project", "agent", "task", "plan_hash", "policy", "status", "created_ns", "cost_nano", "saved_nano",
        "unpriced", "latency_ms", "predicted_quality",
    ]  # fmt: skip
    places = ", ".join("?" * len(columns))
    execute(
        connection, f"INSERT INTO runs ({', '.join(columns)}) VALUES ({places})",
        [tuple(row[column] for column in columns) for row in rows],
    )  # fmt: skip
    execute(
        connection, "INSERT INTO calls (run_id, step, element, attempt, tool, alternative, cached, started_ns, version)"
        " VALUES (?, ?, -1, 1, ?, 0, 0, 0, '1')",
        [(row["id"], f"s{at}", tool) for row in rows for at, tool in enumerate(row["tools"])],
    )  # fmt: skip
    for row in rows:
        if row["score"] is not None:
            scores.put(connection, row["id"], row["score"], by="me", now_ns=1)


def some(n: int, seed: int) -> list[Row]:
    draw = random.Random(seed)
    return [
        {
            "id": f"01J{at:023d}", "project": draw.choice(["p", "q"]), "agent": "", "task": f"task {at}",
            "plan_hash": draw.choice(list(PLANS)), "policy": draw.choice(["search", "cheap", "best"]),
            "status": draw.choice(["complete", "complete", "degraded", "failed", "running", "waiting"]),
            "created_ns": at * 10**9, "cost_nano": draw.randrange(1, 6) * 1_000_000, "saved_nano": 0,
            "unpriced": int(draw.random() < 0.2), "latency_ms": draw.choice([None, 10.0, 20.0, 35.0]),
            "predicted_quality": draw.choice([None, 0.5, 0.8]), "score": draw.choice([None, 0.0, 0.25, 1.0]),
            "tools": draw.choice([["up", "up"], ["up", "down"], ["down", "up"], []]),
        }
        for at in range(n)
    ]  # fmt: skip


@pytest.fixture
def store(path: Path) -> Iterator[RunStore]:
    found = RunStore(path)
    yield found
    found.close()


def asked(store: RunStore, group: Any = "policy", quality: Any = "best", **wanted: Any) -> Any:
    return store.database.read(partial(pareto, wanted=RunFilter(**wanted), group=group, quality=quality))


def quality_of(row: Row, which: str) -> float | None:
    predicted = row["predicted_quality"] if row["status"] in ("complete", "degraded") else None
    best = row["score"] if row["score"] is not None else predicted
    return {"measured": row["score"], "predicted": predicted, "best": best}[which]  # type: ignore[no-any-return]


KEYS: dict[str, Callable[[Row], str]] = {
    "policy": lambda row: row["policy"], "plan": lambda row: row["plan_hash"], "project": lambda row: row["project"],
    "tools": lambda row: ", ".join(sorted(set(row["tools"]))), "run": lambda row: row["id"],
}  # fmt: skip


@pytest.mark.parametrize("quality", ["measured", "predicted", "best"])
@pytest.mark.parametrize("group", list(KEYS))
def test_points_are_the_means_of_the_runs_that_can_be_placed(store: RunStore, group: str, quality: str) -> None:
    rows = some(120, seed=3)
    store.database.write(partial(write, rows=rows))
    found = asked(store, group, quality)
    over = [row for row in rows if row["status"] not in ("running", "waiting")]
    groups = defaultdict(list)
    for row in over:
        if quality_of(row, quality) is not None and not row["unpriced"]:
            groups[KEYS[group](row)].append(row)
    assert {point["key"]: point["n"] for point in found["points"]} == {key: len(of) for key, of in groups.items()}
    for point in found["points"]:
        of = groups[point["key"]]
        costs = [row["cost_nano"] for row in of]
        known = [quality_of(row, quality) or 0.0 for row in of]
        times = [row["latency_ms"] for row in of if row["latency_ms"] is not None]
        assert abs(float(point["cost"]["mean"]) * 1e9 - statistics.fmean(costs)) <= 0.5
        assert point["quality"]["mean"] == pytest.approx(statistics.fmean(known))
        assert point["latency_p50"] == (pytest.approx(statistics.median(times)) if times else None)
        if group != "run":
            key = point["key"]
            assert point["unpriced_runs"] == sum(KEYS[group](row) == key and row["unpriced"] for row in over)
    assert found["missing"] == {
        "runs": len(over), "no_quality": sum(quality_of(row, quality) is None for row in over),
        "unpriced": sum(row["unpriced"] for row in over),
    }  # fmt: skip


def test_intervals_are_those_of_student(store: RunStore) -> None:
    rows = [row | {"status": "complete", "unpriced": 0, "score": 0.5, "policy": "one"} for row in some(5, seed=1)]
    for row, cost in zip(rows, (1, 2, 3, 4, 5), strict=True):
        row["cost_nano"] = cost * 1_000_000
    rows[4]["policy"] = "alone"
    store.database.write(partial(write, rows=rows))
    alone, one = sorted(asked(store)["points"], key=lambda point: point["n"])
    assert (alone["cost"]["lo"], alone["quality"]["hi"]) == (None, None)
    # mean 2.5, s = 1.29099, t(3) = 3.182, n = 4: 2.5 +- 2.054
    assert float(one["cost"]["lo"]) == pytest.approx(0.000446, abs=1e-6)
    assert float(one["cost"]["hi"]) == pytest.approx(0.004554, abs=1e-6)
    assert (one["quality"]["lo"], one["quality"]["hi"]) == (0.5, 0.5)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(1, 6), st.sampled_from([0.0, 0.2, 0.4, 0.6, 0.605, 0.8])), min_size=1, max_size=14)
)
def test_the_front_is_what_nothing_beats(
    tmp_path_factory: pytest.TempPathFactory, points: list[tuple[int, float]]
) -> None:
    store = RunStore(tmp_path_factory.mktemp("front") / "runs.db")
    (base,) = some(1, seed=0)
    rows = [
        base | {"id": f"01J{at:023d}", "cost_nano": cost, "score": score, "status": "complete", "unpriced": 0}
        for at, (cost, score) in enumerate(points)
    ]
    store.database.write(partial(write, rows=rows))
    found = asked(store, "run")
    store.close()

    def beaten(cost: int, score: float) -> bool:
        return any(c <= cost and s >= score and (c, s) != (cost, score) for c, s in points)

    best = {pair for pair in points if not beaten(*pair)}
    shown = {point["key"]: point for point in found["points"]}
    assert len(shown) == len(points)
    at = [
        (int(Decimal(shown[key]["cost"]["mean"]) * 10**9), shown[key]["quality"]["mean"]) for key in found["frontier"]
    ]
    assert sorted(best) == at  # each once, from the cheapest to the best
    assert [key for key, point in shown.items() if point["frontier"]] == found["frontier"]
    good = max(score for _, score in points) - 0.01
    assert Decimal(found["scale"]) * 10**9 == min(cost for cost, score in points if score >= good)


@pytest.mark.parametrize("group", ["policy", "plan", "tools"])
def test_the_note_warns_where_the_points_had_different_tasks(store: RunStore, group: str) -> None:
    rows = [
        row | {"status": "complete", "unpriced": 0, "score": 0.5, "task": f"task {at % 7}"}
        for at, row in enumerate(some(40, seed=9))
    ]
    store.database.write(partial(write, rows=rows))
    held = {task: {KEYS[group](row) for row in rows if row["task"] == task} for task in {row["task"] for row in rows}}
    shared = sum(len(of) == len({KEYS[group](row) for row in rows}) for of in held.values())
    assert 0 < shared < 7
    assert asked(store, group)["note"].startswith(
        f"These points did not do the same work: {shared} of 7 tasks are in every point. "
    )
    assert asked(store, "project")["note"].startswith("Of 40 ended runs")  # projects are no choice


def test_nothing_is_warned_of_where_all_points_had_the_same_tasks(store: RunStore) -> None:
    rows = [
        row | {"status": "complete", "unpriced": 0, "score": 0.5, "task": f"task {at // 2}", "policy": f"p{at % 2}"}
        for at, row in enumerate(some(10, seed=9))
    ]
    store.database.write(partial(write, rows=rows))
    assert asked(store)["note"].startswith("Of 10 ended runs")
    assert asked(store, policy="p0")["note"].startswith("Of 5 ended runs")  # one point: nothing to choose from


def test_single_runs_are_capped_but_the_front_is_whole(store: RunStore) -> None:
    (base,) = some(1, seed=0)
    rows = [
        base | {"id": f"01J{at:023d}", "cost_nano": 1000 + at, "score": 0.5, "status": "complete", "unpriced": 0}
        for at in range(1_200)
    ]
    store.database.write(partial(write, rows=rows))
    found = asked(store, "run")
    assert found["frontier"] == [rows[0]["id"]]
    assert (len(found["points"]), found["left_out"]) == (1_001, 199)
    assert found["points"][-1]["key"] == rows[-1]["id"]


async def test_filters_and_bad_queries(store: RunStore, path: Path, client_of: Make) -> None:
    rows = some(60, seed=5)
    store.database.write(partial(write, rows=rows))
    client = client_of(path)
    answer = await client.get("/api/v1/pareto?group=project&policy=cheap&quality=predicted&from=1970-01-01T00:00:30Z")
    mine = [
        row for row in rows
        if row["policy"] == "cheap" and row["created_ns"] >= 30e9 and row["status"] in ("complete", "degraded")
        and row["predicted_quality"] is not None and not row["unpriced"]
    ]  # fmt: skip
    assert {point["key"] for point in answer.json()["points"]} == {row["project"] for row in mine}
    assert sum(point["n"] for point in answer.json()["points"]) == len(mine)
    for query in ("group=nothing", "quality=guessed", "from=yesterday"):
        assert (await client.get(f"/api/v1/pareto?{query}")).status_code == 422
    for group in ("policy", "plan", "project"):
        points = (await client.get(f"/api/v1/pareto?group={group}")).json()["points"]
        for point in points:
            listed = (await client.get("/api/v1/runs", params={**point["filter"], "limit": 500})).json()["items"]
            assert {row["id"] for row in listed} == {row["id"] for row in rows if KEYS[group](row) == point["key"]}


async def test_the_runs_behind_a_frame_and_behind_a_set_of_tools(store: RunStore, path: Path, client_of: Make) -> None:
    rows = some(60, seed=5)
    store.database.write(partial(write, rows=rows))
    client = client_of(path)

    async def listed(**wanted: str) -> set[str]:
        answer = await client.get("/api/v1/runs", params={**wanted, "limit": 500})
        assert answer.status_code == 200, answer.text
        return {row["id"] for row in answer.json()["items"]}

    known = {row["id"]: row["predicted_quality"] if row["score"] is None else row["score"] for row in rows}
    assert await listed(quality_min="0.25", quality_max="0.5", cost_max="0.003") == {
        row["id"] for row in rows
        if known[row["id"]] is not None and 0.25 <= known[row["id"]] <= 0.5 and row["cost_nano"] <= 3_000_000
    }  # fmt: skip
    assert await listed(tool="up, down") == {row["id"] for row in rows if set(row["tools"]) == {"up", "down"}}
    assert await listed(tool="up,nothing") == set()


async def test_an_empty_store_has_no_points(store: RunStore, path: Path, client_of: Make) -> None:
    store.list()
    found = (await client_of(path).get("/api/v1/pareto")).json()
    assert (found["points"], found["frontier"], found["scale"]) == ([], [], None)
