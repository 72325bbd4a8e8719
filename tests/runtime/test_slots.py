"""Slots across runs, and what one call may leave behind for the next."""

import asyncio
from contextvars import ContextVar

import pytest

from catp.planlang.money import usd
from catp.runtime.clock import VirtualClock
from catp.runtime.ledger import Ledger
from catp.runtime.run import execute
from catp.runtime.slots import Slots
from catp.runtime.testing import FakeCatalogue, compiled

USER: ContextVar[str] = ContextVar("user", default="nobody")


def test_slots_must_be_positive() -> None:
    with pytest.raises(ValueError, match="slots must be at least 1"):
        Slots(0)


async def test_context_variables_do_not_leak_from_call_to_call() -> None:
    clock = VirtualClock()
    tools = FakeCatalogue(clock)

    def work(x: str) -> str:
        seen = USER.get()
        USER.set(x)
        return seen

    tools.add("t", work)
    USER.set("caller")
    plan = compiled('a = t("one")\nb = t([a])\nc = t([b])\nout a, b, c', tools)
    outcome = await execute(plan, {}, tools, ledger=Ledger(), clock=clock, slots=Slots(1))
    assert [outcome[name] for name in "abc"] == ["caller"] * 3


async def test_runs_share_slots_and_a_budget() -> None:
    clock = VirtualClock()
    tools = FakeCatalogue(clock)
    tool = tools.add("t", takes_s=1.0)
    slots, ledger = Slots(3), Ledger(usd("0.125"))
    plan = compiled("in xs: list[int]\na = t(each xs) @quorum(0.1)\nout a", tools)
    runs = [execute(plan, {"xs": list(range(5))}, tools, ledger=ledger, clock=clock, slots=slots) for _ in range(3)]
    outcomes = await asyncio.gather(*runs)
    assert tool.most == 3
    assert slots.running == 0
    assert ledger.spent == usd("0.12") == sum(outcome.spent for outcome in outcomes)
    assert sum(len(outcome["a"]) for outcome in outcomes) == 12


def test_slots_outlive_their_event_loop() -> None:
    slots = Slots(2)
    for _ in range(2):
        clock = VirtualClock()
        tools = FakeCatalogue(clock)
        tools.add("t", takes_s=1.0)
        plan = compiled("a = t(1)\nb = t(2)\nc = t(3)\nout a, b, c", tools)
        outcome = asyncio.run(execute(plan, {}, tools, ledger=Ledger(), clock=clock, slots=slots))
        assert outcome.ok
