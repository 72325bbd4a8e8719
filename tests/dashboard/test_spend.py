"""Spend adds up: ledger = nodes = runs = days = page, whatever was done to the store."""

import csv
import io
import json
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from catp.agent import Agent
from catp.dashboard.read.run_page import run_page
from catp.dashboard.read.spend import spend
from catp.planlang.parser import parse
from catp.store import scores
from catp.store.audit import audit
from catp.store.rebuild import rebuild
from catp.store.retention import prune
from catp.store.statements import query
from catp.store.store import RunStore
from catp.tools import PerCall, tool
from tests.dashboard.calls import DAY, NOON, SECOND, Call, record, usd
from tests.store.recording import created, new_run

Make = Callable[..., httpx.AsyncClient]
GROUPS = ("tool", "policy", "project", "agent")
SPAN = {"from": "2026-01-01", "to": "2026-01-31"}


def check(connection: Connection, since: str, until: str) -> Decimal:
    """The same sum, wherever it is shown; returns it."""
    assert audit(connection) == []
    totals = set()
    gone = int(
        query(connection, "SELECT COALESCE(SUM(unpriced), 0) AS n FROM rollup_day WHERE kind = 'policy' AND pruned")[
            0
        ].n
    )
    for group in GROUPS:
        for bucket in ("day", "hour"):
            page = spend(connection, group, since, until, bucket)  # type: ignore[arg-type]
            assert page["difference"] == "0.00"
            assert Decimal(page["total"]) == Decimal(page["ledger_total"]) + Decimal(page["pruned"])
            assert sum(Decimal(one["total"] or 0) for one in page["series"]) == Decimal(page["total"])
            for place, whole in enumerate(page["totals"]):
                assert sum(Decimal(one["values"][place] or 0) for one in page["series"]) == Decimal(whole or 0)
            assert sum(one["unpriced"] for one in page["series"]) == page["unpriced"] + gone
            assert page["cumulative"][-1:] in ([page["total"]], [])
            totals.add(Decimal(page["total"]))
    rows = query(connection, "SELECT COALESCE(SUM(amount_nano), 0) AS n FROM costs")[0].n
    runs = [run.id for run in query(connection, "SELECT id FROM runs")]
    pages = [run_page(connection, run, "a store") for run in runs]
    shown = sum((Decimal(page["cost"]["amount"]) for page in pages), Decimal(0))
    nodes = sum((Decimal(n["actual"]["cost"] or 0) for page in pages for n in page["nodes"]), Decimal(0))
    assert shown == Decimal(int(rows)) / 10**9 == nodes + sum(Decimal(page["planning"]["cost"]) for page in pages)
    assert len(totals) == 1
    total: Decimal = totals.pop()
    assert shown == total - Decimal(spend(connection, "tool", since, until)["pruned"])
    return total


CALLS = st.builds(
    Call, tool=st.sampled_from(["a", "b", "c"]), cost=st.one_of(st.none(), st.integers(0, 10**11)),
    outcome=st.sampled_from(["ok", "ok", "error", "timeout"]), cached=st.booleans(),
    at_ns=st.integers(0, 3 * 24).map(lambda hour: NOON + hour * 3600 * SECOND),
)  # fmt: skip
RUN = st.tuples(st.lists(CALLS, max_size=4), st.sampled_from(["p", "q"]), st.sampled_from(["", "bot"]))
DEEDS = st.lists(st.one_of(RUN, st.sampled_from(["prune", "rebuild"])), min_size=1, max_size=7)


