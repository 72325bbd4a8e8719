"""Steps started before their plan is finished, on a virtual clock: what is adopted, what is lost, what never starts."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.eager import share_of
from catp.planlang.compile import compile_plan
from catp.planlang.money import Money, format_usd, usd
from catp.planlang.nodes import Plan
from catp.planlang.parser import parse
from catp.prefix import Prefix
from catp.runtime.clock import VirtualClock
from catp.runtime.early import EarlyCalls
from catp.runtime.ledger import Ledger
from catp.runtime.limits import Limit
from catp.runtime.replay import rebuild
from catp.runtime.run import Run, RunOutcome
from catp.tools import Catalogue, PerCall, tool
from catp.tools.builtin.facts import describe
from catp.tools.usage import Charge, Usage
from tests.agent.eager_shop import AB, CB, OTHER_NAMES, POSTED, TEXT, World, catalogue

STEP_S = 1.0
"""Between two decisions, and the time of every tool unless a test says otherwise."""


class Stage:
    """A plan that is decided step by step, then run; everything on one virtual clock."""

    def __init__(self, prices: dict[str, str] | None = None, cap: str = "1", limits: tuple[Limit, ...] = ()) -> None:
        self.clock = VirtualClock()
        self.world = World(self.clock.sleep, STEP_S)
        self.tools = catalogue(self.world, prices)
        self.calls = EarlyCalls(Ledger(usd(cap), within=limits), self.clock)
        self.prefix = Prefix(self.calls, self.tools, TEXT, "p95")
        self.limits = limits

    async def decide(self, plan: Plan) -> None:
        for number, step in enumerate(plan.steps):
            await self.clock.sleep(STEP_S)
            self.prefix.decided(0, number, step)

    async def run(self, greedy: Plan, chosen: Plan, budget: str = "1", **options: Any) -> RunOutcome:
        await self.decide(greedy)
        await self.clock.sleep(STEP_S)
        return await self.go_on(chosen, budget, **options)

    async def go_on(self, chosen: Plan, budget: str = "1", **options: Any) -> RunOutcome:
        compiled = compile_plan(
            chosen, self.tools.view(), estimator=self.tools.estimator(), facts={"text": describe("a")}
        )
        await self.prefix.keep(compiled)
        ledger = Ledger(usd(budget), within=self.limits)
        self.started = Run(compiled, TEXT, self.tools, ledger=ledger, clock=self.clock, early=self.calls, **options)
        outcome = await self.started.wait()
        assert rebuild(outcome.events).spent == outcome.spent == sum(row.amount or 0 for row in outcome.rows)
        assert self.world.running == 0
        assert ledger.reserved == 0
        return outcome


def play(work: Callable[[Stage], Coroutine[Any, Any, RunOutcome]], **options: Any) -> tuple[Stage, RunOutcome]:
    async def act() -> tuple[Stage, RunOutcome]:
        stage = Stage(**options)
        return stage, await work(stage)

    return asyncio.run(act())


def kinds(outcome: RunOutcome) -> list[str]:
    return [row.kind for row in outcome.rows]


def test_a_plan_takes_less_time_by_what_was_done_while_it_was_decided_and_costs_the_same() -> None:
    async def late(stage: Stage) -> RunOutcome:
        await stage.clock.sleep(3 * STEP_S)
        return await stage.go_on(AB)

    waited, plain = play(late)
    stage, early = play(lambda stage: stage.run(AB, AB))
    assert waited.clock.elapsed_s == 5.0  # 3 of planning, then `a`, then `b`
    assert stage.clock.elapsed_s == 3.0  # `a` from 1 to 2, `b` from 2 to 3: all is there when the plan is
    assert early.outputs["b"].value == plain.outputs["b"].value == "b(a(a good day))"
    assert early.spent == plain.spent == usd("0.002")
    assert stage.world.calls == waited.world.calls == {"a": 1, "b": 1}
    assert kinds(early) == kinds(plain) == ["call", "call"]
    started = [event for event in early.events if event.type == "node.started"]
    assert [event.data["early_ms"] for event in started] == [1000.0, 1000.0]
    assert [event.data["ms"] for event in early.events if event.type == "node.settled"] == [1000.0, 1000.0]


def test_a_call_that_is_still_running_is_adopted_in_flight() -> None:
    async def slow(stage: Stage) -> RunOutcome:
        stage.world.seconds = 10.0
        return await stage.run(AB, OTHER_NAMES)  # by content: the names of steps do not matter

    stage, outcome = play(slow)
    assert stage.clock.elapsed_s == 21.0  # `a` from 1 to 11, `b` to 21; without it 23
    assert stage.world.calls == {"a": 1, "b": 1}
    assert outcome.spent == usd("0.002")
    assert outcome.steps["first"].price == usd("0.001")
    first = next(event for event in outcome.events if event.type == "node.settled")
    assert first.data["ms"] == 10_000.0


def test_what_another_plan_does_not_contain_is_stopped_and_booked_as_lost() -> None:
    stage, outcome = play(lambda stage: stage.run(AB, CB))
    assert stage.world.calls == {"a": 1, "b": 2, "c": 1}
    assert kinds(outcome) == ["eager", "eager", "call", "call"]
    lost, also, *_ = outcome.rows
    assert (lost.step, lost.tool, lost.element, lost.amount, lost.unit) == ("plan", "a", 0, usd("0.001"), "s")
    assert (also.tool, also.element, also.amount) == ("b", 1, usd("0.001"))
    assert "x: not in the plan that was chosen" in lost.note
    assert outcome.spent == usd("0.004")
    created = outcome.events[0].data["eager"]
    assert [call["tool"] for call in created["calls"]] == ["a", "b"]
    assert "held" not in created


def test_a_call_in_vain_is_cancelled_and_what_it_used_until_then_is_booked() -> None:
    async def slow(stage: Stage) -> RunOutcome:
        stage.world.seconds = 60.0
        await stage.decide(Plan(AB.steps[:1]))
        await stage.clock.sleep(STEP_S)
        stage.world.seconds = 1.0
        return await stage.go_on(CB)

    stage, outcome = play(slow)
    assert stage.clock.elapsed_s == 4.0  # nobody waits for the minute
    lost = outcome.rows[0]
    assert (lost.kind, lost.amount, lost.quantity) == ("eager", usd("0.001"), 1.0)
    assert stage.calls.lost == 0


@pytest.mark.parametrize(
    "plan",
    [
        POSTED,
        parse("in text: text\nx = post(text)\nout b = x"),
        parse("in text: text\nx = a(text) @approve\nout b = x"),
        parse('in text: text\nx = a(text) when text == "no" else text\nout b = x'),
        parse("in text: text\nx = a(text) @budget($1)\nout b = x"),
        parse('in text: text\nx = a(text) @key("k")\nout b = x'),
    ],
    ids=["write-after-read", "write", "approve", "when", "budget", "key"],
)
def test_steps_that_write_or_depend_on_a_decision_never_start_early(plan: Plan) -> None:
    async def act() -> World:
        stage = Stage()
        await stage.decide(plan)
        await stage.clock.sleep(5.0)
        await stage.prefix.drop("no plan")
        return stage.world

    world = asyncio.run(act())
    assert world.calls["post"] == 0
    assert world.calls["a"] == (1 if plan is POSTED else 0)


def test_neither_unpriced_nor_unknown_nor_rate_limited_tools_start_early() -> None:
    async def act() -> dict[str, int]:
        stage = Stage()
        made: list[str] = []

        class Unknown:
            def charge(self, usage: Usage) -> tuple[Charge, ...] | None:
                return None

            def describe(self) -> str:
                return "nobody knows"

        @tool(effects="read", price=Unknown())
        async def unpriced(text: str) -> str:
            """Nobody knows its price."""
            made.append("unpriced")
            return text

        @tool(effects="read", rate=1.0, price=PerCall("0"))
        async def limited(text: str) -> str:
            """Once a second."""
            made.append("limited")
            return text

        stage.prefix = Prefix(stage.calls, Catalogue([unpriced, limited]), TEXT, "p95")
        await stage.decide(parse("in text: text\nx = unpriced(text)\ny = limited(text)\nz = nobody(text)\nout b = x"))
        await stage.clock.sleep(5.0)
        await stage.prefix.drop("no plan")
        assert made == []
        return {"started": stage.calls.count}

    assert asyncio.run(act()) == {"started": 0}


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    prices=st.lists(st.integers(0, 5_000_000), min_size=3, max_size=3), cap=st.integers(1, 8_000_000),
    order=st.lists(st.sampled_from("abc"), min_size=1, max_size=6), adopted=st.booleans(),
)  # fmt: skip
def test_what_early_calls_cost_never_exceeds_the_cap(
    prices: list[int], cap: int, order: list[str], adopted: bool
) -> None:
    lines = [f'x{n} = {name}("{n}")' for n, name in enumerate(order)]
    plan = parse("\n".join(["in text: text", *lines, "out " + ", ".join(f"o{n} = x{n}" for n in range(len(order)))]))
    cost = dict(zip("abc", prices, strict=True))
    team = Limit(Money(cap * 10), "the team")
    named = {name: format_usd(Money(price)) for name, price in cost.items()}

    async def both(stage: Stage) -> RunOutcome:
        return await stage.run(plan, plan if adopted else CB)

    stage, outcome = play(both, prices=named, cap=format_usd(Money(cap)), limits=(team,))
    started = sum(cost[name] * count for name, count in stage.world.calls.items())
    early = [event for event in outcome.events if event.type == "node.started" and "early" in event.data]
    lost = [row for row in outcome.rows if row.kind == "eager"]
    assert len(early) + len(lost) == stage.calls.count
    paid = sum(cost[event.data["tool"]] for event in early) + sum(row.amount or 0 for row in lost)
    assert paid <= cap
    assert outcome.spent == started  # never twice, never not at all
    assert team.spent == outcome.spent
    assert team.reserved == 0


def test_a_shared_limit_holds_for_early_calls_and_nothing_stays_held() -> None:
    team = Limit(usd("0.0025"), "the team")
    stage, outcome = play(lambda stage: stage.run(AB, AB), limits=(team,))
    assert (team.spent, team.reserved) == (outcome.spent, 0)
    assert stage.world.calls == {"a": 1, "b": 1}
    tight = Limit(usd("0.0005"), "the team")

    async def alone(stage: Stage) -> RunOutcome:
        await stage.decide(AB)
        await stage.clock.sleep(5.0)
        assert stage.calls.count == 0
        return await stage.go_on(AB)

    _, refused = play(alone, limits=(tight,))
    assert (refused.status, tight.reserved, tight.spent) == ("failed", 0, 0)


def test_a_step_that_fails_early_is_tried_again_by_the_run() -> None:
    again = parse("in text: text\nx = a(text) @retry(1)\nout b = x")

    async def down(stage: Stage) -> RunOutcome:
        stage.world.fail = {"a"}
        await stage.decide(again)
        await stage.clock.sleep(2 * STEP_S)
        stage.world.fail = set()
        return await stage.go_on(again)

    stage, outcome = play(down)
    assert outcome.outputs["b"].value == "a(a good day)"
    assert stage.world.calls == {"a": 2}
    assert len(outcome.rows) == 2


def test_a_call_whose_step_never_comes_is_lost_when_the_run_ends() -> None:
    chosen = parse('in text: text\nx = c(text)\ny = a(text) when x == "no" else x\nout b = y')
    stage, outcome = play(lambda stage: stage.run(Plan(AB.steps[:1]), chosen))
    assert stage.world.calls == {"a": 1, "c": 1}
    assert kinds(outcome) == ["call", "eager"]
    assert outcome.rows[-1].note == "x: its step did not come to be called"
    assert outcome.events[-1].data["eager"]["calls"][0]["tool"] == "a"
    assert outcome.events[0].data["eager"]["held"][0]["tool"] == "a"


def test_cancelling_the_run_stops_an_adopted_call_and_pays_for_it_once() -> None:
    async def act() -> tuple[World, RunOutcome]:
        stage = Stage()
        stage.world.seconds = 100.0
        await stage.decide(Plan(AB.steps[:1]))
        task = asyncio.ensure_future(stage.go_on(AB))
        await stage.clock.sleep(5.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert stage.started.outcome is not None
        return stage.world, stage.started.outcome

    world, outcome = asyncio.run(act())
    assert (world.running, world.calls) == (0, {"a": 1})
    assert (outcome.status, outcome.spent, kinds(outcome)) == ("cancelled", usd("0.001"), ["call"])
    settled = next(event for event in outcome.events if event.type == "node.settled")
    assert settled.data["ms"] == 5_000.0


def test_a_tool_that_ignores_its_cancellation_does_not_keep_the_run_waiting() -> None:
    async def act() -> tuple[float, list[Any]]:
        stage = Stage()
        release = asyncio.Event()

        @tool(effects="read", price=PerCall("0.001"))
        async def deaf(text: str) -> str:
            """Never lets go."""
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue
            return text

        stage.prefix = Prefix(stage.calls, Catalogue([deaf]), TEXT, "p95")
        await stage.decide(parse("in text: text\nx = deaf(text)\nout b = x"))
        await stage.clock.sleep(STEP_S)
        await stage.prefix.drop("no plan")
        elapsed, losses = stage.clock.elapsed_s, stage.calls.unbooked()
        release.set()
        return elapsed, losses

    elapsed, losses = asyncio.run(act())
    assert elapsed == 4.0  # two seconds of patience
    assert [(loss.amount, loss.estimated) for loss in losses] == [(usd("0.001"), True)]
    assert "ignored its cancellation" in losses[0].note


def test_the_default_cap_is_a_twentieth_of_the_budget() -> None:
    assert share_of(usd("1")) == usd("0.05")
    assert share_of(Money(3)) == 1
    assert share_of(None) == usd("0.001")


def test_what_calls_cost_above_their_price_counts_against_the_cap() -> None:
    async def act() -> list[bool]:
        stage = Stage(prices={"a": "0.4"}, cap="0.5")
        spec, other = stage.tools.get("a"), stage.tools.get("b")
        options: Any = {"timeout_s": 10.0, "ended": lambda call: None}
        found = [stage.calls.start("x", spec, TEXT, key="1", price=usd("0.01"), **options)]
        found.append(stage.calls.start("y", other, TEXT, key="2", price=usd("0.001"), **options))
        await stage.clock.sleep(2.0)  # it cost 0.39 more than was said
        found.append(stage.calls.start("z", other, TEXT, key="3", price=usd("0.11"), **options))
        found.append(stage.calls.start("z", other, TEXT, key="4", price=usd("0.09"), **options))
        await stage.calls.keep((), "no plan")
        return [call is not None for call in found]

    assert asyncio.run(act()) == [True, True, False, True]
