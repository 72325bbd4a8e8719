"""What the page of a run asks as it goes on: figures of what moved, the spend curve, prices of a node, old events."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx

from catp.agent import Agent
from catp.planlang.parser import parse
from catp.runtime.events import RunEvent
from catp.runtime.ids import new_run_id
from catp.store.store import RunStore
from catp.tools import PerCall, tool
from tests.dashboard.conftest import hostile, short
from tests.store.recording import call_events, created, drive, finished, new_run, plan_of

Make = Callable[..., httpx.AsyncClient]


@tool(price=PerCall("0.003"))
async def other(text: str) -> str:
    """Takes and gives what `short` does."""
    return text


@tool(price=PerCall("0.003"))
async def number_of(text: str) -> int:
    """Gives something else."""
    return len(text)


@tool(price=PerCall("0.003"))
async def two(text: str, more: str) -> str:
    """Needs something else."""
    return text


@tool(price=PerCall("0.003"), effects="write")
async def acts(text: str) -> str:
    """Changes the world, which nobody should put in by a click."""
    return text


def agent_for(store: RunStore) -> Agent:
    return Agent([hostile, short, other, number_of, two, acts], store=store)


async def get(client: httpx.AsyncClient, path: str, **query: Any) -> Any:
    answer = await client.get(f"/api/v1{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_figures_have_what_moved_and_sum_to_the_whole(path: Path, client_of: Make) -> None:
    run = new_run(plan="in t: text\na = up(t)\nb = up(a)\nc = up(b)\nout c\n")
    client = client_of(path)
    store = RunStore(path)
    journal = store.begin(run)
    events = [created(run), *call_events(run.run_id, 2, [5_000_000], step="a")]
    events += call_events(run.run_id, 6, [7_000_000, None], step="b", first_row=2)
    for event in events[:5]:
        journal.event(event)
    await journal.durable()
    whole = await get(client, f"/runs/{run.run_id}")
    known = {node["id"]: node for node in whole["nodes"]}
    for event in events[5:]:
        journal.event(event)
    journal.event(finished(run.run_id, 10, status="failed"))
    await journal.durable()
    moved = await get(client, f"/runs/{run.run_id}/figures", since=whole["last_seq"])
    assert [node["id"] for node in moved["nodes"]] == ["b"]
    known |= {node["id"]: node for node in moved["nodes"]}
    for name, (slack, starts) in moved["times"].items():
        known[name] |= {"slack_ms": slack, "starts_ms": starts, "critical": name in moved["critical_path"]}
    again = await get(client, f"/runs/{run.run_id}")
    assert list(known.values()) == again["nodes"]
    assert {key: moved[key] for key in again} == {**again, "nodes": moved["nodes"]}
    assert again["ledger"]["total"] == "0.012"
    assert [p["hash"] for p in again["plans"]] == [run.plan_hash]
    assert again["now_ms"] is None
    await journal.close()
    store.close()


async def test_the_spend_curve_adds_up_to_the_ledger(filled: Path, client_of: Make) -> None:
    client = client_of(filled)
    for row in (await get(client, "/runs"))["items"]:
        curve = await get(client, f"/runs/{row['id']}/spend")
        whole = await get(client, f"/runs/{row['id']}")
        assert sum(Decimal(amount) for _, amount in curve["points"]) == Decimal(whole["ledger"]["total"])
        assert curve["total"] == whole["ledger"]["total"]
        assert curve["unpriced"] == whole["cost"]["unpriced"]
        times = [ms for ms, _ in curve["points"]]
        assert times == sorted(times)
        ends = [node["actual"]["end_ms"] for node in whole["nodes"] if node["actual"]["cost"]]
        assert times[-1] <= max(ends) + 1


async def test_the_end_of_a_live_run_is_expected(path: Path, client_of: Make) -> None:
    gate = asyncio.Event()

    @tool(price=PerCall("0.002"))
    async def waits(text: str) -> str:
        await gate.wait()
        return text

    told: list[str] = []
    client = client_of(path)
    async with Agent([waits, short], store=path, budget="1") as bot:
        plan = parse("in t: text\na = short(t)\nb = waits(a)\nc = short(b)\nout c\n")
        run = asyncio.create_task(bot.run(plan, {"t": "x"}, on_event=lambda event: told.append(event.run_id)))
        async with asyncio.timeout(60):
            while True:
                page = (await client.get(f"/api/v1/runs/{told[0]}")).json() if told else {}
                if [node["status"] for node in page.get("nodes", [])] == ["ok", "running", "pending"]:
                    break
                await asyncio.sleep(0.05)
        nodes = {node["id"]: node for node in page["nodes"]}
        assert page["status"] == "running"
        assert 0 < page["now_ms"] <= page["ends_ms"]
        assert nodes["c"]["starts_ms"] >= page["now_ms"]
        assert nodes["a"]["starts_ms"] is None
        assert Decimal(page["forecast"]["p50"]) >= Decimal("0.004")
        gate.set()
        await run
    page = await get(client, f"/runs/{told[0]}")
    assert page["ends_ms"] is None
    assert page["forecast"]["p50"] == page["cost"]["amount"] == "0.006"


async def test_a_node_has_its_prices_and_tools_that_fit(filled: Path, client_of: Make) -> None:
    client = client_of(filled, agent_for=agent_for)
    run = (await get(client, "/runs"))["items"][0]["id"]
    node = await get(client, f"/runs/{run}/nodes/b")
    assert "0.002" in node["prices"]["short"]
    assert [one["tool"] for one in node["alternatives"]] == ["hostile", "other"]
    known, never = node["alternatives"]
    assert (known["cost"], known["n"]) == ("0.001", 1)  # what it cost in the other run
    assert (never["cost"], never["n"], never["ms"]) == (None, 0, None)
    assert "0.003" in never["price"]
    strange = await get(client_of(filled), f"/runs/{run}/nodes/b")  # a server without these tools
    assert strange["prices"] == {"short": None}
    assert strange["alternatives"] == []

    def broken(store: RunStore) -> Agent:
        raise RuntimeError("no such model")

    shown = await get(client_of(filled, agent_for=broken), f"/runs/{run}/nodes/b")
    assert (shown["prices"], shown["alternatives"], shown["ledger"]) == ({}, [], node["ledger"])


async def test_attempts_are_spans_of_a_node(path: Path, client_of: Make) -> None:
    store = RunStore(path)
    run_id = new_run_id()
    journal = store.begin(plan_of(run_id))
    await drive(journal, run_id)
    await journal.close()
    store.close()
    nodes = {node["id"]: node for node in (await get(client_of(path), f"/runs/{run_id}"))["nodes"]}
    assert [(span[0], span[3]) for span in nodes["c"]["spans"]] == [(1, "error"), (2, "ok")]
    assert nodes["c"]["spans"][0][2] <= nodes["c"]["spans"][1][1]
    assert len(nodes["b"]["spans"]) == 3  # one for each element
    assert nodes["d"]["spans"] == []


async def test_events_are_read_backwards(filled: Path, client_of: Make) -> None:
    client = client_of(filled)
    run = (await get(client, "/runs"))["items"][0]["id"]
    every = (await get(client, f"/runs/{run}/events"))["items"]
    before = every[-1]["seq"] + 1
    seen: list[Any] = []
    while before > 1:
        page = (await get(client, f"/runs/{run}/events", before=before, limit=3))["items"]
        assert 1 <= len(page) <= 3
        seen = page + seen
        before = page[0]["seq"]
    assert seen == every


async def test_json_is_shown_a_member_a_line(path: Path, client_of: Make) -> None:
    @tool(price=PerCall("0.001"))
    async def records(text: str) -> dict[str, int]:
        return {"n": 41}

    async with Agent([records], store=path, budget="1") as bot:
        result = await bot.run(parse("in t: text\na = records(t)\nout a\n"), {"t": "x"})
    (out,) = (await get(client_of(path), f"/runs/{result.run_id}/nodes/a/io"))["out"]
    assert '\n  "n": 41' in out["text"]


async def test_a_repaired_run_has_all_its_plans(path: Path, client_of: Make) -> None:
    run, store, client = new_run(plan="in t: text\na = up(t)\nb = up(a)\nout b\n"), RunStore(path), client_of(path)
    later = "in t: text\na = up(t)\nc = up(a)\nd = up(c)\nout d\n"
    journal = store.begin(run)
    events = [created(run), *call_events(run.run_id, 2, [1_000_000], step="a")]
    events += call_events(run.run_id, 6, [2_000_000], step="b", first_row=2)
    events += [RunEvent(10, run.run_id, 4 * 10**9, "run.replanned", data={"plan": "f" * 64, "source": later})]
    for event in [*events, *call_events(run.run_id, 11, [4_000_000], step="c", first_row=3)]:
        journal.event(event)
    await journal.close()
    store.close()
    page = await get(client, f"/runs/{run.run_id}")
    assert [plan["hash"] for plan in page["plans"]] == [run.plan_hash, "f" * 64]
    assert page["plan_hash"] == "f" * 64
    assert [(node["id"], node["in_plan"]) for node in page["nodes"]] == [
        ("a", True), ("c", True), ("d", True), ("b", False)
    ]  # fmt: skip
    assert sum(Decimal(node["actual"]["cost"] or 0) for node in page["nodes"]) == Decimal(page["cost"]["amount"])
    for plan in page["plans"]:
        assert (await get(client, f"/plans/{plan['hash']}"))["nodes"]