@settings(derandomize=True, deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(DEEDS)
def test_any_history_adds_up(tmp_path_factory: pytest.TempPathFactory, deeds: list[Any]) -> None:
    store = RunStore(tmp_path_factory.mktemp("s") / "runs.db")
    spent = 0
    try:
        for deed in deeds:
            if deed == "rebuild":
                store.database.write(rebuild)
            elif deed == "prune":
                oldest = store.database.read(lambda c: query(c, "SELECT id FROM runs ORDER BY created_ns, id LIMIT 1"))
                store.database.write(lambda c, old=oldest: prune(c, [row.id for row in old]))  # type: ignore[misc]
            else:
                calls, project, agent = deed
                plan = "".join(f"s{place} = up(t)\n" for place in range(len(calls) or 1))
                record(store, calls, new_run(plan=f"in t: text\n{plan}out s0\n"), project=project, agent=agent)
                spent += sum(call.cost or 0 for call in calls if not call.cached)
            store.close()  # waits for the journal
            total = store.database.read(partial(check, since=SPAN["from"], until=SPAN["to"]))
            assert total == Decimal(spent) / 10**9
    finally:
        store.close()


async def test_real_runs_add_up_after_retries_caching_replays_forks_and_pruning(path: Path) -> None:
    failed: list[str] = []

    @tool(price=PerCall("0.003"), cache=True)
    async def once(text: str) -> str:
        return text.upper()

    @tool(price=PerCall("0.000000001"), effects="read")
    async def shaky(text: str) -> str:
        failed.append(text)
        if len(failed) == 1:
            raise ConnectionError("the first time")
        return text

    plan = parse("in t: text\na = once(t)\nb = shaky(a) @retry(2)\nout b\n")
    async with Agent([once, shaky], store=path, budget="1", name="bot", project="p") as bot:
        first = await bot.run(plan, {"t": "x"})
        again = await bot.run(plan, {"t": "x"})
        await bot.replay(first.run_id)
        await bot.fork(first.run_id, "b")
    assert len(failed) >= 3
    store = RunStore(path)
    try:
        adds_up = partial(check, since="2000-01-01", until="2199-12-31")
        shown = partial(spend, since="2000-01-01", until="2199-12-31")
        whole = store.database.read(adds_up)
        assert whole == Decimal("0.003") + Decimal("0.000000001") * len(failed)
        found = store.database.read(partial(shown, group="tool"))
        assert {one["key"]: one["total"] for one in found["series"]} == {
            "once": "0.003", "shaky": usd(len(failed)),
        }  # fmt: skip
        for work in (rebuild, partial(prune, run_ids=[again.run_id, first.run_id]), rebuild):
            store.database.write(work)
            assert store.database.read(adds_up) == whole
        by_agent = store.database.read(partial(shown, group="agent"))
        assert {one["key"] for one in by_agent["series"]} == {"bot", "(runs no longer kept)"}
    finally:
        store.close()


async def test_hours_days_the_period_before_and_the_sheet(path: Path, client_of: Make) -> None:
    store = RunStore(path)
    hour = 3600 * SECOND
    first = record(store, [Call("a", cost=100), Call("b", cost=None), Call("a", cost=300, at_ns=NOON + 2 * hour)])
    record(store, [Call("a", cost=200, at_ns=NOON + 2 * DAY)])
    planned = {"planning": {"number": 1, "planner": "x", "rows": [
        {"seq": 1, "kind": "planning", "quantity": 1.0, "unit": "plan", "amount": usd(40), "source": "declared",
         "priced": True},
    ]}}  # fmt: skip
    run = new_run(plan="planned")
    store.begin(run).event(created(run, NOON, **planned))
    store.close()
    client = client_of(path)

    async def ask(**query: Any) -> Any:
        answer = await client.get("/api/v1/spend", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    days = await ask(**SPAN)
    assert days["buckets"] == ["2026-01-01", "2026-01-02", "2026-01-03"]  # a day without spend is a day
    assert days["totals"] == [usd(440), usd(0), usd(200)]
    assert days["cumulative"] == [usd(440), usd(440), usd(640)]
    assert [(one["key"], one["total"]) for one in days["series"]] == [
        ("a", usd(600)), ("(planning)", usd(40)), ("b", None),  # unknown is not $0
    ]  # fmt: skip
    assert days["unpriced"] == 1
    short = {"from": "2026-01-01", "to": "2026-01-02", "bucket": "hour"}
    hours = await ask(**short)
    assert hours["buckets"] == [f"2026-01-01T{h}:00Z" for h in (12, 13, 14)]
    assert hours["totals"] == [usd(140), usd(0), usd(300)]
    long = await ask(**SPAN, bucket="hour")
    assert (long["bucket"], long["note"]) == ("day", "by day: hours are shown for up to 7 days")
    later = await ask(**{"from": "2026-01-03", "to": "2026-01-04"})
    assert later["previous"] == {
        "from": "2026-01-01", "to": "2026-01-02", "total": usd(440), "delta": f"-{usd(240)}",
        "share": pytest.approx(-240 / 440),
    }  # fmt: skip
    assert (await ask(**{"from": "2026-01-01", "to": "2026-01-01"}))["previous"]["share"] is None
    sheet = await client.get("/api/v1/spend.csv", params=SPAN)
    assert sheet.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(sheet.text)))
    assert [row["tool"] for row in rows if row["usd"] == "unpriced"] == ["b"]
    assert sum(Decimal(row["usd"]) for row in rows if row["tool"] != "b") == Decimal(days["total"])
    assert {row["tool"] for row in rows} == {"a", "b", "(planning)"}
    for bad in ({"bucket": "minute"}, {"group": "step"}):
        assert (await client.get("/api/v1/spend", params=bad)).status_code == 422
    store = RunStore(path)
    store.database.write(lambda c: prune(c, [first]))
    store.close()
    assert (await ask(**short))["note"] == "by day: runs that are no longer kept left only daily sums"


