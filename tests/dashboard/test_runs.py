"""Runs, nodes and values over HTTP, and that every figure is the sum of its ledger rows."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catp.dashboard.read.run_page import run_page
from catp.store.audit import audit
from catp.store.store import RunStore
from tests.dashboard.conftest import HOSTILE
from tests.store.recording import call_events, created, finished, new_run

Make = Callable[..., httpx.AsyncClient]


async def get(client: httpx.AsyncClient, path: str, **query: Any) -> Any:
    answer = await client.get(f"/api/v1{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_pages_hold_every_run_once_newest_first(filled: Path, client_of: Make) -> None:
    client = client_of(filled)
    whole = await get(client, "/runs")
    assert len(whole["items"]) == whole["total_estimate"] == 3
    assert whole["next"] is None
    seen, cursor = [], None
    while True:
        page = await get(client, "/runs", limit=1, **({"cursor": cursor} if cursor else {}))
        seen += [run["id"] for run in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == [run["id"] for run in whole["items"]] == sorted(seen, reverse=True)


async def test_filters_and_facets_agree(filled: Path, client_of: Make) -> None:
    client = client_of(filled)
    counts = await get(client, "/runs/facets")
    assert sum(n for _, n in counts["status"]) == 3
    for name, key in (("status", "status"), ("policy", "policy"), ("tool", "tool"), ("project", "project")):
        for value, n in counts[key]:
            assert len((await get(client, "/runs", **{name: value}))["items"]) == n, (name, value)
    assert dict(counts["tool"])["hostile"] == 2
    dear = await get(client, "/runs", cost_min="0.01")
    cheap = await get(client, "/runs", cost_max="0.009999999")
    assert len(dear["items"]) + len(cheap["items"]) == 3
    assert all(Decimal(run["cost"]["amount"]) >= Decimal("0.01") for run in dear["items"])
    assert (await get(client, "/runs", q="%"))["items"] == []
    assert len((await get(client, "/runs", q="WORDS"))["items"]) == 1
    assert (await get(client, "/runs", to="2001-01-01"))["items"] == []
    for bad in ({"cost_min": "much"}, {"from": "soon"}, {"limit": 0}, {"cost_min": "9" * 29}):
        answer = await client.get("/api/v1/runs", params=bad)
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_run_is_the_sum_of_its_nodes_and_of_its_ledger(filled: Path, client_of: Make) -> None:
    client = client_of(filled)
    for row in (await get(client, "/runs"))["items"]:
        run = await get(client, f"/runs/{row['id']}")
        assert {key: run[key] for key in row} == row
        total = Decimal(row["cost"]["amount"])
        parts = [Decimal(node["actual"]["cost"] or 0) for node in run["nodes"]]
        assert sum(parts) + Decimal(run["planning"]["cost"]) == total
        exported = await get(client, f"/runs/{row['id']}/export")
        assert sum(Decimal(line["amount"] or 0) for line in exported["ledger"]) == total
        assert sum(line["amount"] is None for line in exported["ledger"]) == row["cost"]["unpriced"]
        for node in run["nodes"]:
            page = await get(client, f"/runs/{row['id']}/nodes/{node['id']}")
            lines = [line for line in exported["ledger"] if line["step"] == node["id"]]
            assert page["ledger"] == lines
            assert page["total"] == node["actual"]["cost"] or not lines
            by_attempt = list(page["sums"].values())
            assert sum(Decimal(one["total"] or 0) for one in by_attempt) == Decimal(page["total"] or 0)
            assert sum(one["unpriced"] for one in by_attempt) == page["unpriced"]
            assert len(page["attempts"]) == node["calls"]
    spend = await get(client, "/spend")
    assert spend["total"] == spend["ledger_total"]
    assert {(await get(client, "/spend", group=g))["total"] for g in ("policy", "project")} == {spend["total"]}
    tools = {row["name"]: row for row in (await get(client, "/tools"))["items"]}
    assert tools["hostile"]["n"] == 2
    assert tools["unpriced"]["priced"] is False


@settings(derandomize=True, deadline=None, max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(st.one_of(st.none(), st.integers(0, 10**12)), max_size=4), max_size=5))
def test_any_ledger_adds_up(tmp_path_factory: pytest.TempPathFactory, amounts: list[list[int | None]]) -> None:
    store = RunStore(tmp_path_factory.mktemp("s") / "runs.db")
    try:
        plan = "in t: text\n" + "".join(f"s{i} = up(t)\n" for i in range(len(amounts) or 1)) + "out s0\n"
        run = new_run(plan=plan)
        events, rows = [created(run)], 1
        for place, one in enumerate(amounts):
            events += call_events(run.run_id, len(events) + 1, one, step=f"s{place}", first_row=rows)
            rows += len(one)
        journal = store.begin(run)
        for event in [*events, finished(run.run_id, len(events) + 1)]:
            journal.event(event)
        store.close()
        page = store.database.read(lambda connection: run_page(connection, run.run_id, store.name))
        known = [amount for one in amounts for amount in one if amount is not None]
        total = Decimal(sum(known)) / 10**9
        assert Decimal(page["cost"]["amount"]) == Decimal(page["ledger"]["total"]) == total
        assert sum(Decimal(node["actual"]["cost"] or 0) for node in page["nodes"]) == total
        assert store.database.read(audit) == []
        for node, one in zip(page["nodes"], amounts, strict=False):
            assert node["actual"]["unpriced"] == one.count(None)
            if one and set(one) == {None}:
                assert node["actual"]["cost"] is None
        assert (page["forecast"]["p50"] is None) == any(None in one for one in amounts)
    finally:
        store.close()


async def test_structure_has_parents_times_and_no_values(filled: Path, client_of: Make) -> None:
    client = client_of(filled)
    newest = (await get(client, "/runs"))["items"][0]
    answer = await client.get(f"/api/v1/runs/{newest['id']}")
    assert "<script>" not in answer.text
    assert len(answer.content) < 10_000
    run = answer.json()
    nodes = {node["id"]: node for node in run["nodes"]}
    assert nodes["b"]["parents"] == ["a"]
    assert run["critical_path"] == ["a", "b"]
    assert nodes["a"]["slack_ms"] == 0
    assert nodes["a"]["critical"] is True
    assert run["forecast"]["p50"] == run["cost"]["amount"]
    assert run["progress"] == {"total": 2, "done": 2}
    events = await get(client, f"/runs/{newest['id']}/events")
    assert [event["seq"] for event in events["items"]] == list(range(1, run["last_seq"] + 1))
    rest = await get(client, f"/runs/{newest['id']}/events", after=run["last_seq"] - 2)
    assert rest["items"] == events["items"][-2:]


async def test_values_are_cut_and_inert(filled: Path, client_of: Make) -> None:
    client = client_of(filled)
    newest = (await get(client, "/runs"))["items"][0]["id"]
    answer = await client.get(f"/api/v1/runs/{newest}/nodes/a/io")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    io = answer.json()
    assert "hello" in io["in"][0]["text"]
    (out,) = io["out"]
    assert out["truncated"] is True
    assert "<script>alert(1)" in out["text"]
    assert len(out["text"]) == 20_000
    bytes_ = await client.get(f"/api/v1/artifacts/{out['artifact']}")
    assert "<script>" in bytes_.text
    assert bytes_.headers["content-type"] == "application/octet-stream"
    assert "sandbox" in bytes_.headers["content-security-policy"]
    assert bytes_.headers["content-disposition"].startswith("attachment")
    assert len(bytes_.content) >= len(HOSTILE)
    assert (await get(client, f"/runs/{newest}/nodes/b/io"))["in"][0]["from"] == "a"


async def test_a_corrupt_artefact_spoils_only_itself(filled: Path, client_of: Make) -> None:
    client = client_of(filled)
    newest = (await get(client, "/runs"))["items"][0]["id"]
    digest = (await get(client, f"/runs/{newest}/nodes/a/io"))["out"][0]["artifact"]
    file = filled.parent / "artifacts" / digest[:2] / digest
    file.write_bytes(b"other")
    out = (await get(client, f"/runs/{newest}/nodes/a/io"))["out"][0]
    assert out["text"] is None
    assert out["error"]
    assert (await client.get(f"/api/v1/artifacts/{digest}")).status_code == 502
    file.unlink()
    assert (await client.get(f"/api/v1/artifacts/{digest}")).status_code == 404
    for name in ("0" * 64, "..%2f..%2fruns.db", "x"):
        assert (await client.get(f"/api/v1/artifacts/{name}")).status_code == 404


async def test_plans_layout_export_and_overview(filled: Path, client_of: Make) -> None:
    client = client_of(filled)
    run = (await get(client, "/runs"))["items"][0]
    answer = await client.get(f"/api/v1/plans/{run['plan_hash']}")
    assert "immutable" in answer.headers["cache-control"]
    plan = answer.json()
    assert {"from": "a", "to": "b", "order": False} in plan["edges"]
    for way in ("LR", "TB"):
        drawn = await get(client, f"/plans/{run['plan_hash']}/layout", dir=way)
        assert set(drawn["nodes"]) == {node["id"] for node in plan["nodes"]}
        axis = 0 if way == "LR" else 1
        assert drawn["nodes"]["a"][axis] < drawn["nodes"]["b"][axis]
        assert len(drawn["edges"]) == len(plan["edges"])
    assert (await client.get("/api/v1/plans/" + "0" * 64)).status_code == 404
    table = (await client.get(f"/api/v1/runs/{run['id']}/export?format=csv")).text.splitlines()
    exported = await get(client, f"/runs/{run['id']}/export")
    assert len(table) == len(exported["ledger"]) + 1
    overview = await get(client, "/overview")
    assert sum(overview["runs"].values()) == 3
    assert overview["failures"]
    assert [one["kind"] for one in overview["needs_you"]] == ["unpriced"]


@pytest.mark.parametrize("where", ["/runs/NONE", "/runs/NONE/nodes/a", "/runs/NONE/events", "/nothing", "/runs/%25"])
async def test_what_is_not_there_is_a_problem(filled: Path, client_of: Make, where: str) -> None:
    answer = await client_of(filled).get(f"/api/v1{where}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == 404
