"""What planning took is money and time like any other: in the ledger, under every cap, in every life of the run."""

import asyncio
import json
import sqlite3
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from catp.agent import Agent
from catp.planlang.money import Money, usd
from catp.planlang.nodes import Plan
from catp.planlang.parser import parse
from catp.planners.protocol import PlanRequest, Proposal
from catp.planners.repair import RepairRequest, repair_by_search
from catp.planners.search import SearchPlanner
from catp.result import RunRefused
from catp.runtime.events import RunEvent
from catp.runtime.limits import Limit
from catp.runtime.replay import rebuild
from catp.store.audit import audit
from catp.store.budgets import set_budget, standings
from catp.store.rebuild import rebuild as project_anew
from catp.store.retention import prune
from catp.store.rollups import leaderboard
from catp.store.store import RunStore
from catp.tools import Catalogue, PerCall, tool
from tests.durable.test_kill_everywhere import in_child, killer

TEXT = {"text": "a good day"}
WANT = {"said": "text"}
PRICE = usd("0.02")


@tool(price=PerCall("0.01"), accuracy=0.6)
async def plain(text: str) -> str:
    """Say it plainly."""
    return text.lower()


@tool(price=PerCall("0.03"), accuracy=0.95)
async def fine(text: str) -> str:
    """Say it well."""
    return text.upper()


CATALOGUE = Catalogue([plain, fine])


class Paid:
    """Search that asks for money."""

    name = "paid"

    def __init__(self, price: Any = PRICE) -> None:
        self.price = price

    async def plan(self, request: PlanRequest) -> Proposal:
        await asyncio.sleep(0.01)
        return replace(SearchPlanner().search(request), price=self.price)

    async def repair(self, request: RepairRequest) -> tuple[Plan, ...]:
        return await repair_by_search(request, self.plan)


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "runs.db")


def agent(price: Any = PRICE, **options: Any) -> Agent:
    return Agent(CATALOGUE, Paid(price), alpha=0.0, **options)


async def run(one: Agent, **options: Any) -> Any:
    return await one.run("say it", TEXT, wanted=WANT, **options)


def balanced(store: RunStore) -> None:
    assert store.database.read(audit) == []


async def test_the_first_row_of_a_run_is_its_planning(store: RunStore) -> None:
    async with agent(store=store) as one:
        result = await run(one)
        first, call = result.ledger
        assert first[:7] == (1, result.run_id, "plan", 1, None, "paid", "planning")
        assert (first.unit, first.amount, first.source, first.priced) == ("s", PRICE, "measured", True)
        assert 0.01 <= first.quantity < 5
        assert call.seq == 2
        assert result.spent == usd("0.03") == sum(row.amount for row in result.ledger) == rebuild(result.trace).spent
        assert result.quote.planning.price == PRICE
        assert result.quote.price.expected == usd("0.01")  # what is still to be paid
        assert "plan" not in result.steps
        saved = store.get(result.run_id)
        assert saved.summary.cost == result.spent
        assert [(row["kind"], row["amount_nano"], row["step"]) for row in saved.costs] == [
            ("planning", PRICE, "plan"), ("call", usd("0.01"), "said"),
        ]  # fmt: skip
        balanced(store)


async def test_projections_made_anew_and_pruned_sums_still_add_up(store: RunStore) -> None:
    async with agent(store=store) as one:
        for _ in range(2):
            result = await run(one)

        def figures() -> list[Any]:
            found: list[Any] = [store.get(result.run_id).costs]
            tools = store.database.read(lambda c: leaderboard(c, "tool"))
            policies = store.database.read(lambda c: leaderboard(c, "policy"))
            return [*found, *([(row.name, row.n, row.cost) for row in rows] for rows in (tools, policies))]

        before = figures()
        assert before[1:] == [[("plain", 2, usd("0.02"))], [("paid", 2, usd("0.06"))]]  # a planner is no tool
        store.database.write(project_anew)
        assert figures() == before
        balanced(store)
        store.database.write(lambda c: prune(c, [result.run_id]))
        balanced(store)
        kept = store.database.read(lambda c: leaderboard(c, "policy"))
        assert [(row.name, row.n, row.cost) for row in kept] == [("paid", 2, usd("0.06"))]