@pytest.mark.parametrize(("tools", "last"), [(8, "t8"), (10, "(3 others)")])
async def test_the_chart_has_no_more_series_than_colours(path: Path, client_of: Make, tools: int, last: str) -> None:
    store = RunStore(path)
    record(store, [Call(f"t{place}", cost=1000 - place, at_ns=NOON + place % 2 * DAY) for place in range(1, tools)])
    record(store, [Call(f"t{tools}", cost=None)])
    store.close()
    found = (await client_of(path).get("/api/v1/spend", params=SPAN)).json()
    assert len(found["series"]) == tools
    assert found["chart"][:7] == found["series"][:7]
    assert [one["key"] for one in found["chart"][7:]] == [last]
    assert found["chart"][7]["unpriced"] == 1
    assert found["chart"][7]["total"] == (None if tools == 8 else usd(992 + 991))
    for place, whole in enumerate(found["totals"]):
        assert sum(Decimal(one["values"][place] or 0) for one in found["chart"]) == Decimal(whole)


async def test_unit_costs(path: Path, client_of: Make) -> None:
    store = RunStore(path)
    used = {"units": {"tokens_in": 600, "tokens_out": 400}}
    ids = [
        record(store, [Call("llm", cost=5000)], quality=0.5),
        record(store, [Call("other", cost=1000)], quality=0.3),
        record(store, [], policy="none"),
    ]
    store.close()
    store.database.write(
        lambda c: c.exec_driver_sql("UPDATE calls SET usage_json = ? WHERE tool = 'llm'", (json.dumps(used),))
    )
    client = client_of(path)
    per = (await client.get("/api/v1/spend", params=SPAN)).json()["per"]
    assert per["run"] == {"amount": usd(2000), "n": 3}
    assert per["ok"] == {"amount": usd(2000), "n": 3}
    assert per["quality"]["amount"] == usd(75)  # 6,000 nano-USD for 80 points
    assert per["quality"]["source"] == "predicted"
    assert per["tokens"] == {"amount": usd(5000), "tokens": 1000.0, "calls": 1}
    store.database.write(lambda c: scores.put(c, ids[0], 1.0, by="me", now_ns=1))
    store.close()
    per = (await client.get("/api/v1/spend", params=SPAN)).json()["per"]
    assert per["quality"] == {"amount": usd(50), "n": 1, "points": 100.0, "source": "measured"}
    nothing = (await client.get("/api/v1/spend", params={"from": "2025-01-01", "to": "2025-01-02"})).json()
    assert nothing["per"]["run"] == {"amount": None, "n": 0}
    assert nothing["buckets"] == []
    assert nothing["total"] == "0.00"


def test_a_run_that_ends_later_counts_on_the_day_of_its_calls(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs.db")
    record(store, [Call(cost=1), Call(cost=2, at_ns=NOON + DAY)])
    store.close()
    found = store.database.read(partial(spend, group="agent", since=SPAN["from"], until="2026-01-01"))
    assert found["total"] == found["ledger_total"] == usd(1)
    store.close()
