"""Required outputs first: whatever runs when, optional calls leave them what they may need, and no cap is exceeded."""

import random
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.agent import Agent
from catp.planlang.money import Money, usd
from catp.planlang.passes.shed import required_steps
from catp.runtime.clock import VirtualClock
from catp.runtime.ledger import Ledger
from catp.runtime.replay import rebuild
from catp.runtime.run import execute
from catp.runtime.slots import Slots
from catp.runtime.testing import FakeCatalogue, compiled
from catp.tools.errors import ToolFailed


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 10**9), st.integers(2, 10), st.integers(0, 60), st.sampled_from([1, 2, 64]))
async def test_required_outputs_are_never_starved(seed: int, count: int, extra: int, slots: int) -> None:
    rng = random.Random(seed)
    clock = VirtualClock()
    tools = FakeCatalogue(clock)
    lines = []
    for place in range(count):
        top = rng.randint(1, 50)
        tools.add(
            f"t{place}", params=("x", "y"), takes_s=rng.choice((0.0, 1.0, 2.0, 5.0)), p95=Money(top),
            expected=Money(rng.randint(0, top)), actual=partial(_price, rng, top),
        )  # fmt: skip
        sources = rng.sample(range(place), min(place, rng.randint(0, 2)))
        lines.append(f"s{place} = t{place}({', '.join(f's{one}' for one in sources)})")
    must = {place for place in range(count) if rng.random() < 0.4} or {rng.randrange(count)}
    lines.append(f"out {', '.join(f's{place}' + ('' if place in must else '?') for place in range(count))}")
    plan = compiled("\n".join(lines), tools)
    needed = sum(plan.estimate.steps[step.name].price.p95 or 0 for step in plan.plan.steps
                 if step.name in required_steps(plan.plan, plan.registry))  # fmt: skip
    ledger = Ledger(Money(needed + extra))
    outcome = await execute(plan, {}, tools, ledger=ledger, clock=clock, slots=Slots(slots))
    assert all(outcome.outputs[f"s{place}"].ok for place in must)
    assert ledger.spent <= needed + extra
    assert ledger.reserved == 0
    assert {refusal.step for refusal in outcome.refusals} == {
        name for name, step in outcome.steps.items() if step.status == "refused"
    }
    assert rebuild(outcome.events).spent == ledger.spent


def _price(rng: random.Random, top: int, _args: Mapping[str, Any]) -> int:
    return rng.randint(0, top)


async def test_money_for_the_retry_of_a_required_call_is_kept_as_well() -> None:
    tools = FakeCatalogue(VirtualClock())
    tools.add("must", script=[ToolFailed, "ok"], p95=usd("0.03"), actual=lambda _: usd("0.03"), takes_s=1.0)
    tools.add("may", p95=usd("0.03"), takes_s=0.1)
    tools.estimates["must"] = replace(tools.estimates["must"], failure=0.3)
    plan = compiled("a = must() @retry(1)\nb = may()\nout a, b?", tools)
    outcome = await execute(plan, {}, tools, ledger=Ledger(usd("0.07")), clock=tools.clock)
    assert outcome.outputs["a"].ok
    assert outcome.outputs["b"].status == "refused"
    assert outcome.spent == usd("0.06")


@pytest.mark.parametrize(("at", "held"), [("expected", "0.01"), ("p95", "0.03"), ("p99", "0.038284")])
async def test_what_is_held_is_what_was_asked_for(at: str, held: str) -> None:
    tools = FakeCatalogue(VirtualClock())
    tools.add("t", p95=usd("0.03"), expected=usd("0.01"))
    ledger = Ledger(usd("1"), reserve_at=at)  # type: ignore[arg-type]
    outcome = await execute(compiled("a = t()\nout a", tools), {}, tools, ledger=ledger, clock=tools.clock)
    started = next(event for event in outcome.events if event.type == "node.started")
    assert started.data["reserved"] == held


def test_an_agent_knows_which_prices_there_are() -> None:
    with pytest.raises(ValueError, match="reserve must be one of expected, p95, p99, not 'p50'"):
        Agent(reserve="p50")  # type: ignore[arg-type]
