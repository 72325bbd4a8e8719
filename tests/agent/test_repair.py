"""Repair: the rest is planned anew, nothing finished is paid twice, and nothing fails the same way forever."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from catp.agent import Agent
from catp.planlang.money import usd
from catp.planlang.nodes import Plan
from catp.planlang.parser import parse
from catp.planners.protocol import PlanRequest, Proposal
from catp.planners.repair import RepairRequest, merge_suffix
from catp.planners.search import SearchPlanner
from catp.repair import Repair
from catp.result import RunResult
from catp.store.audit import audit
from catp.store.rebuild import rebuild
from catp.store.store import RunStore
from catp.tools import PerCall, tool
from catp.tools.decorator import Tool


@dataclass(frozen=True)
class Scan:
    """What a page says."""

    text: str


@dataclass(frozen=True)
class Gist:
    """What a text says, in short."""

    line: str


class Bench:
    """Tools that count their calls; `broken` ones raise."""

    def __init__(self, *broken: str) -> None:
        self.calls: list[str] = []
        self.broken = set(broken)

    def _act(self, name: str) -> None:
        self.calls.append(name)
        if name in self.broken:
            raise RuntimeError(f"{name} is broken")

    def tools(self) -> list[Tool[Any, Any]]:
        @tool(price=PerCall("0.002"), accuracy=0.9, capability="ocr")
        async def scan_a(page: str) -> Scan:
            """Read a page."""
            self._act("scan_a")
            return Scan(f"A {page}")

        @tool(price=PerCall("0.003"), accuracy=0.8, capability="ocr")
        async def scan_b(page: str) -> Scan:
            """Read a page another way."""
            self._act("scan_b")
            return Scan(f"B {page}")

        @tool(price=PerCall("0.005"), accuracy=0.9, capability="gist")
        async def gist_a(scan: Scan) -> Gist:
            """Shorten."""
            self._act("gist_a")
            return Gist(scan.text[:3])

        @tool(price=PerCall("0.01"), accuracy=0.8, capability="gist")
        async def gist_b(scan: Scan) -> Gist:
            """Shorten another way."""
            self._act("gist_b")
            return Gist(scan.text[:3])

        @tool(price=PerCall("0.001"), effects="write")
        async def save(gist: Gist) -> bool:
            """Keep."""
            self._act("save")
            return True

        return [scan_a, scan_b, gist_a, gist_b, save]


PLAN = """
in page: text
scan = scan_a(page)
gist = gist_a(scan)
kept = save(gist)
out scan, gist
"""


async def run(bench: Bench, plan: str = PLAN, **options: Any) -> RunResult:
    async with Agent(bench.tools(), **options) as agent:
        return await agent.run(plan, {"page": "one"})


def called(result: RunResult) -> int:
    """What the calls cost, without planning anew."""
    return sum(row.amount or 0 for row in result.ledger if row.kind != "planning")


async def test_a_failed_step_gets_a_rival_and_what_waited_for_it_goes_on() -> None:
    bench = Bench("gist_a")
    result = await run(bench, repair=2)
    assert result.status == "complete"
    assert result.outputs["gist"] == Gist("A o")
    assert bench.calls == ["scan_a", "gist_a", "gist_b", "save"]  # the finished scan was not made again
    assert result.steps["gist"].tool == "gist_b"
    assert result.spent == sum(row.amount or 0 for row in result.ledger)
    assert called(result) == usd("0.018")
    assert sum(step.price or 0 for step in result.steps.values()) == called(result)
    replanned = [event for event in result.trace if event.type == "run.replanned"]
    assert len(replanned) == 1
    assert "gist_a" in replanned[0].data["reason"]
    assert replanned[0].data["kept"] == ["scan"]
    assert replanned[0].data["plan"] == result.plan.digest != result.quote.compiled.digest
    assert [event.seq for event in result.trace] == list(range(1, len(result.trace) + 1))


async def test_the_calls_of_a_step_are_counted_on_when_another_tool_takes_its_place(tmp_path: Path) -> None:
    store = tmp_path / "runs.db"
    result = await run(Bench("gist_a"), repair=2, store=store)
    assert [(row.tool, row.attempt) for row in result.ledger if row.step == "gist"] == [("gist_a", 1), ("gist_b", 2)]
    assert RunStore(store).database.read(audit) == []


def forget_after(connection: Connection, seq: int) -> None:
    """Leave a store of one run as if its process had died after an event, before `gist` had a value."""
    connection.exec_driver_sql(f"DELETE FROM events WHERE run_seq > {seq}")
    connection.exec_driver_sql("DELETE FROM node_io WHERE kind = 'output' OR name IN ('gist', 'kept')")
    rebuild(connection)


async def test_calls_are_counted_on_also_when_the_journal_ends_right_after_the_repair(tmp_path: Path) -> None:
    store, bench = RunStore(tmp_path / "runs.db"), Bench("gist_a")
    whole = await run(bench, repair=2, store=store)
    cut = next(event.seq for event in whole.trace if event.type == "run.replanned")
    store.database.write(lambda connection: forget_after(connection, cut))
    store.close()
    async with Agent(bench.tools(), repair=2, store=tmp_path / "runs.db") as agent:
        result = await agent.resume(whole.run_id)
    assert result.status == "complete"
    assert [(row.tool, row.attempt) for row in result.ledger if row.step == "gist"] == [("gist_a", 1), ("gist_b", 2)]
    assert RunStore(tmp_path / "runs.db").database.read(audit) == []


async def test_without_repair_the_run_ends_as_it_broke() -> None:
    bench = Bench("gist_a")
    result = await run(bench)
    assert result.status == "degraded"
    assert bench.calls == ["scan_a", "gist_a"]


async def test_rounds_are_limited_and_every_failure_is_in_the_ledger() -> None:
    bench = Bench("scan_a", "scan_b")
    result = await run(bench, repair=1)
    assert result.status == "failed"
    assert bench.calls == ["scan_a", "scan_b"]
    assert called(result) == usd("0.005")


async def test_money_for_repairs_is_limited() -> None:
    bench = Bench("gist_a")
    result = await run(bench, repair=Repair(rounds=2, budget="0.01"))  # gist_b and save together may cost 0.011
    assert result.status == "degraded"
    assert "gist_b" not in bench.calls
    tight = await run(Bench("gist_a"), repair=Repair(rounds=2, budget="0.011"))  # nothing is left for planning it
    assert tight.status == "degraded"
    enough = await run(Bench("gist_a"), repair=Repair(rounds=2, budget="0.0111"))
    assert enough.status == "complete"


async def test_the_cap_holds_over_all_rounds() -> None:
    bench = Bench("gist_a")
    result = await run(bench, repair=2, budget="0.0175")  # 0.002 + 0.005 are gone when gist_b would need 0.011
    assert result.status == "degraded"
    assert result.spent <= usd("0.0175")


async def test_a_failed_write_is_never_repaired() -> None:
    bench = Bench("save")
    result = await run(bench, repair=3)
    assert bench.calls.count("save") == 1
    assert result.status == "degraded"


async def test_a_plan_made_of_words_is_planned_anew_from_finished_values() -> None:
    bench = Bench("gist_a")
    async with Agent(bench.tools(), repair=2, alpha=1.0) as agent:
        result = await agent.run("shorten it", {"page": "one"}, wanted={"gist": "Gist"})
    assert result.status == "complete"
    assert bench.calls == ["scan_a", "gist_a", "gist_b"]


class Stubborn(SearchPlanner):
    """Proposes the failed call again and again, under new names."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[RepairRequest] = []

    async def repair(self, request: RepairRequest) -> tuple[Plan, ...]:
        self.requests.append(request)
        name = f"again_{len(self.requests)}"
        return (
            parse(f"in scan: Scan\n{name} = gist_a(scan) @retry(0) @timeout({len(self.requests)}s)\nout gist = {name}"),
        )