async def test_the_room_for_calls_is_the_cap_less_planning() -> None:
    async with agent(budget="0.03") as one:
        result = await run(one)  # 0.02 for the plan, 0.01 for the call: to the cent
        assert (result.status, result.spent, result.quote.verdict.fit) == ("complete", usd("0.03"), "fits")
    async with agent(budget="0.029999999") as one:
        with pytest.raises(RunRefused, match=r"limit of \$0\.009999999 that planning for \$0\.02 left") as refused:
            await run(one)
        assert refused.value.quote.verdict.budget == usd("0.029999999")
    async with agent(budget="0.015") as one:  # planning alone is dearer than the whole cap
        with pytest.raises(RunRefused, match=r"that planning for \$0\.02 left"):
            await run(one)
    async with agent() as one:
        with pytest.raises(RunRefused):
            await run(one, budget="0.02")


async def test_a_call_that_would_break_the_cap_with_planning_is_not_made() -> None:
    plan = parse("in text: text\nsaid = fine(text) | plain(text)\nout said")
    async with agent(budget="0.04") as one:
        quote = await one.quote("say it", TEXT, wanted=WANT)
        assert quote.planning is not None
        dear = replace(await one.quote(plan, TEXT), planning=quote.planning)
        result = await one.run(dear, TEXT)  # 0.03 would fit the cap, but not what planning left of it
        assert (result.outputs["said"], result.spent) == ("a good day", usd("0.03"))
        assert [refusal.tool for refusal in result.refusals] == ["fine"]


async def test_limits_and_shared_budgets_count_planning(store: RunStore) -> None:
    team = Limit(usd("0.07"), "the team")
    store.database.write(lambda c: set_budget(c, "project", "demo", "total", usd("10"), (), time.time_ns()))
    async with agent(store=store, project="demo", limits=[team]) as one:
        await run(one)
        await run(one)
        assert team.spent == usd("0.06")
        standing = store.database.read(lambda c: standings(c, time.time_ns()))[0]
        assert (standing.spent, standing.reserved) == (usd("0.06"), 0)
        with pytest.raises(RunRefused, match="the team has left"):
            await run(one)
        balanced(store)


async def test_a_shared_budget_refuses_what_planning_left_no_room_for(store: RunStore) -> None:
    store.database.write(lambda c: set_budget(c, "project", "demo", "total", usd("0.05"), (), time.time_ns()))
    async with agent(store=store, project="demo") as one:
        assert (await run(one)).spent == usd("0.03")
        with pytest.raises(RunRefused, match="project:demo"):
            await run(one)
    async with agent(0, store=store, project="demo") as one:
        assert (await run(one)).spent == usd("0.01")


async def test_warn_levels_are_reached_by_planning() -> None:
    async with agent(budget="0.04", warn=(0.5,)) as one:
        result = await run(one)
        assert [event.data["level"] for event in result.trace if event.type == "run.budget_warning"] == [0.5]
        assert [event.seq for event in result.trace] == list(range(1, len(result.trace) + 1))


@pytest.mark.parametrize("price", [None, -1, 0.5])
async def test_an_unknown_price_stays_unknown(store: RunStore, price: Any) -> None:
    async with agent(price, store=store) as one:
        result = await run(one)
        assert (result.ledger[0].amount, result.ledger[0].priced) == (None, False)
        assert (result.unpriced, result.spent) == (1, usd("0.01"))
        assert "+ unpriced" in repr(result)
        summary = store.get(result.run_id).summary
        assert (summary.unpriced, summary.cost) == (1, usd("0.01"))
        balanced(store)
        with pytest.raises(RunRefused, match="price of planning is unknown") as refused:
            await run(one, budget="1")
        assert refused.value.quote.verdict.fit == "unpriced"
        assert refused.value.quote.planning is not None
        assert refused.value.quote.planning.price is None


