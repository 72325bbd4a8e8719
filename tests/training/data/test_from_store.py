"""Real runs in a real store become trajectories that the validator accepts, with prices that equal the ledger."""

import asyncio
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from catp.agent import Agent
from catp.planlang.digest import digest
from catp.planlang.money import NANO_PER_USD
from catp.planlang.parser import parse
from catp.result import RunCancelled, RunResult
from catp.runtime.events import RunEvent
from catp.store.scores import put
from catp.store.store import RunStore
from catp.tools import Catalogue, PerCall, tool
from catp.training.data import files
from catp.training.data.from_store import export, trajectories
from catp.training.data.toolset import Toolset
from catp.training.data.trajectory import Trajectory
from catp.training.data.validate import validate
from tests.durable import shop

CATALOGUE = Catalogue(shop.TOOLS)
TOOLS = Toolset.of(CATALOGUE, "shop")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shop.use(tmp_path / "world.txt")
    return tmp_path


def agent(folder: Path, **options: Any) -> Agent:
    return Agent(CATALOGUE, store=folder / "runs.db", **{"budget": "1", **options})


def exported(folder: Path, toolset: Toolset | None = TOOLS, **options: Any) -> list[Trajectory]:
    """Export, check that the validator accepts the file, and that every record's prices are its run's ledger."""
    store = RunStore(folder / "runs.db")
    path = folder / "runs.jsonl"
    records = list(trajectories(store, toolset=toolset, **options))
    assert export(store, path, toolset=toolset, **options) == len(records)
    assert list(files.read(path)) == records
    (folder / "toolset.json").unlink(missing_ok=True)
    if toolset is not None:
        toolset.save(folder / "toolset.json")
    if records:
        report = validate([path])
        assert report.ok, [str(finding) for finding in report.findings]
    for record in records:
        run = store.get(record.trajectory_id)
        rows = [row["amount_nano"] for row in run.costs if row["kind"] != "planning"]
        planning = sum(row["amount_nano"] for row in run.costs if row["kind"] == "planning")
        prices = [event.price_usd for event in record.events]
        known = sum((price for price in prices if price is not None), Decimal(0))
        if None not in rows:
            assert known * NANO_PER_USD == sum(rows) == run.summary.cost - planning
            assert record.outcome.price_usd == known
        else:
            assert record.outcome.price_usd is None
        score = run.summary.quality
        assert (record.outcome.score, record.outcome.metric) == (score, None if score is None else "judged")
    store.close()
    return records


async def test_retries_maps_fallbacks_and_joins(folder: Path) -> None:
    async with agent(folder, alpha=0.7) as one:
        result = await one.run(parse(shop.PLAN), {"page": "p1"})
    assert result.status == "complete"
    (record,) = exported(folder, price_scale=Decimal("0.05"))
    assert record.trajectory_id == result.run_id
    assert record.outcome.status == "ok"
    assert record.request.text is None  # a plan was given, no task
    assert record.request.wanted == ["text", "text", "list[text]"]
    assert record.request.outputs == ["report", "mail", "posts"]
    assert record.request.inputs[0].size == {"chars": 2}
    assert record.objective.model_dump() == {
        "alpha": 0.7, "budget_usd": Decimal("1"), "deadline_ms": None, "price_scale_usd": Decimal("0.05"),
    }  # fmt: skip
    assert record.policy.name == "given"
    assert record.plan.canonical_hash == digest(parse(shop.PLAN))
    edges = {(edge[0], edge[1]) for edge in record.plan.edges}
    assert {("tags", "report"), ("sums", "report"), ("gate", "extra"), ("page", "raw")} <= edges
    told = {(e.node, e.element, e.attempt, e.tool, e.status) for e in record.events}
    assert {
        ("tags", 2, 1, "tag", "error"), ("sums", 1, 1, "summarise", "error"), ("sums", 1, 2, "summarise", "ok"),
        ("fact", None, 3, "flaky", "ok"), ("best", None, 1, "broken", "error"), ("best", None, 2, "spare", "ok"),
    } <= told  # fmt: skip
    assert not any(event.node == "plain" for event in record.events)  # its condition was false
    assert len(record.events) == len(result.ledger)
    assert record.outcome.latency_ms is not None
    assert 0 < record.outcome.latency_ms <= result.wall_ms