async def test_the_same_tool_with_the_same_arguments_and_error_is_blocked_after_two() -> None:
    bench = Bench("gist_a")
    planner = Stubborn()
    result = await run(bench, repair=5, planner=planner)
    assert bench.calls.count("gist_a") == 2
    assert "failed 2 times with the same arguments and the same error" in result.results["gist"].reason
    assert planner.requests[1].failures[-1].times == 2
    assert set(planner.requests[0].finished) == {"scan"}
    assert planner.requests[0].objective.budget is None


class Raising(SearchPlanner):
    async def repair(self, request: RepairRequest) -> tuple[Plan, ...]:
        raise OSError("the planner is gone")


class Nonsense(SearchPlanner):
    async def repair(self, request: RepairRequest) -> tuple[Plan, ...]:
        return (parse("a = no_such_tool()\nout gist = a"), parse("out gist = nothing"))


class Plain:
    """A planner that cannot repair."""

    name = "plain"

    async def plan(self, request: PlanRequest) -> Proposal:
        raise AssertionError("not asked")


@pytest.mark.parametrize("planner", [Raising(), Nonsense(), Plain()])
async def test_a_planner_that_cannot_help_leaves_the_run_as_it_is(planner: Any) -> None:
    bench = Bench("gist_a")
    result = await run(bench, repair=2, planner=planner)
    assert result.status == "degraded"
    assert result.outputs["scan"] == Scan("A one")
    assert any("planner is gone" in warning for warning in result.warnings) == isinstance(planner, Raising)


def test_names_of_the_suffix_that_are_taken_get_a_number() -> None:
    plan = parse("in page: text\nscan = scan_a(page)\ngist = gist_a(scan)\nout scan, gist")
    suffix = parse("in page: text\nscan = scan_b(page)\ngist = gist_b(scan)\nout gist")
    merged = merge_suffix(plan, {"scan"}, suffix)
    assert [step.name for step in merged.steps] == ["scan", "scan_2", "gist"]
    assert str(merged.step("gist").attempts[0].args[0].value) == "scan_2"
    assert [str(output.ref) for output in merged.outputs] == ["scan", "gist"]


def test_repair_limits_are_checked() -> None:
    with pytest.raises(ValueError, match="between 0 and 100"):
        Repair(rounds=-1)
    with pytest.raises(ValueError, match="more than"):
        Repair(budget="0")