async def test_under_a_cap_an_unknown_price_is_what_is_assumed() -> None:
    async with agent(None, budget="0.02", assume_price="0.005") as one:
        result = await run(one)
        assert (result.ledger[0].amount, result.ledger[0].source, result.ledger[0].priced) == (
            usd("0.005"), "estimated", False,
        )  # fmt: skip
        assert result.spent == usd("0.015")
        with pytest.raises(RunRefused, match=r"that planning for \$0\.005 left"):
            await run(one, budget="0.014")


async def test_planning_is_paid_by_one_run_only(store: RunStore) -> None:
    async with agent(store=store) as one:
        planned = await one.plan("say it", TEXT, wanted=WANT)
        assert len(planned.candidates) == 2
        assert all(quote.planning is planned.planning for quote in planned.candidates)
        first, second = [await one.run(quote, TEXT, budget="0.05") for quote in planned.candidates]
        assert (first.spent, second.spent) == (usd("0.03"), usd("0.03"))
        assert [row.kind for row in (*first.ledger, *second.ledger)] == ["planning", "call", "call"]
        third = await one.run(planned.best, TEXT, budget="0.01")  # nothing is planned for it: the whole cap is its own
        assert third.spent == usd("0.01")
        balanced(store)


async def test_a_given_plan_has_no_planning() -> None:
    async with agent() as one:
        result = await one.run(parse("in text: text\nsaid = plain(text)\nout said"), TEXT)
        assert (result.quote.planning, [row.kind for row in result.ledger]) == (None, ["call"])


async def test_a_waiting_run_is_resumed_with_its_planning(store: RunStore) -> None:
    async with agent(store=store, approve_plan=True, budget="0.03") as one:
        waiting = await run(one, approve="later")
        assert (waiting.status, waiting.spent) == ("waiting", PRICE)
        await one.decide(waiting.run_id, by="me")
    async with agent(999, store=store, budget="0.03") as another:
        result = await another.resume(waiting.run_id)
        assert (result.status, result.spent) == ("complete", usd("0.03"))
        assert [(row.seq, row.kind) for row in result.ledger] == [(1, "planning"), (2, "call")]
        assert result.quote.planning is not None
        assert (result.quote.planning.planner, result.quote.planning.price) == ("paid", PRICE)
        assert result.ledger[0] == waiting.ledger[0]
        balanced(store)


async def test_replay_begins_with_the_same_planning_and_a_fork_with_none(store: RunStore) -> None:
    async with agent(store=store, budget="0.06") as one:
        result = await run(one)
        replay = await one.replay(result.run_id)
        assert replay.exact
        assert (replay.then.cost, replay.now.cost) == (usd("0.03"), usd("0.03"))
        assert [(one.planner, one.ms) for one in replay.planning] == [("paid", result.quote.planning.ms)]
        dearer = await one.replay(result.run_id, set={"said": "fine"})
        assert dearer.now.cost == usd("0.05")
        short = await one.replay(result.run_id, budget=usd("0.025"))  # planning left 0.005 of it
        assert (short.now.status, short.now.cost) == ("failed", PRICE)
        fork = await one.fork(result.run_id, "said")
        assert (fork.spent, fork.quote.planning) == (usd("0.01"), None)
        assert [row.kind for row in fork.ledger] == ["call"]
        balanced(store)


async def test_unpriced_planning_is_unpriced_in_a_replay(store: RunStore) -> None:
    async with agent(None, store=store) as one:
        replay = await one.replay((await run(one)).run_id)
        assert [one.price for one in replay.planning] == [None]
        assert [row.amount for row in replay.outcome.rows] == [None, usd("0.01")]


@tool(price=PerCall("0.001"), accuracy=0.99)
async def broken(text: str) -> str:
    """Say it, but never."""
    raise RuntimeError("no")


