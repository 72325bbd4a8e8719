"""Budgets over HTTP: who may set them, what is refused, and what they foresee."""

import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.dashboard.read.budgets import budgets
from catp.dashboard.read.forecast import forecast
from catp.planlang.money import Money
from catp.runtime.periods import Period
from catp.store import deeds
from catp.store.budgets import set_budget, standings
from catp.store.retention import prune
from catp.store.statements import execute, query
from catp.store.store import RunStore
from tests.dashboard.calls import DAY, NOON, SECOND, Call, record, usd

Make = Callable[..., httpx.AsyncClient]
NEW = {"scope": "project", "name": "p", "period": "day", "limit": "1.5", "warn": [0.5, 1.0]}
TOKENS = {"admin-token-0123456789": "admin", "operator-token-012345": "operator", "viewer-token-01234567": "viewer"}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def test_an_admin_makes_changes_and_removes(path: Path, client_of: Make) -> None:
    RunStore(path).close()
    client = client_of(path)
    assert (await client.get("/api/v1/budgets")).status_code == 503  # there is no store yet
    store = RunStore(path)
    record(store, [Call(cost=5 * 10**8, at_ns=time.time_ns())], project="p")
    store.close()
    made = await client.post("/api/v1/budgets", json=NEW)
    assert made.status_code == 201
    one = made.json()
    assert (one["limit"], one["spent"], one["left"], one["state"]) == ("1.50", "0.50", "1.00", "ok")
    again = await client.post("/api/v1/budgets", json=NEW)
    assert again.status_code == 409
    assert "$1.50" in again.json()["detail"]
    changed = await client.put(f"/api/v1/budgets/{one['id']}", json={"limit": "0.4", "warn": [0.9]})
    assert changed.status_code == 200
    now = changed.json()
    assert (now["id"], now["limit"], now["over"], now["left"]) == (one["id"], "0.40", "0.10", "-0.10")
    assert (now["state"], now["reached"]) == ("over", [0.9])
    listed = (await client.get("/api/v1/budgets")).json()["items"]
    (standing,) = store.database.read(lambda c: standings(c, time.time_ns()))
    assert [(row["title"], row["spent"]) for row in listed] == [(standing.budget.title, usd(standing.spent))]
    assert (await client.delete(f"/api/v1/budgets/{one['id']}")).status_code == 204
    assert (await client.get("/api/v1/budgets")).json()["items"] == []
    for method in ("put", "delete"):
        gone = await client.request(method, f"/api/v1/budgets/{one['id']}", json={"limit": "1"})
        assert gone.status_code == 404
    trail = store.database.read(lambda c: deeds.latest(c, 10))
    assert [(deed.action, deed.target) for deed in trail] == [
        ("budget.remove", "project:p (per day)"), ("budget.set", "project:p (per day)"),
        ("budget.set", "project:p (per day)"),
    ]  # fmt: skip
    assert trail[1].detail == {"limit": "0.40", "warn": [0.9], "before": "1.50"}
    store.close()


async def test_only_an_admin(filled: Path, client_of: Make) -> None:
    client = client_of(filled, tokens=TOKENS)
    made = await client.post("/api/v1/budgets", json=NEW, headers=bearer("admin-token-0123456789"))
    assert made.status_code == 201
    for token in ("operator-token-012345", "viewer-token-01234567"):
        headers = bearer(token)
        assert (await client.get("/api/v1/budgets", headers=headers)).json()["items"][0]["name"] == "p"
        for method, path in (("post", ""), ("put", f"/{made.json()['id']}"), ("delete", f"/{made.json()['id']}")):
            answer = await client.request(method, f"/api/v1/budgets{path}", json=NEW, headers=headers)
            assert answer.status_code == 403, (token, method)
            assert answer.json()["type"] == "urn:catp:problem:role"
    closed = client_of(filled, read_only=True)
    answer = await closed.post("/api/v1/budgets", json=NEW)
    assert answer.json()["type"] == "urn:catp:problem:read-only"


WRONG: list[tuple[str, Any]] = [
    ("limit", "0"), ("limit", "-1"), ("limit", "much"), ("limit", "0.0000000001"), ("limit", 1.5), ("limit", "9" * 25),
    ("warn", [0.0]), ("warn", [1.5]), ("warn", "80%"), ("warn", [0.1] * 11), ("scope", "tool"), ("name", ""),
    ("name", "  "), ("period", "year"), ("owner", "me"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), WRONG)
async def test_what_is_wrong_is_named(filled: Path, client_of: Make, field: str, value: Any) -> None:
    answer = await client_of(filled).post("/api/v1/budgets", json={**NEW, field: value})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(field)


async def test_a_limit_is_kept_to_the_last_nano_dollar(filled: Path, client_of: Make) -> None:
    client = client_of(filled)
    for period, limit in (("total", "0.000000001"), ("day", "9000000000.123456789")):
        made = await client.post("/api/v1/budgets", json={**NEW, "period": period, "limit": limit})
        assert made.json()["limit"] == limit
    assert [row["period"] for row in (await client.get("/api/v1/budgets")).json()["items"]] == ["day", "total"]


def row_of(store: RunStore, now_ns: int, scope: str = "project") -> dict[str, Any]:
    return next(row for row in store.database.read(lambda c: budgets(c, now_ns)) if row["scope"] == scope)


