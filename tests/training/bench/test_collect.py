"""Collecting on the real tools: money and time that add up, shared calls made once, the same content every time."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import networkx as nx
import pytest

from catp.planlang.digest import digest
from catp.planlang.parser import parse
from catp.tools.catalogue import Catalogue
from catp.tools.errors import ToolFailed
from catp.tools.spec import BackendResult
from catp.training.bench.collect import Collector, Counted
from catp.training.bench.families import FAMILIES
from catp.training.bench.finish import content_digest
from catp.training.bench.grading import score_of
from catp.training.bench.joins import bench_catalogue
from catp.training.bench.live import Live
from catp.training.bench.tasks import Task, generate
from catp.training.data.canonical import canonical_plan
from catp.training.data.trajectory import Trajectory

pytestmark = [pytest.mark.zoo, pytest.mark.xdist_group("bench-collect")]

NAMES = ("text-language-mood", "photo-clean", "texts-tally")


def family(name: str) -> Task:
    return next(iter(generate(0, families=[one for one in FAMILIES if one.id == name], share=0.001)))


@pytest.fixture(scope="module")
def catalogue() -> Iterator[Catalogue]:
    found = bench_catalogue()
    yield found
    asyncio.run(found.close())


@pytest.fixture(scope="module")
def collected(catalogue: Catalogue) -> dict[str, tuple[list[Trajectory], Counted]]:
    async def go() -> dict[str, tuple[list[Trajectory], Counted]]:
        collector = Collector(catalogue)
        return {name: await collector.collect(family(name)) for name in NAMES}

    return asyncio.run(go())


@pytest.mark.parametrize("name", NAMES)
def test_prices_times_and_scores_add_up(name: str, collected: dict[str, tuple[list[Trajectory], Counted]]) -> None:
    records, _ = collected[name]
    task = family(name)
    assert 4 <= len(records) <= 40
    assert len({record.plan.canonical_hash for record in records}) == len(records)
    for record in records:
        outcome = record.outcome
        assert outcome.status == "ok"
        assert outcome.price_usd == sum(event.price_usd for event in record.events if event.price_usd is not None) > 0
        assert outcome.quality_parts is not None
        assert outcome.score == score_of(task, outcome.quality_parts)
        took = {node.id: 0.0 for node in record.plan.nodes}
        for event in record.events:
            took[event.node] = max(took[event.node], event.end_ms - event.start_ms)
        graph: nx.DiGraph[str] = nx.DiGraph()
        graph.add_nodes_from(took)
        graph.add_edges_from((edge[0], edge[1]) for edge in record.plan.edges if edge[0] in took)
        longest = dict.fromkeys(graph, 0.0)
        for node in nx.topological_sort(graph):
            before = max((longest[parent] for parent in graph.predecessors(node)), default=0.0)
            longest[node] = before + took[node]
        assert outcome.latency_ms == pytest.approx(max(longest.values()), abs=0.01)
        assert outcome.serial_ms == pytest.approx(sum(e.end_ms - e.start_ms for e in record.events), abs=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_plans_are_canonical_and_read_back(
    name: str, catalogue: Catalogue, collected: dict[str, tuple[list[Trajectory], Counted]]
) -> None:
    for record in collected[name][0]:
        assert record.plan.text is not None
        plan = parse(record.plan.text)
        assert digest(plan) == record.plan.canonical_hash == digest(canonical_plan(plan, catalogue.view()))
        assert record.policy.name == "search" or (record.policy.propensity or 0) > 0


def test_a_call_that_plans_share_is_made_once(collected: dict[str, tuple[list[Trajectory], Counted]]) -> None:
    records, took = collected["text-language-mood"]
    made = {(event.tool, event.price_usd, event.cpu_ms) for record in records for event in record.events}
    events = sum(len(record.events) for record in records)
    assert took.calls - took.cold >= len(made)
    assert took.shared == events - (took.calls - took.cold) > 0
    assert took.plans == len(records)


def test_the_same_content_again(catalogue: Catalogue, collected: dict[str, tuple[list[Trajectory], Counted]]) -> None:
    again, _ = asyncio.run(Collector(catalogue).collect(family("photo-clean")))
    assert content_digest(again) == content_digest(collected["photo-clean"][0])
    other = asyncio.run(Collector(catalogue, seed=1).collect(family("photo-clean")))[0]
    assert content_digest(other) != content_digest(again)


def test_any_plan_can_be_run_on_a_task(
    catalogue: Catalogue, collected: dict[str, tuple[list[Trajectory], Counted]]
) -> None:
    known = collected["texts-tally"][0][0]
    assert known.plan.text is not None
    live = Live({known.candidate_set: family("texts-tally")}, catalogue)
    option = asyncio.run(live(known.candidate_set, parse(known.plan.text)))
    assert option is not None
    assert option.plan == known.plan.canonical_hash
    assert option.score == known.outcome.score
    assert asyncio.run(live("nobody-000", parse(known.plan.text))) is None


class _Broken:
    """A backend whose calls fail, or give something else."""

    def __init__(self, answer: Callable[[], Any]) -> None:
        self.answer = answer

    async def call(self, args: Any, *, timeout: float) -> BackendResult:
        del args, timeout
        value: BackendResult = self.answer()
        return value

    async def close(self) -> None: ...


def test_a_tool_that_fails_costs_the_plan_its_output(catalogue: Catalogue) -> None:
    def fail() -> Any:
        raise ToolFailed("sentiment_vader", "out of order")

    broken = Catalogue(
        [replace(spec, backend=_Broken(fail)) if spec.name == "sentiment_vader" else spec for spec in catalogue],
        catalogue.profiles,
    )
    records, _ = asyncio.run(Collector(broken).collect(family("text-language-mood")))
    failed = [record for record in records if "sentiment_vader" in {node.tool for node in record.plan.nodes}]
    assert failed
    assert len(failed) < len(records)
    for record in failed:
        assert record.outcome.status == "degraded"
        assert (record.outcome.quality_parts or {})["sentiment"] == 0.0
        assert [event.status for event in record.events if event.tool == "sentiment_vader"] == ["error"]