async def test_planning_anew_in_a_repair_is_another_row(store: RunStore) -> None:
    given = parse("in text: text\nsaid = broken(text)\nout said")
    options: dict[str, Any] = {"store": store, "repair": 1, "budget": "0.1"}
    async with Agent(Catalogue([plain, broken]), Paid(), **options) as one:
        for task in (given, "say it"):
            result = await one.run(task, TEXT, wanted=None if task is given else WANT, alpha=0.9)
            kinds = [(row.kind, row.attempt) for row in result.ledger]
            first = [] if task is given else [("planning", 1)]
            assert kinds == [*first, ("call", 1), ("planning", len(first) + 1), ("call", 2)]
            assert result.spent == sum(row.amount or 0 for row in result.ledger) == rebuild(result.trace).spent
            assert store.get(result.run_id).summary.cost == result.spent
            replay = await one.replay(result.run_id)
            assert (replay.then.cost, replay.now.cost) == (result.spent, result.spent)
            assert [planning.price for planning in replay.planning] == [PRICE] * (len(first) + 1)
        balanced(store)
        before = store.get(result.run_id).costs
        store.database.write(project_anew)
        assert store.get(result.run_id).costs == before
        balanced(store)
    async with Agent(Catalogue([plain, broken]), Paid(), repair=1, budget="0.025") as one:
        result = await one.run(given, TEXT)  # 0.001 for the call and 0.02 for the plan leave too little for the other
        assert (result.status, result.outputs) == ("failed", {})


GIVEN = parse("in text: text\nsaid = broken(text)\nout said")


async def test_a_repair_that_found_nothing_is_booked_when_the_run_ends(store: RunStore) -> None:
    async with Agent(Catalogue([plain, broken]), Paid(), repair=1, budget="0.025", store=store) as one:
        result = await one.run(GIVEN, TEXT)  # 0.001 for the call and 0.02 for the plan leave too little for `plain`
        assert (result.status, result.spent) == ("failed", usd("0.021"))
        assert [(row.seq, row.kind, row.amount) for row in result.ledger] == [
            (1, "call", usd("0.001")), (2, "planning", PRICE),
        ]  # fmt: skip
        assert result.trace[-1].data["planning"]["rows"] == [result.ledger[1].to_json()]
        assert result.trace[-1].data["spent"] == "0.021"
        assert rebuild(result.trace).spent == result.spent
        saved = store.get(result.run_id)
        assert (saved.summary.cost, [row["kind"] for row in saved.costs]) == (result.spent, ["call", "planning"])
        balanced(store)
        replay = await one.replay(result.run_id)
        assert (replay.then.cost, replay.now.cost) == (result.spent, result.spent)
        assert [planning.price for planning in replay.planning] == [PRICE]
        before = saved.costs
        store.database.write(project_anew)
        assert store.get(result.run_id).costs == before
        balanced(store)


async def test_a_budget_of_the_project_pays_for_a_repair_in_vain(store: RunStore) -> None:
    store.database.write(lambda c: set_budget(c, "project", "demo", "total", usd("1"), (), time.time_ns()))
    options: dict[str, Any] = {"repair": 1, "budget": "0.025", "store": store, "project": "demo", "warn": (0.8,)}
    async with Agent(Catalogue([plain, broken]), Paid(), **options) as one:
        result = await one.run(GIVEN, TEXT)
        assert [event.data["level"] for event in result.trace if event.type == "run.budget_warning"] == [0.8]
        assert result.trace[-1].type == "run.finished"
        standing = store.database.read(lambda c: standings(c, time.time_ns()))[0]
        assert (standing.spent, standing.reserved) == (usd("0.021"), 0)
        balanced(store)


class Hanging(Paid):
    """Plans once, and is never heard of again."""

    async def repair(self, request: RepairRequest) -> tuple[Plan, ...]:
        await asyncio.sleep(60)
        raise AssertionError("cut off before")


class Raising(Paid):
    async def repair(self, request: RepairRequest) -> tuple[Plan, ...]:
        request.paid.append(PRICE)
        raise OSError("gone")


