"""Price models that lie: what they say never lets a shared budget be passed, and never costs a run its record."""

import time
from pathlib import Path
from typing import Any

import pytest

from catp.agent import Agent
from catp.planlang.money import usd
from catp.planlang.parser import parse
from catp.result import RunRefused
from catp.store.budgets import Standing, set_budget, standings
from catp.store.store import RunStore
from catp.tools import Catalogue, tool
from catp.tools.usage import Charge, Usage

CHAIN = parse("\n".join(f"s{n} = t({f's{n - 1}' if n else 0})" for n in range(8)) + "\nout s7")


class Says:
    """Says one price before the call and another one after it."""

    needs = frozenset[str]()

    def __init__(self, before: Any, after: Any, quantity: Any = 1.0) -> None:
        self.before, self.after, self.quantity = before, after, quantity

    def charge(self, usage: Usage) -> tuple[Charge, ...]:
        amount = self.after if usage.wall_ms else self.before
        return (Charge("custom", self.quantity, "call", "1", amount),)

    def describe(self) -> str:
        return "a lie"


def agent(store: RunStore, price: Says) -> Agent:
    @tool(price=price, effects="read")
    async def t(x: int) -> int:
        return x

    store.database.write(lambda c: set_budget(c, "project", "demo", "total", usd("1"), (), time.time_ns()))
    return Agent(Catalogue((t,)), store=store, project="demo")


def stand(store: RunStore) -> Standing:
    return store.database.read(lambda c: standings(c, time.time_ns()))[0]


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "runs.db")


async def test_what_is_said_to_be_free_stops_once_more_is_spent_than_may_be(store: RunStore) -> None:
    async with agent(store, Says(0, usd("0.6"))) as me:
        result = await me.run(CHAIN)
        assert [result.results["s7"].status, result.spent] == ["poisoned", usd("1.2")]
        assert "may cost $0.00, but project:demo has nothing left" in result.refusals[0].refused.reason
    assert (stand(store).spent, stand(store).reserved) == (usd("1.2"), 0)
    async with agent(store, Says(0, usd("0.6"))) as another:  # as if in a new process
        assert (await another.run(CHAIN)).spent == 0


async def test_what_is_really_free_runs_when_nothing_is_left(store: RunStore) -> None:
    async with agent(store, Says(usd("1"), usd("1"))) as me:
        assert (await me.run("in x: number = 1\na = t(1)\nout a")).spent == usd("1")
    async with agent(store, Says(0, 0)) as me:
        assert (await me.run(CHAIN)).status == "complete"


@pytest.mark.parametrize("nonsense", [-usd("1"), float("nan"), 0.5, 10**19, True, "1"])
async def test_nonsense_before_the_call_is_no_price(store: RunStore, nonsense: Any) -> None:
    async with agent(store, Says(nonsense, usd("0.5"))) as me:
        with pytest.raises(RunRefused, match="is unknown"):
            await me.run(CHAIN)
    assert stand(store).spent == 0


@pytest.mark.parametrize("price", [Says(1, -5), Says(1, float("nan")), Says(1, 10**19), Says(1, 9 * 10**18)])
async def test_nonsense_after_the_call_is_charged_as_held(store: RunStore, price: Says) -> None:
    price.before = usd("0.1")
    async with agent(store, price) as me:
        result = await me.run(CHAIN)
        assert (result.status, result.spent, result.warnings) == ("complete", usd("0.8"), ())
        assert all(row.source == "estimated" and "its price model failed" in row.note for row in result.ledger)
        saved = store.get(result.run_id).summary
    assert (saved.status, saved.cost) == ("complete", usd("0.8"))
    assert (stand(store).spent, stand(store).reserved) == (usd("0.8"), 0)


@pytest.mark.parametrize("quantity", ["x", None, 10**400, float("nan")])
async def test_a_quantity_that_is_none_does_not_lose_the_record(store: RunStore, quantity: Any) -> None:
    async with agent(store, Says(usd("0.1"), usd("0.1"), quantity)) as me:
        me.spending = type(me.spending)(desk=me.spending.desk, assume_price=usd("0.1"))
        result = await me.run(CHAIN)
        assert (result.status, result.spent, result.warnings) == ("complete", usd("0.8"), ())
    assert (stand(store).spent, stand(store).reserved) == (usd("0.8"), 0)