async def test_runs_of_equal_task_and_inputs_are_one_set(folder: Path) -> None:
    plan = "in page: text\nraw = fetch(page)\nparts = split(raw)\nout parts"
    async with agent(folder) as one:
        for page in ("a", "b", "a"):
            await one.run(parse(plan), {"page": page})
        await one.run("Fetch it.", {"page": "a"}, wanted={"text": "text"})
    records = exported(folder)
    sets = [record.candidate_set for record in records]
    assert len(sets) == 4
    assert len(set(sets)) == 3
    assert sets == sorted(sets, key=sets.index)  # together
    assert len({record.group for record in records}) == 2
    asked = next(record for record in records if record.request.text == "Fetch it.")
    assert asked.policy.name not in (None, "given")
    assert [record.trajectory_id for record in records if record.candidate_set == sets[0]] == sorted(
        record.trajectory_id for record in records if record.candidate_set == sets[0]
    )
    digests = {record.request.inputs[0].sha256 for record in records}
    assert len(digests) == 2
    assert None not in digests
    assert exported(folder, toolset=None)[0].request.wanted == []
    assert exported(folder, project="another") == []


async def test_a_resumed_run(folder: Path) -> None:
    def stop(event: RunEvent) -> None:
        if event.step == "best" and event.type == "node.finished":
            running.cancel()

    async with agent(folder) as one:
        running: asyncio.Task[RunResult] = asyncio.ensure_future(
            one.run(parse(shop.PLAN), {"page": "p1"}, on_event=stop)
        )
        with pytest.raises(RunCancelled) as caught:
            await running
        run_id = caught.value.result.run_id
        (before,) = exported(folder)
        assert before.outcome.status == "cancelled"
        await asyncio.sleep(0.3)  # nobody drives it
        result = await one.resume(run_id, in_flight="again")
        assert result.status == "complete"
    (record,) = exported(folder)
    assert record.outcome.status == "ok"
    assert record.provenance.notes == "resumed 1 times"
    assert len(record.events) > len(before.events)
    assert max(event.end_ms for event in record.events) < 300 + (record.outcome.serial_ms or 0)


async def test_a_fork_takes_over_what_it_did_not_run(folder: Path) -> None:
    async with agent(folder) as one:
        first = await one.run(parse(shop.PLAN), {"page": "p1"})
        fork = await one.fork(first.run_id, from_step="report")
    records = {record.trajectory_id: record for record in exported(folder)}
    record = records[fork.run_id]
    assert record.provenance.notes == f"forked from {first.run_id} at report"
    kept = {event.node for event in record.events if event.status == "cached"}
    assert {"raw", "parts", "best"} <= kept
    assert [event.node for event in record.events if event.status == "ok"] == ["report"]
    assert record.outcome.price_usd == Decimal("0.01")
    assert record.candidate_set == records[first.run_id].candidate_set


async def test_cached_calls_are_free(folder: Path) -> None:
    plan = "in page: text\nraw = fetch(page) @cache(1h)\nout raw"
    async with agent(folder, cache=True) as one:
        await one.run(parse(plan), {"page": "a"})
        await one.run(parse(plan), {"page": "a"})
    first, second = exported(folder)
    assert [(e.status, e.price_usd) for e in first.events] == [("ok", Decimal("0.01"))]
    assert [(e.status, e.price_usd) for e in second.events] == [("cached", Decimal(0))]


@tool(price=PerCall("0.003"))
async def breaks(text: str) -> str:
    """Fail."""
    raise RuntimeError(f"no {text}")


@tool(price=PerCall("0.004"), timeout=0.05)
async def hangs(text: str) -> str:
    """Never end."""
    await asyncio.sleep(3600)
    return text


@tool
async def odd(text: str) -> str:
    """Of unknown price."""
    return text


@dataclass(frozen=True)
class Box:
    """A box."""

    name: str
    parts: list[str]


@tool(price=PerCall("0.001"))
async def box(page: Image.Image, name: str) -> Box:
    """Make a box."""
    return Box(name, [str(page.size)])