@pytest.mark.parametrize("planner", [Hanging(), Raising()])
async def test_what_a_repair_cost_that_was_cut_off_or_failed_is_unknown(store: RunStore, planner: Paid) -> None:
    async with Agent(Catalogue([plain, broken]), planner, repair=1, store=store) as one:
        result = await one.run(GIVEN, TEXT, deadline_s=0.5)
        assert result.status == "failed"
        assert [(row.kind, row.amount) for row in result.ledger] == [("call", usd("0.001")), ("planning", None)]
        assert (result.unpriced, result.spent) == (1, usd("0.001"))
        assert store.get(result.run_id).summary.unpriced == 1
        balanced(store)


async def test_search_that_finds_no_other_way_is_priced() -> None:
    async with Agent(Catalogue([broken]), "search", repair=1) as one:
        result = await one.run(GIVEN, TEXT)
        planning = result.ledger[-1]
        assert (result.status, planning.kind, planning.priced) == ("failed", "planning", True)
        assert Money(0) < (planning.amount or 0) < usd("0.00001")


async def test_going_on_with_a_run_keeps_the_row_of_a_repair_in_vain(store: RunStore) -> None:
    async with Agent(Catalogue([plain, broken]), Paid(), repair=1, budget="0.025", store=store) as one:
        first = await one.run(GIVEN, TEXT)
        assert first.status == "failed"
        again = await one.resume(first.run_id, budget="0.05", retry_failed=True)
        assert [row.kind for row in again.ledger][:2] == ["call", "planning"]
        assert again.ledger[1] == first.ledger[1]
        assert len({row.seq for row in again.ledger}) == len(again.ledger)
        balanced(store)


def life(folder: Path, on_event: Any = None, resume: bool = False) -> Any:
    async def live() -> Any:
        async with agent(store=folder / "runs.db", budget="0.05") as one:
            if not resume:
                return (await run(one, on_event=on_event)).spent
            assert one.store is not None
            result = await one.resume(one.store.list()[0].id)
            return [result.status, result.spent, [(row.seq, row.kind) for row in result.ledger]]

    return lambda: asyncio.run(live())


@pytest.mark.parametrize("seq", [1, 2, 4])
def test_a_killed_run_has_paid_for_its_planning_once(tmp_path: Path, seq: int) -> None:
    assert in_child(life(tmp_path, killer(tmp_path, seq, after_commit=True)), tmp_path / "result") == 9
    with sqlite3.connect(tmp_path / "runs.db") as raw:
        assert raw.execute("SELECT kind, amount_nano FROM costs WHERE seq = 1").fetchall() == [("planning", PRICE)]
        assert raw.execute("SELECT cost_nano FROM runs").fetchall() == [(PRICE,)]
    raw.close()
    assert in_child(life(tmp_path, resume=True), tmp_path / "result") == 0
    status, spent, rows = json.loads((tmp_path / "result").read_text())
    assert (status, rows[0]) == ("complete", [1, "planning"])
    assert [kind for _, kind in rows].count("planning") == 1
    store = RunStore(tmp_path / "runs.db")
    assert store.list()[0].cost == spent
    balanced(store)
    store.close()


async def test_the_event_that_creates_a_run_books_it() -> None:
    events: list[RunEvent] = []
    async with agent() as one:
        result = await run(one, on_event=events.append)
    created = events[0]
    assert created.type == "run.created"
    assert created.data["planning"]["rows"] == [result.ledger[0].to_json()]
    assert json.loads(json.dumps(created.to_json())) == created.to_json()


async def test_search_is_measured_and_priced_like_a_tool_of_this_process() -> None:
    async with Agent(CATALOGUE, "search") as one:
        result = await run(one)
        row = result.ledger[0]
        assert (row.tool, row.kind, row.priced) == ("search", "planning", True)
        assert row.quantity > 0
        assert Money(0) < (row.amount or 0) < usd("0.00001")
