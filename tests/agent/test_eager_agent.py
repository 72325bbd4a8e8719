"""An eager agent: what it saves, what it books when there is no plan, no room, no patience or no process any more."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from catp.agent import Agent
from catp.planlang.money import usd
from catp.planlang.nodes import Plan
from catp.planners.protocol import PlanningFailed, PlanRequest
from catp.planners.search import SearchPlanner
from catp.planners.writer import Draft, Unwritable
from catp.result import RunCancelled, RunRefused
from catp.runtime.replay import rebuild
from catp.store.audit import audit
from catp.store.budgets import set_budget, standings
from catp.store.rebuild import rebuild as project_anew
from catp.store.rollups import leaderboard
from catp.store.store import RunStore
from tests.agent.eager_shop import AB, CB, POSTED, TEXT, WANT, A, SlowWriter, World, catalogue, planner
from tests.durable.test_kill_everywhere import in_child, killer


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "runs.db")


@pytest.fixture
def world() -> World:
    return World()


def agent(world: World, writer: SlowWriter, **options: Any) -> Agent:
    own = {name: options.pop(name) for name in ("fallback", "patience_s") if name in options}
    return Agent(catalogue(world, options.pop("prices", None)), planner(writer, **own), **{"eager": True, **options})


def balanced(store: RunStore) -> None:
    assert store.database.read(audit) == []


async def run(one: Agent, **options: Any) -> Any:
    return await one.run("do it", TEXT, wanted=WANT, **options)


class Held(SlowWriter):
    """Has its plan only when a tool has been called, if it is to wait for that."""

    until: asyncio.Event | None = None

    async def write(self, request: PlanRequest, **options: Any) -> Draft:
        draft = await super().write(request, **options)
        if self.until is not None:
            await asyncio.wait_for(self.until.wait(), 30)
        return draft


async def test_an_eager_agent_calls_before_it_has_the_plan_for_the_same_money(world: World, store: RunStore) -> None:
    spent = {}
    for eager in (False, True):
        writer = Held(AB, AB)
        if eager:
            world.called.clear()
            writer.until = world.called
        async with agent(world, writer, eager=eager, store=store, cache=False) as one:
            result = await run(one)
            spent[eager] = sum(row.amount or 0 for row in result.ledger if row.kind != "planning")
            assert (result.status, result.outputs["b"]) == ("complete", "b(a(a good day))")
    assert spent[False] == spent[True] == usd("0.002")
    assert world.calls == {"a": 2, "b": 2}
    balanced(store)


async def test_money_spent_in_vain_is_in_every_sum(world: World, store: RunStore) -> None:
    store.database.write(lambda c: set_budget(c, "project", "other", "total", usd("1"), (), time.time_ns()))
    async with agent(world, SlowWriter(A, CB), store=store, budget="0.1", warn=(0.03,)) as one:
        result = await run(one)
        assert [row.kind for row in result.ledger] == ["planning", "eager", "call", "call"]
        lost = result.ledger[1]
        assert result.spent == sum(row.amount or 0 for row in result.ledger) == rebuild(result.trace).spent
        saved = store.get(result.run_id)
        assert saved.summary.cost == result.spent
        assert [row["kind"] for row in saved.costs] == ["planning", "eager", "call", "call"]
        assert [e.data["level"] for e in result.trace if e.type == "run.budget_warning"] == [0.03]
        (policy,) = store.database.read(lambda c: leaderboard(c, "policy"))
        assert policy.cost == result.spent
        assert {row.name: row.cost for row in store.database.read(lambda c: leaderboard(c, "tool"))} == {
            "c": usd("0.001"), "b": usd("0.001"),
        }  # fmt: skip
        balanced(store)
        before = saved.costs
        store.database.write(project_anew)
        assert store.get(result.run_id).costs == before
        balanced(store)
        replay = await one.replay(result.run_id)
        assert (replay.exact, replay.then.cost, replay.now.cost) == (True, result.spent, result.spent)
        assert (lost.tool, lost.amount) == ("a", usd("0.001"))


async def test_the_plan_has_less_by_what_was_lost(world: World, store: RunStore) -> None:
    async with agent(world, SlowWriter(A, CB), budget="0.0025", eager="0.002", store=store) as one:
        with pytest.raises(RunRefused) as refused:  # 0.002 for the plan would fit, but 0.001 is gone
            await run(one)
        booked = refused.value.booked
        assert booked is not None
        assert (booked.status, [row.kind for row in booked.ledger]) == ("cancelled", ["planning", "eager"])
        assert booked.spent >= usd("0.001")
        assert world.calls == {"a": 1}
        summary = store.get(booked.run_id).summary
        assert (summary.status, summary.cost) == ("cancelled", booked.spent)
        assert booked.trace[-1].data["reason"].startswith("refused: ")
        balanced(store)


async def test_without_a_plan_what_was_started_is_booked_all_the_same(world: World, store: RunStore) -> None:
    writer = SlowWriter(AB, AB, error=Unwritable("no"))
    async with agent(world, writer, store=store) as one:
        with pytest.raises(PlanningFailed, match="no") as failed:
            await run(one)
        booked = failed.value.booked
        assert booked is not None
        assert [row.kind for row in booked.ledger] == ["planning", "eager"]
        assert "x = a(text=text)" in booked.quote.text
        assert (world.running, booked.saved) == (0, True)
        balanced(store)
    async with agent(world, SlowWriter(POSTED, POSTED, error=Unwritable("no")), prices={"a": "0"}, store=store) as free:
        with pytest.raises(PlanningFailed) as failed:
            await run(free)
        assert failed.value.booked is None  # nothing was spent
    assert len(store.list()) == 1


async def test_cancelling_while_it_plans_leaves_no_call_running_and_books_what_was_used(
    world: World, store: RunStore
) -> None:
    world.seconds = 60.0
    async with agent(world, SlowWriter(AB, AB, hang=True), store=store) as one:
        task = asyncio.ensure_future(run(one))
        await asyncio.wait_for(world.called.wait(), 10)
        task.cancel()
        with pytest.raises(RunCancelled) as stopped:
            await task
        booked = stopped.value.result
        assert world.running == 0
        assert [(row.kind, row.amount) for row in booked.ledger if row.kind == "eager"] == [("eager", usd("0.001"))]
        assert booked.trace[-1].data["reason"] == "interrupted while it was planned"
        balanced(store)


async def test_a_policy_that_fails_after_telling_steps_leaves_them_to_the_plan_of_its_fallback(world: World) -> None:
    writer = SlowWriter(Plan(AB.steps[:1]), AB, error=OSError("connection lost"))
    async with agent(world, writer, fallback=SearchPlanner()) as one:
        result = await one.run("do it", TEXT, wanted={"b": "text"}, alpha=0.0)
    assert result.quote.notes[0].startswith("policy: failed with OSError")
    assert (world.running, result.status) == (0, "complete")
    made = sum(world.calls.values())
    assert made * usd("0.001") == sum(row.amount or 0 for row in result.ledger if row.kind != "planning")


async def test_a_quote_that_nobody_runs_is_booked_when_its_block_ends(world: World, store: RunStore) -> None:
    async with agent(world, SlowWriter(AB, AB), store=store) as one:
        async with one.begin("do it", TEXT, wanted=WANT) as quote:
            assert quote.admitted
        (summary,) = store.list()
        assert (summary.status, summary.cost > usd("0.001")) == ("cancelled", True)
        async with one.begin("do it", TEXT, wanted=WANT) as quote:
            first = await one.run(quote, TEXT)
            again = await one.run(quote, TEXT)  # the first run has adopted what there was
        assert first.status == again.status == "complete"
        assert not any(row.kind == "eager" for row in (*first.ledger, *again.ledger))
        balanced(store)


@pytest.mark.parametrize("options", [{"eager": False}, {"approve_plan": True, "approve": "auto"}])
async def test_nothing_starts_early_unless_that_is_wanted(world: World, options: dict[str, Any]) -> None:
    writer = SlowWriter(AB, CB)
    async with agent(world, writer, **options) as one:
        result = await run(one)
    assert (writer.told, world.calls) == (0, {"c": 1, "b": 1})
    assert not any(row.kind == "eager" for row in result.ledger)


async def test_planning_and_quoting_call_no_tool(world: World) -> None:
    async with agent(world, SlowWriter(AB, AB)) as one:
        await one.plan("do it", TEXT, wanted=WANT)
        await one.quote("do it", TEXT, wanted=WANT)
    assert not world.calls


async def test_the_cap_is_never_above_the_budget_and_holds(world: World) -> None:
    async with agent(world, SlowWriter(AB, AB), budget="0.01") as one:  # a twentieth is less than one call
        result = await run(one)
        assert not any("early" in event.data for event in result.trace)
    async with agent(world, SlowWriter(AB, AB), budget="0.01", eager="0.0015", cache=False) as one:
        result = await run(one)
        early = [event.data["tool"] for event in result.trace if "early" in event.data]
        assert early == ["a"]
    with pytest.raises(ValueError, match="eager must be more than"):
        agent(world, SlowWriter(AB, AB), eager="0")


async def test_shared_budgets_are_not_drawn_on_before_there_is_a_run(world: World, store: RunStore) -> None:
    store.database.write(lambda c: set_budget(c, "project", "demo", "total", usd("1"), (), time.time_ns()))
    async with agent(world, SlowWriter(AB, AB), store=store, project="demo") as one:
        result = await run(one)
        assert not any("early" in event.data for event in result.trace)
        (standing,) = store.database.read(lambda c: standings(c, time.time_ns()))
        assert (standing.spent, standing.reserved) == (result.spent, 0)
        balanced(store)


async def test_what_is_kept_already_is_not_called_early(tmp_path: Path) -> None:
    from catp.tools import Catalogue, PerCall, tool

    made: list[str] = []

    @tool(effects="read", price=PerCall("0.001"), accuracy=0.9, cache="1h")
    async def a(text: str) -> str:
        """Look it up."""
        made.append(text)
        return text

    @tool(effects="pure", price=PerCall("0.001"), accuracy=0.9)
    async def b(text: str) -> str:
        """Do b."""
        return text

    async with Agent(Catalogue([a, b]), planner(SlowWriter(AB, AB)), eager=True) as one:
        first, second = [await run(one) for _ in range(2)]
        assert made == ["a good day"]
        assert [row.kind for row in second.ledger] == ["planning", "cache", "call"]
        assert [event.data["tool"] for event in first.trace if "early" in event.data] == ["a"]


@pytest.mark.parametrize("kill_at", range(1, 12))
async def test_a_killed_process_pays_no_call_twice_that_its_journal_knows(tmp_path: Path, kill_at: int) -> None:
    def life() -> None:
        world, watch = World(seconds=0.01), killer(tmp_path, kill_at, after_commit=True)

        async def act() -> None:
            async with agent(world, SlowWriter(AB, AB, 0.02), store=tmp_path / "runs.db", budget="1") as one:
                await run(one, on_event=watch)

        asyncio.run(act())

    in_child(life, tmp_path / "life.json")
    store, world = RunStore(tmp_path / "runs.db"), World(seconds=0.01)
    (summary,) = store.list()
    async with agent(world, SlowWriter(AB, AB), store=store) as one:
        if summary.status != "complete":
            result = await one.resume(summary.id)
            assert (result.status, result.outputs["b"]) == ("complete", "b(a(a good day))")
            seen = [event for event in result.trace if event.type == "node.settled" and event.data["outcome"] == "ok"]
            assert result.spent == sum(row.amount or 0 for row in result.ledger) == rebuild(result.trace).spent
            lost = [row for row in result.ledger if row.kind in ("eager", "estimate")]
            # all that was ever called was paid for: two calls by the first process, and those made again
            assert usd("0.001") * (len(seen) + len(lost)) == sum(
                row.amount or 0 for row in result.ledger if row.kind != "planning"
            )
            assert sum(world.calls.values()) == len(lost)  # only what was in doubt is called again
            if kill_at == 1:
                held = [one["tool"] for one in result.trace[0].data["eager"]["held"]]  # nobody had adopted them
                assert [row.tool for row in result.ledger if row.kind == "eager"] == held
                assert held[0] == "a"
        balanced(store)


TOOLS = """
from tests.agent.eager_shop import World, catalogue
CATALOGUE = catalogue(World(seconds=0.02))
"""


def test_the_command_line_starts_early_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from catp.cli.main import app
    from catp.planners import chosen

    (tmp_path / "eager_tools.py").write_text(TOOLS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(chosen, "planner_for", lambda wanted: planner(SlowWriter(A, CB)))
    args = ["run", "do it", "-i", "text=hi", "--want", "b=text", "--tools", "eager_tools:CATALOGUE"]
    args += ["--store", str(tmp_path / "runs.db")]

    def catp(*more: str, **environment: str) -> Any:
        done = CliRunner().invoke(app, [*args, *more], env={"NO_COLOR": "1", **environment})
        assert done.exit_code == 0, done.output
        return done

    assert json.loads(catp("--json").stdout)["eager"] == {"adopted": 0, "lost": 0, "lost_usd": "0.00"}
    found = json.loads(catp("--eager", "--json").stdout)
    assert found["eager"] == {"adopted": 0, "lost": 1, "lost_usd": "0.001"}
    assert [row["kind"] for row in found["ledger"]] == ["planning", "eager", "call", "call"]
    text = catp("--eager-cap", "0.01", CATP_EAGER="1").stdout
    assert "started early, not used" in text
    monkeypatch.setattr(chosen, "planner_for", lambda wanted: planner(SlowWriter(AB, AB)))
    assert json.loads(catp("--json", "--no-cache", CATP_EAGER="on").stdout)["eager"]["adopted"] == 1
    capped = catp("--json", "--eager", "--eager-cap", "0.000001")
    assert json.loads(capped.stdout)["eager"] == {"adopted": 0, "lost": 0, "lost_usd": "0.00"}