OTHER = Catalogue([breaks, hangs, odd, box])


async def test_failures_and_what_nobody_knows(folder: Path) -> None:
    text = "in text: text\na = TOOL(text)\nout a"
    async with Agent(OTHER, store=folder / "runs.db") as one:
        for name in ("breaks", "hangs", "odd"):
            await one.run(parse(text.replace("TOOL", name)), {"text": "x"})
        await one.run(
            parse('in pages: list[image]\na = box(each pages, name="b")\nout first = a[0].parts, names = a.name'),
            {"pages": [Image.new("L", (10, 20)), Image.new("L", (10, 10))]},
        )
    records = {record.plan.nodes[0].tool: record for record in exported(folder, Toolset.of(OTHER, "other"))}
    failed, late = records["breaks"], records["hangs"]
    assert (failed.outcome.status, failed.events[0].status) == ("failed", "error")
    assert failed.outcome.price_usd == Decimal("0.003")
    assert "no x" in (failed.events[0].error or "")
    assert (late.outcome.status, late.events[0].status) == ("failed", "timeout")
    assert records["odd"].outcome.price_usd is None
    boxed = records["box"]
    assert boxed.request.inputs[0].size == {"pixels": 150, "items": 2}
    assert boxed.request.wanted == ["list[text]", "list[text]"]
    assert [event.element for event in boxed.events] == [0, 1]
    assert boxed.plan.nodes[0].args == {"name": "b"}


async def test_running_and_interrupted_runs_are_left_out(folder: Path) -> None:
    async with agent(folder) as one:
        await one.run(parse(shop.PLAN), {"page": "p1"})
    store = RunStore(folder / "runs.db")
    store.database.write(lambda c: c.exec_driver_sql("UPDATE runs SET status = 'running', ended_ns = NULL"))
    store.close()
    assert exported(folder) == []


async def test_a_run_that_somebody_scored_has_that_score(folder: Path) -> None:
    async with agent(folder) as one:
        plan = parse("in page: text\nraw = fetch(page)\nout raw")
        runs = [(await one.run(plan, {"page": page})).run_id for page in ("a", "b")]
    store = RunStore(folder / "runs.db")
    store.database.write(partial(put, run_id=runs[0], value=0.25, by="me", now_ns=1))
    store.close()
    assert {record.trajectory_id: record.outcome.score for record in exported(folder)} == {runs[0]: 0.25, runs[1]: None}


async def test_a_store_named_by_its_path(folder: Path) -> None:
    async with agent(folder) as one:
        await one.run(parse("in page: text\nraw = fetch(page)\nout raw"), {"page": "a"})
    assert export(folder / "runs.db", folder / "out.jsonl.gz") == 1
    record = next(files.read(folder / "out.jsonl.gz"))
    assert record.toolset.id == "unknown"  # type: ignore[union-attr]
    assert record.plan.edges == [["page", "raw"]]  # without the toolset nobody knows which parameter that is


@tool(price=PerCall("0.005"), accuracy=0.9, capability="box")
async def box_broken(scan: str) -> Box:
    """Make a box, in vain."""
    raise RuntimeError("no box today")


@tool(price=PerCall("0.01"), accuracy=0.8, capability="box")
async def box_spare(scan: str) -> Box:
    """Make a box another way."""
    return Box(scan, [])


async def test_a_run_whose_plan_was_changed(folder: Path) -> None:
    """The graph has the steps of both plans, so that every call that was paid for has its step."""
    plan = "in page: text\ngist = box_broken(page)\nout gist"
    async with Agent([box_broken, box_spare], store=folder / "runs.db", repair=2, budget="1") as one:
        result = await one.run(parse(plan), {"page": "p"})
    assert result.status == "complete"
    (record,) = exported(folder, Toolset.of(Catalogue([box_broken, box_spare]), "boxes"))
    assert {event.tool for event in record.events} == {"box_broken", "box_spare"}
    assert record.outcome.price_usd == Decimal("0.015")
    assert record.plan.text is None
    assert record.provenance.notes == "plan changed 1 times"
    assert record.request.wanted == ["Box"]
