"""The agent's money end to end: shared limits and budgets, verdicts, degradation, headroom, refusals, warnings."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from catp.agent import Agent
from catp.planlang.money import Money, usd
from catp.planlang.parser import parse
from catp.result import RunRefused
from catp.runtime.clock import VirtualClock
from catp.runtime.ledger import Ledger, Limit
from catp.runtime.run import RunOutcome, execute
from catp.runtime.testing import FakeCatalogue, compiled
from catp.store.budgets import Standing, set_budget, standings
from catp.store.store import RunStore
from catp.tools import Catalogue, PerCall, tool
from catp.tools.errors import ToolFailed
from catp.tools.usage import Charge, Usage


@tool(price=PerCall("0.02"))
async def fine(text: str) -> str:
    """Say it well."""
    return text.upper()


@tool(price=PerCall("0.005"))
async def plain(text: str) -> str:
    """Say it plainly."""
    return text.lower()


@tool(price=PerCall("0.01"))
async def extra(text: str) -> str:
    """Say something more."""
    return text + "!"


TOOLS = Catalogue((fine, plain, extra))
PLAN = parse("in t: text\na = fine(t) | plain(t)\nb = extra(t)\nout a, b?")
BARE = parse("in t: text\na = fine(t)\nb = extra(t)\nout a, b?")


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "runs.db")


def budget(store: RunStore, cap: str, warn: tuple[float, ...] = (), scope: str = "project", name: str = "demo") -> None:
    store.database.write(lambda c: set_budget(c, scope, name, "total", usd(cap), warn, time.time_ns()))


def stand(store: RunStore) -> Standing:
    return store.database.read(lambda c: standings(c, time.time_ns()))[0]


# --- at admission ---------------------------------------------------------------------------------------------------


async def test_the_optional_output_is_given_up_and_told_before_and_after() -> None:
    async with Agent(TOOLS) as agent:
        quote = await agent.quote(PLAN, {"t": "x"}, budget="0.025")
        assert [(one.output, one.saves) for one in quote.given_up] == [("b", usd("0.01"))]
        assert quote.price.expected == usd("0.02")
        assert any("output `b` is given up ($0.01) so that the plan fits $0.025" in note for note in quote.notes)
        result = await agent.run(quote, {"t": "x"})
    assert result.status == "degraded"
    assert dict(result.outputs) == {"a": "X"}
    assert (result.results["b"].status, result.results["b"].optional) == ("refused", True)
    assert "given up" in result.results["b"].reason
    assert result.spent == usd("0.02")
    created = result.trace[0].data
    assert created["given_up"] == {"b": result.results["b"].reason}
    assert result.trace[-1].data["outputs"]["b"]["status"] == "refused"


async def test_then_the_cheaper_alternative_then_refusal() -> None:
    async with Agent(TOOLS) as agent:
        result = await agent.run(PLAN, {"t": "X"}, budget="0.007")
        assert dict(result.outputs) == {"a": "x"}
        assert any("`plain` is tried first" in note for note in result.quote.notes)
        with pytest.raises(RunRefused, match=r"the least it can be done for.*is \$0.005") as refused:
            await agent.run(PLAN, {"t": "X"}, budget="0.004")
        assert refused.value.quote.given_up == ()


async def test_a_bigger_budget_admits_a_refused_quote_and_brings_back_what_was_given_up() -> None:
    async with Agent(TOOLS) as agent:
        refused = await agent.quote(BARE, {"t": "x"}, budget="0.001")
        assert not refused.admitted
        assert (await agent.run(refused, {"t": "x"}, budget="0.05")).status == "complete"
        less = await agent.quote(BARE, {"t": "x"}, budget="0.02")
        assert less.given_up
        assert dict((await agent.run(less, {"t": "x"}, budget="0.05")).outputs) == {"a": "X", "b": "x!"}
        with pytest.raises(RunRefused):
            await agent.run(less, {"t": "x"}, budget="0.01")


async def test_what_outputs_are_worth_decides_what_goes() -> None:
    plan = parse("in t: text\na = plain(t)\nb = extra(t)\nc = fine(t)\nout a, b?, c?")
    async with Agent(TOOLS, values={"c": 10}) as agent:
        assert [one.output for one in (await agent.quote(plan, {"t": "x"}, budget="0.03")).given_up] == ["b"]
    async with Agent(TOOLS) as agent:
        assert [one.output for one in (await agent.quote(plan, {"t": "x"}, budget="0.03")).given_up] == ["c"]


async def test_the_verdict_counts_what_shared_budgets_have_left_and_names_them(store: RunStore) -> None:
    budget(store, "0.045")
    async with Agent(TOOLS, store=store, project="demo", name="me") as agent:
        assert (await agent.run(BARE, {"t": "x"})).status == "complete"
        quote = await agent.quote(parse("in t: text\na = fine(t)\nout a"), {"t": "x"})
        assert not quote.admitted
        assert "exceeds the $0.015 that project:demo has left" in quote.verdict.diagnostics[0].message
        with pytest.raises(RunRefused, match="project:demo"):
            await agent.run(quote, {"t": "x"})
        less = await agent.run(parse("in t: text\na = plain(t)\nb = extra(t)\nc = extra(t)\nout a, b?, c?"), {"t": "x"})
        assert less.spent <= usd("0.015")
    assert stand(store).spent <= usd("0.045")


async def test_a_quote_made_before_others_spent_is_weighed_again(store: RunStore) -> None:
    budget(store, "0.04")
    async with Agent(TOOLS, store=store, project="demo") as agent:
        quote = await agent.quote(BARE, {"t": "x"})
        assert quote.given_up == ()
        await agent.run(quote, {"t": "x"})
        with pytest.raises(RunRefused, match="project:demo has left"):
            await agent.run(quote, {"t": "x"})


async def test_a_budget_made_later_counts_what_was_spent_before(store: RunStore) -> None:
    async with Agent(TOOLS, store=store, project="demo") as agent:
        spent = (await agent.run(BARE, {"t": "x"})).spent
    async with Agent(TOOLS, store=store, project="another") as agent:
        await agent.run(BARE, {"t": "x"})
    budget(store, "1")
    assert stand(store).spent == spent == usd("0.03")


# --- limits in the process ------------------------------------------------------------------------------------------


async def test_agents_share_a_limit_in_the_process() -> None:
    limit = Limit(usd("0.07"), "the team", scope="agent", warn=(0.5,))
    one, two = Agent(TOOLS, limits=[limit]), Agent(TOOLS, limits=[limit])
    first = await one.run(BARE, {"t": "x"})
    second = await two.run(BARE, {"t": "x"})
    assert limit.spent == first.spent + second.spent == usd("0.06")
    assert first.warnings == ()
    assert [warning for warning in second.warnings if "the team has spent $0.0" in warning]
    with pytest.raises(RunRefused, match="the team has left"):
        await one.run(BARE, {"t": "x"})


async def test_a_call_that_waits_for_money_of_another_run_gets_it_when_that_run_settles() -> None:
    limit = Limit(usd("0.1"), "the team", scope="agent")
    clock = VirtualClock()
    tools = FakeCatalogue(clock)
    tools.add("slow", takes_s=5.0, actual=lambda _: usd("0.02"), p95=usd("0.08"), expected=usd("0.02"))
    plan = compiled("a = slow()\nout a", tools)
    runs = [execute(plan, {}, tools, ledger=Ledger(within=[limit]), clock=clock) for _ in range(3)]
    outcomes = await asyncio.gather(*runs)
    assert [outcome.status for outcome in outcomes] == ["complete", "complete", "failed"]  # 0.04 spent, 0.06 left
    assert clock.elapsed_s == pytest.approx(10, abs=0.5)
    assert limit.spent == usd("0.04")
    assert limit.reserved == 0


async def test_warnings_are_events_once(store: RunStore) -> None:
    budget(store, "0.1", warn=(0.25,), scope="agent", name="me")
    async with Agent(TOOLS, store=store, name="me", budget="0.05", warn=[0.5]) as agent:
        first = await agent.run(BARE, {"t": "x"})
        second = await agent.run(BARE, {"t": "x"})
    told = [(event.data["scope"], event.data["level"]) for event in first.trace if event.type == "run.budget_warning"]
    assert sorted(told) == [("agent:me", 0.25), ("the budget", 0.5)]
    data = next(event.data for event in first.trace if event.data.get("scope") == "agent:me")
    assert set(data) == {"scope", "level", "spent", "cap"}
    assert data["cap"] == "0.10"
    again = [event.data["scope"] for event in second.trace if event.type == "run.budget_warning"]
    assert again == ["the budget"]


# --- while it runs --------------------------------------------------------------------------------------------------


async def run(text: str, tools: FakeCatalogue, cap: Money, **options: Any) -> RunOutcome:
    return await execute(compiled(text, tools), {}, tools, ledger=Ledger(cap), clock=tools.clock, **options)


async def test_an_optional_branch_never_starves_a_required_one() -> None:
    tools = FakeCatalogue(VirtualClock())
    tools.add("first", takes_s=5.0, p95=usd("0.01"))
    tools.add("must", actual=lambda _: usd("0.06"), p95=usd("0.06"))
    tools.add("may", p95=usd("0.05"))
    # `may` could start at once and would fit by itself: then nothing would be left for `must`
    outcome = await run("a = first()\nb = must(a)\nc = may()\nout b, c?", tools, usd("0.1"))
    assert outcome.outputs["b"].ok
    assert outcome.outputs["c"].status == "refused"
    assert outcome.status == "degraded"
    assert outcome.spent == usd("0.07")
    (refusal,) = outcome.refusals
    assert (refusal.step, refusal.tool, refusal.refused.limit) == ("c", "may", "the budget")
    event = next(event for event in outcome.events if event.type == "node.refused" and event.attempt is not None)
    assert (event.data["needed"], event.data["available"], event.data["short"]) == ("0.05", "0.03", "0.02")


async def test_the_optional_branch_runs_as_soon_as_the_required_one_turns_out_cheap() -> None:
    tools = FakeCatalogue(VirtualClock())
    tools.add("first", takes_s=5.0, p95=usd("0.01"))
    tools.add("must", actual=lambda _: usd("0.01"), p95=usd("0.06"))
    tools.add("may", p95=usd("0.05"))
    outcome = await run("a = first()\nb = must(a)\nc = may()\nout b, c?", tools, usd("0.1"))
    assert outcome.status == "complete"
    assert outcome.refusals == ()


async def test_a_call_that_waits_for_money_kept_for_a_step_nobody_approves_now_does_not_hold_up_the_run() -> None:
    tools = FakeCatalogue(VirtualClock())
    tools.add("must", p95=usd("0.08"))
    tools.add("may", p95=usd("0.05"))

    async def later(_request: Any) -> bool | None:
        return None

    outcome = await run("b = must() @approve\nc = may()\nout b, c?", tools, usd("0.1"), approve=later)
    assert outcome.status == "waiting"
    assert outcome.outputs["c"].status == "refused"


async def test_retries_and_hedges_reserve_again() -> None:
    clock = VirtualClock()
    tools = FakeCatalogue(clock)
    tools.add("flaky", script=[ToolFailed, ToolFailed, "ok"], p95=usd("0.03"), actual=lambda _: usd("0.03"))
    outcome = await run("a = flaky() @retry(5)\nout a", tools, usd("0.07"))
    # two calls fit (0.06), the third does not: its retry is refused, not made on credit
    assert outcome.spent == usd("0.06")
    assert [refusal.attempt for refusal in outcome.refusals] == [3]
    assert outcome.outputs["a"].status in ("failed", "refused")

    tools = FakeCatalogue(VirtualClock())
    tools.add("slow", takes_s=60.0, p95=usd("0.05"))
    tools.add("quick", p95=usd("0.05"))
    enough = await run("a = slow() | quick() @hedge(1s)\nout a", tools, usd("0.1"))
    assert (enough.status, len(tools.backends["quick"].calls)) == ("complete", 1)
    short = await run("a = slow() | quick() @hedge(1s)\nout a", tools, usd("0.09"))
    assert short.spent <= usd("0.09")
    assert len(tools.backends["quick"].calls) == 1  # the hedge would have needed 0.05 more


class _Rogue:
    """A price model that says what it was told to."""

    def __init__(self, amounts: list[Any]) -> None:
        self.amounts = amounts

    def charge(self, usage: Usage) -> tuple[Charge, ...] | None:
        amount = self.amounts.pop(0)
        if isinstance(amount, Exception):
            raise amount
        return None if amount is None else (Charge("call", 1.0, "call", "?", amount),)

    def describe(self) -> str:
        return "rogue"


@pytest.mark.parametrize("amount", [-5, float("nan"), float("inf"), 0.5, None, ValueError("no idea"), True])
async def test_absurd_prices_are_charged_as_reserved_in_run_and_shared_budget(store: RunStore, amount: Any) -> None:
    budget(store, "1")
    bad = tool(price=PerCall("0.03"), name="bad")(_say)
    spec = bad.spec
    catalogue = Catalogue((bad,))
    object.__setattr__(catalogue.get("bad"), "price", _Rogue([amount, amount, amount, amount]))
    limit = Limit(usd("1"), "the team", scope="agent")
    async with Agent(catalogue, store=store, project="demo", limits=[limit], assume_price="0.03") as agent:
        result = await agent.run(parse("in t: text\na = bad(t)\nout a"), {"t": "x"}, budget="0.5")
    assert spec.name == "bad"
    (row,) = result.ledger
    assert row.amount is not None
    assert row.amount >= 0
    assert type(row.amount) is int
    assert (row.source, row.priced) == ("estimated", False)
    assert result.spent == limit.spent == stand(store).spent == row.amount
    assert limit.reserved == stand(store).reserved == 0


async def _say(text: str) -> str:
    """Say it."""
    return text


async def test_a_run_that_cannot_be_saved_gets_nothing_of_a_shared_budget(store: RunStore) -> None:
    budget(store, "1")
    async with Agent(TOOLS, store=store, project="demo") as agent:
        assert (await agent.run(BARE, {"t": "x"})).saved
        path = Path(store.database.name)
        agent.spending.desk.close()  # type: ignore[union-attr]  # there is a store
        store.close()
        take_away(path)
        with pytest.raises(RunRefused, match="a shared budget that cannot be read"):
            await agent.run(BARE, {"t": "x"})


def take_away(path: Path) -> None:
    for file in path.parent.glob("runs.db*"):
        file.rename(file.with_name(f"away-{file.name}"))
    path.mkdir()


async def test_a_run_that_goes_on_draws_on_the_budget_it_began_under(store: RunStore) -> None:
    budget(store, "1")
    plan = parse("in t: text\na = fine(t)\nb = extra(a) @approve\nc = extra(b)\nout a, c")
    async with Agent(TOOLS, store=store, project="demo", approve="later") as agent:
        first = await agent.run(plan, {"t": "x"})
        assert (first.status, first.spent) == ("waiting", usd("0.02"))
    budget(store, "0.03")
    async with Agent(TOOLS, store=store, approve="auto") as other:  # of no project
        second = await other.resume(first.run_id)
    assert second.spent == stand(store).spent == usd("0.03")
    assert second.results["c"].status == "refused"
    assert [refusal.refused.limit for refusal in second.refusals] == ["project:demo"]
