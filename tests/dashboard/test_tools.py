"""What the pages say of tools, against the calls it was made of."""

import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from catp.agent import Agent
from catp.runtime.ids import new_run_id
from catp.store import scores
from catp.store.store import RunStore
from tests.dashboard.calls import DAY, NOON, Call, fill, record, usd
from tests.dashboard.conftest import hostile, short
from tests.store.recording import new_run

Make = Callable[..., httpx.AsyncClient]


async def ask(client: httpx.AsyncClient, path: str, **query: Any) -> Any:
    answer = await client.get(f"/api/v1{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


SPAN = {"from": "2026-01-01", "to": "2026-01-31"}


async def test_prices_and_errors_are_those_of_the_calls(path: Path, client_of: Make) -> None:
    costs = [100, 200, 300, 400, 1000]
    bad = [Call(outcome="error", error="ValueError", cost=50), Call(outcome="timeout", cost=70)]
    fill(path, [Call(cost=cost, est=200) for cost in costs], [*bad, Call(cached=True)], [Call("free", cost=None)])
    rows = {row["name"]: row for row in (await ask(client_of(path), "/tools", **SPAN))["items"]}
    row = rows["t"]
    assert (row["n"], row["ok"], row["cached"], row["sample"]) == (8, 6, 1, 8)
    assert row["cost"] == usd(sum(costs) + 120)
    assert row["price"]["p50"] == usd(300)
    assert row["price"]["est_p50"] == usd(200)
    assert row["price"]["bias"] == pytest.approx(2000 / 1000 - 1)
    assert row["fail"] == 2 / 8
    assert row["timeout"] == row["cache_hit"] == 1 / 8
    unknown = rows["free"]
    assert unknown["priced"] is False
    assert unknown["price"] == {"p50": None, "est_p50": None, "bias": None}


async def test_a_frontier_and_a_gain_need_something_to_compare(path: Path, client_of: Make) -> None:
    good = [Call("dear", cost=900)]
    poor = [Call("cheap", cost=100)]
    wasted = [Call("dear", cost=900), Call("waste", cost=900)]
    about = [{"task": "x", "quality": 0.9}] * 3 + [{"task": "x", "quality": 0.5}] * 3 + [{"task": "x", "quality": 0.8}]
    ids = fill(path, *[good] * 3, *[poor] * 3, wasted, about=about)
    found = await ask(client_of(path), "/tools", **SPAN)
    rows = {row["name"]: row for row in found["items"]}
    assert (found["runs"], found["frontier_runs"]) == (7, 6)
    assert rows["dear"]["use"] == 4 / 7
    assert [rows[name]["frontier"] for name in ("dear", "cheap", "waste")] == [3 / 6, 3 / 6, 0]
    gain = rows["dear"]["quality"]
    assert gain["gain"] == pytest.approx((3 * 0.9 + 0.8) / 4 - 0.5)
    assert (gain["source"], gain["n_with"], gain["n_without"]) == ("predicted", 4, 3)
    assert rows["waste"]["quality"] is None  # one run says nothing
    store = RunStore(path)
    for id_, value in zip(ids, (0.2, 0.2, 0.2, 0.6, 0.6, 0.6, 0.1), strict=True):
        store.database.write(lambda c, i=id_, v=value: scores.put(c, i, v, by="me", now_ns=1))  # type: ignore[misc]
    store.close()
    rows = {row["name"]: row for row in (await ask(client_of(path), "/tools", **SPAN))["items"]}
    assert rows["dear"]["quality"]["source"] == "measured"
    assert rows["dear"]["quality"]["gain"] == pytest.approx((3 * 0.2 + 0.1) / 4 - 0.6)
    assert rows["dear"]["frontier"] == 0  # now the cheap plan is better, too


async def test_the_page_of_a_tool_is_its_calls(path: Path, client_of: Make) -> None:
    calls = [
        Call(cost=100 * (k + 1), est=100 * (k % 3 + 1), held=250, ms=10.0 * (k + 1), size=2**k, at_ns=NOON + k * DAY)
        for k in range(8)
    ]
    late = NOON + 9 * DAY
    broken = [Call(outcome="error", error="Broken", version="2", at_ns=late + k) for k in range(2)]
    ids = fill(path, calls, broken[:1], broken[1:])
    page = await ask(client_of(path), "/tools/t", **SPAN)
    assert [day["day"] for day in page["history"]] == [f"2026-01-{k:02d}" for k in (1, 2, 3, 4, 5, 6, 7, 8, 10)]
    assert sum(day["n"] for day in page["history"]) == page["summary"]["n"] == page["sample"] == 10
    assert sum(Decimal(day["cost"]) for day in page["history"]) == Decimal(page["summary"]["cost"])
    assert page["history"][4]["price_p50"] == usd(500)
    assert page["history"][8]["price_p50"] is None
    assert page["history"][4]["p50_ms"] == pytest.approx(50, rel=0.1)
    assert [(level["from"], level["to"], level["price_p50"]) for level in page["sizes"]] == [
        (2**k, 2 ** (k + 1) - 1, usd(100 * (k + 1))) for k in range(8)
    ]
    told = page["calibration"]["cost"]
    assert [one["n"] for one in told["bins"]] == [3, 3, 2]
    assert [one["predicted"] for one in told["bins"]] == [usd(100), usd(200), usd(300)]
    assert [one["actual"] for one in told["bins"]] == [usd(400), usd(500), usd(450)]
    assert told["bias"] == pytest.approx(3600 / 1500 - 1)
    assert told["coverage"] == 2 / 8
    times = page["calibration"]["ms"]
    assert (times["n"], times["coverage"], times["bounded"]) == (8, 1.0, 8)
    assert times["bias"] == pytest.approx(360 / 800 - 1)
    assert {one["version"]: one["n"] for one in page["versions"]} == {"1": 8, "2": 2}
    (error,) = page["errors"]
    assert (error["type"], error["n"], error["run"], error["step"]) == ("Broken", 2, ids[2], "s0")
    assert [call["run"] for call in page["latest"]] == [ids[2], ids[1], *[ids[0]] * 8]
    alone = await ask(client_of(path), "/tools/t", **{"from": "2026-01-03", "to": "2026-01-03"})
    assert alone["summary"]["n"] == 1
    empty = await ask(client_of(path), "/tools/t", **{"from": "2025-01-03", "to": "2025-01-03"})
    assert empty["summary"] is None
    assert empty["latest"] == []
    gone = await client_of(path).get("/api/v1/tools/nothing")
    assert gone.status_code == 404
    assert "nothing" in gone.json()["detail"]


async def test_what_the_catalogue_declares_is_told_apart(filled: Path, client_of: Make) -> None:
    client = client_of(filled, agent_for=lambda store: Agent([hostile, short], store=store, planner="search"))
    rows = {row["name"]: row for row in (await ask(client, "/tools"))["items"]}
    assert rows["hostile"]["rule"] == "$0.001 a call"
    assert rows["up"]["rule"] is None  # measured once, but not a tool of this server
    page = await ask(client, "/tools/hostile")
    assert page["declared"]["signature"] == "hostile(text: text) -> text"
    (other,) = page["alternatives"]
    assert (other["name"], other["same_signature"], other["price"]) == ("short", True, "$0.002 a call")
    assert other["measured"]["price"]["p50"] == "0.002"


async def test_a_server_without_a_catalogue_still_shows_what_was_measured(filled: Path, client_of: Make) -> None:
    def broken(_: RunStore) -> Agent:
        raise RuntimeError("no agent here")

    client = client_of(filled, agent_for=broken)
    assert {row["rule"] for row in (await ask(client, "/tools"))["items"]} == {None}
    page = await ask(client, "/tools/hostile")
    assert page["declared"] is None
    assert page["alternatives"] == []


async def test_days_must_make_sense(filled: Path, client_of: Make) -> None:
    client = client_of(filled)
    for query in ({"from": "0001-01-01"}, {"to": "9999-12-31"}, {"from": "2026-02-02", "to": "2026-02-01"}):
        for path in ("/tools", "/tools/hostile", "/spend"):
            answer = await client.get(f"/api/v1{path}", params=query)
            assert answer.status_code == 422, (path, query, answer.text)


def test_prices_are_told_without_what_tools_work_with(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs.db")
    record(store, [Call()], new_run(new_run_id()))
    store.close()
    code = """
import asyncio, sys, httpx
from catp.dashboard.app import create_app

async def main():
    app = create_app(sys.argv[1])
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        for path in ("tools", "tools/t", "settings/prices", "spend", "budgets"):
            answer = await client.get(f"/api/v1/{path}", params={"from": "2026-01-01"})
            assert answer.status_code == 200, answer.text
        assert len((await client.get("/api/v1/settings/prices")).json()["items"]) > 10
    print([name for name in ("torch", "numpy", "cv2", "onnxruntime") if name in sys.modules])

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "runs.db")], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"
