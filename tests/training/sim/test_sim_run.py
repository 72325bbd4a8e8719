"""Runs: times, prices, failures and price changes add up and are on record; records are valid."""

from dataclasses import replace
from decimal import Decimal
from itertools import islice
from pathlib import Path

import pytest

from catp.training.data.files import write
from catp.training.data.toolset import Toolset
from catp.training.data.trajectory import Policy, ToolsetRef, Trajectory, nano
from catp.training.data.validate import validate
from catp.training.sim.behaviour import Pool
from catp.training.sim.families import tasks
from catp.training.sim.run import Simulation
from catp.training.sim.streaming import stream
from catp.training.sim.task import Case
from catp.training.sim.world import World

pytestmark = pytest.mark.xdist_group("sim-run")


@pytest.fixture(scope="module")
def records() -> list[Trajectory]:
    return list(islice(stream(4, smallest=8, largest=60), 200))


def test_every_record_says_that_it_is_simulated(records: list[Trajectory]) -> None:
    for record in records:
        assert record.dataset.startswith("catp-sim/")
        assert (record.provenance.source or "").startswith("simulated")
        assert record.plan.text
        assert record.policy.propensity is not None
        assert Trajectory.model_validate_json(record.to_line()) == record


def test_prices_are_exact_sums_and_times_follow_the_graph(records: list[Trajectory]) -> None:
    for record in records:
        prices = [event.price_usd for event in record.events if event.price_usd is not None]
        assert len(prices) == len(record.events)
        assert record.outcome.price_usd == sum(prices, Decimal(0))
        ends: dict[str, float] = {}
        for event in record.events:
            ends[event.node] = max(ends.get(event.node, 0.0), event.end_ms)
        for event in record.events:
            before = [ends[edge[0]] for edge in record.plan.edges if edge[1] == event.node and edge[0] in ends]
            assert event.start_ms == pytest.approx(max(before, default=0.0), abs=1e-6)
        assert record.outcome.latency_ms == max(ends.values())


def test_failures_are_charged_and_poison_what_depends_on_them(records: list[Trajectory]) -> None:
    seen = 0
    for record in records:
        failed = {event.node for event in record.events if event.status == "error"}
        ran = {event.node for event in record.events}
        if failed:
            seen += 1
            assert all(nano(e.price_usd or Decimal(0)) > 0 for e in record.events if e.status == "error")
            dead = set(failed)
            for node in record.plan.nodes:
                if any(edge[0] in dead and edge[1] == node.id for edge in record.plan.edges):
                    dead.add(node.id)
                    assert node.id not in ran
            assert record.outcome.status in ("degraded", "failed")
        else:
            assert ran == {node.id for node in record.plan.nodes}
        parts = record.outcome.quality_parts or {}
        assert record.outcome.score == pytest.approx(sum(parts.values()) / len(record.request.outputs), abs=2e-6)
    assert seen >= 5


def _changed_cases() -> list[Case]:
    found = []
    for seed in range(4):
        for task in tasks(World(seed + 70, 20), 8):
            found += [case for case in (task.case(number) for number in range(8)) if case.change is not None]
    return found


def test_price_changes_in_mid_run_are_charged_from_their_moment_on_and_noted() -> None:
    changed, unchanged, steps, moments = 0, 0, 0, 0
    for case in _changed_cases():
        change = case.change
        assert change is not None
        pool, other = Pool(case, 10), Pool(replace(case, change=None), 10)
        changing, steady = Simulation(pool.space), Simulation(other.space)
        for picks, same in zip(pool.plans, other.plans, strict=True):
            record = changing.trajectory(
                picks, id="x", dataset="catp-sim/x", policy=Policy(), split=None, toolset=ToolsetRef(id="x")
            )
            assert f"price change at {'call' if change.at_call else ''}" in (record.provenance.notes or "")
            plain = steady.run(same)
            for number, (event, usual) in enumerate(zip(record.events, plain.events, strict=True), 1):
                assert (event.node, event.start_ms, event.end_ms) == (usual.node, usual.start_ms, usual.end_ms)
                assert event.price_usd is not None
                assert usual.price_usd is not None
                of = case.task.world.tool(event.tool or "").capability.name == change.capability
                late = event.start_ms >= change.at_ms if change.at_ms is not None else number >= (change.at_call or 0)
                factor = change.factor if of and late else 1.0
                assert nano(event.price_usd) == pytest.approx(nano(usual.price_usd) * factor, abs=1 + factor)
                changed, unchanged = changed + (of and late), unchanged + (of and not late)
        steps, moments = steps + (change.at_call is not None), moments + (change.at_ms is not None)
    assert min(changed, unchanged, steps, moments) > 5


def test_streams_are_reproducible_and_valid(tmp_path: Path, records: list[Trajectory]) -> None:
    again = list(islice(stream(4, smallest=8, largest=60), 60))
    assert [r.to_line() for r in again] == [r.to_line() for r in records[:60]]
    assert next(stream(5)).to_line() != again[0].to_line()
    (tmp_path / "toolsets").mkdir()
    for id_ in {toolset_of(record) for record in records}:
        seed, size = id_.removeprefix("catp-sim-w").split("-")
        Toolset.of(World(int(seed), int(size)).catalogue(), id_).save(tmp_path / "toolsets" / f"{id_}.json")
    write(tmp_path / "all.jsonl.gz", records)
    report = validate(tmp_path / "all.jsonl.gz")
    assert report.total == 0, report.findings
    assert report.records == len(records)
    assert not report.notes


def toolset_of(record: Trajectory) -> str:
    return record.toolset if isinstance(record.toolset, str) else record.toolset.id