def spending(path: Path, costs: Sequence[int], period: Period, cap: int) -> RunStore:
    """A store whose project and agent spent so much on the days from 2026-01-01, at noon, and a budget for each."""
    store = RunStore(path)
    for day, cost in enumerate(costs):
        record(store, [Call(cost=cost, at_ns=NOON + day * DAY)], project="p", agent="bot")
    store.close()
    for scope, name in (("project", "p"), ("agent", "bot")):
        store.database.write(
            lambda c, s=scope, n=name: set_budget(c, s, n, period, Money(cap), (0.5, 1.0), NOON)  # type: ignore[misc]
        )
    return store


def test_a_steady_project_is_foreseen_exactly(path: Path) -> None:
    store = spending(path, [100] * 10, "month", 1200)
    now = NOON + 10 * DAY + 6 * 3600 * SECOND  # 2026-01-11 18:00: a quarter of the day is left
    for scope in ("project", "agent"):
        row = row_of(store, now, scope)
        assert (row["spent"], row["left"], row["burn"], row["state"]) == (usd(1000), usd(200), usd(100), "warn")
        assert row["reached"] == [0.5]
        assert (row["start"], row["end"]) == ("2026-01-01", "2026-02-01T00:00:00+00:00")
        seen = row["forecast"]
        assert (seen["days"][0]["day"], seen["days"][-1]["day"], len(seen["days"])) == ("2026-01-11", "2026-01-31", 21)
        assert seen["p50"] == seen["p90"] == usd(1000 + 25 + 20 * 100)
        assert row["runs_out"] == {"p50": "2026-01-13", "p90": "2026-01-13"}  # 1025, 1125, 1225
        assert (row["passes"], row["says"]) == ("likely 2026-01-13", "50 % reached")
        assert [day["day"] for day in row["days"]] == [f"2026-01-{day:02d}" for day in range(1, 12)]
        assert sum(Decimal(day["amount"]) for day in row["days"]) == Decimal(row["spent"])
        assert [row["days"][0]["spent"], row["days"][-1]["left"]] == [usd(100), row["left"]]
    store.close()


def test_without_three_days_nothing_is_foreseen(path: Path) -> None:
    store = spending(path, [100, 0, 300], "total", 250)
    row = row_of(store, NOON + 2 * DAY)
    assert (row["forecast"], row["runs_out"], row["history_days"]) == (None, None, 2)
    assert (row["burn"], row["state"], row["over"], row["end"]) == (usd(50), "over", usd(150), None)
    later = row_of(store, NOON + 3 * DAY)
    assert later["history_days"] == 3
    assert len(later["forecast"]["days"]) == 31
    store.close()


def test_what_is_held_and_what_was_pruned_count(path: Path) -> None:
    store = spending(path, [100] * 4, "month", 500)
    oldest = store.database.read(lambda c: query(c, "SELECT id FROM runs ORDER BY created_ns LIMIT 2"))
    store.database.write(lambda c: prune(c, [row.id for row in oldest]))
    now = NOON + 4 * DAY
    budget = row_of(store, now, "agent")["id"]
    held = (budget, "r", "s", -1, 1, "2026-01-01", 100, now + SECOND)
    store.database.write(
        lambda c: execute(
            c, "INSERT INTO reservations (budget_id, run_id, step, element, attempt, period_start, amount_nano, "
            "expires_ns) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [held],
        )
    )  # fmt: skip
    row = row_of(store, now, "agent")
    assert (row["spent"], row["held"], row["left"], row["state"]) == (usd(400), usd(100), usd(0), "warn")
    assert row["holdings"] == [{"run": "r", "step": "s", "amount": usd(100), "expired": False}]
    # the agent of runs that are no longer kept is not known: they were spent before the first day
    assert [day["spent"] for day in row["days"]] == [usd(200), usd(200), usd(300), usd(400), usd(400)]
    whole = row_of(store, now)
    assert [day["spent"] for day in whole["days"]] == [usd(100), usd(200), usd(300), usd(400), usd(400)]
    store.close()


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    st.integers(0, 10**12), st.lists(st.integers(0, 10**12), min_size=3, max_size=28), st.floats(0, 1),
    st.integers(1, 31),
)  # fmt: skip
def test_a_cone_opens_and_never_falls(spent: int, history: list[int], left: float, days: int) -> None:
    cone = forecast(spent, history, left, days)
    assert cone is not None
    assert cone == forecast(spent, history, left, days)
    for sums in cone:
        assert len(sums) == days
        assert list(sums) == sorted(sums)
        assert spent <= sums[0]
        assert sums[-1] <= spent + max(history) * days
    assert all(low <= high for low, high in zip(*cone, strict=True))
    assert forecast(spent, history[:2], left, days) is None


def test_half_of_all_futures_stay_below_the_median() -> None:
    import numpy as np

    history = [int(x) for x in np.random.default_rng(7).lognormal(10, 1, size=28)]
    cone = forecast(0, history, 1.0, 10)
    assert cone is not None
    sums = np.random.default_rng(8).choice(history, size=(20_000, 10)).sum(axis=1)
    assert np.mean(sums <= cone.p50[-1]) == pytest.approx(0.5, abs=0.05)
    assert np.mean(sums <= cone.p90[-1]) == pytest.approx(0.9, abs=0.03)
