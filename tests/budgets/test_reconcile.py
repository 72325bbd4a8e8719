"""Every total is a sum of ledger rows: ledger = steps = run = day = budget = page, whatever happened in the runs.

To extend: a new surface is one line in `SURFACES`; something new that can happen to a run (a resume, a replay) is one
more function in `LIVES`, which runs one plan and returns what the caller was told that it cost.
"""

import random
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import pytest
from sqlalchemy import Connection, text

from catp.agent import Agent
from catp.planlang.money import usd
from catp.planlang.parser import parse
from catp.result import RunRefused
from catp.runtime.replay import rebuild as replay
from catp.store.audit import audit
from catp.store.budgets import set_budget, standings
from catp.store.rebuild import rebuild
from catp.store.store import RunStore
from catp.tools import Catalogue, PerCall, tool
from catp.tools.errors import ToolFailed

DRAW = random.Random()


@tool(price=PerCall("0.003"), cache="1h")
async def read(text: str) -> str:
    """Reads; fails now and then."""
    if DRAW.random() < 0.3:
        raise ToolFailed("read", "not today")
    return text


@tool(price=PerCall("0.007"))
async def think(text: str) -> str:
    """Thinks; fails more often, and is paid all the same."""
    if DRAW.random() < 0.5:
        raise ValueError("lost the thread")
    return text


@tool
async def guess(text: str) -> str:
    """Nobody knows its price."""
    return text


TOOLS = Catalogue((read, think, guess))
PLAN = parse("""
in t: text
a = read(t) @retry(2, backoff=1ms)
b = think(a) | read(a) @retry(1, backoff=1ms)
c = think(t) | read(t) @hedge(1ms)
d = guess(t)
e = read(t)
out a, b?, c?, d?, e?
""")

Life: TypeAlias = Callable[[Agent, str], Awaitable[int]]
Surface: TypeAlias = Callable[[Connection], int]


async def plain_run(agent: Agent, word: str) -> int:
    """One run; what the result says of itself agrees in every way it says it."""
    try:
        result = await agent.run(PLAN, {"t": word}, budget=DRAW.choice((None, "0.02", "0.008")))
    except RunRefused:
        return 0
    rows = [row.amount for row in result.ledger if row.amount is not None]
    assert result.spent == sum(rows)
    assert result.spent == sum(step.price or 0 for step in result.steps.values())
    assert result.spent == replay(result.trace).spent
    assert result.saved
    return result.spent


LIVES: tuple[Life, ...] = (plain_run,)

SURFACES: Mapping[str, Surface] = {
    "ledger rows": lambda c: _sum(c, "SELECT SUM(amount_nano) FROM costs"),
    "calls": lambda c: _sum(c, "SELECT SUM(cost_nano) FROM calls"),
    "steps": lambda c: _sum(c, "SELECT SUM(cost_nano) FROM steps"),
    "runs": lambda c: _sum(c, "SELECT SUM(cost_nano) FROM runs"),
    "days, by tool": lambda c: _sum(c, "SELECT SUM(cost_nano) FROM rollup_day WHERE kind = 'tool'"),
    "days, by policy": lambda c: _sum(c, "SELECT SUM(cost_nano) FROM rollup_day WHERE kind = 'policy'"),
    "budget of the project, all time": lambda c: _budget(c, "project", "total"),
    "budget of the project, by the month": lambda c: _budget(c, "project", "month"),
    "budget of the agent": lambda c: _budget(c, "agent", "total"),
}


def _sum(connection: Connection, sql: str) -> int:
    return int(connection.execute(text(sql)).scalar_one() or 0)


def _budget(connection: Connection, scope: str, period: str) -> int:
    sql = (
        "SELECT SUM(spent_nano) FROM budget_periods p JOIN budgets b ON b.id = p.budget_id "
        f"WHERE scope = '{scope}' AND period = '{period}'"
    )
    return _sum(connection, sql)


def surfaces(store: RunStore) -> dict[str, int]:
    found = {name: store.database.read(surface) for name, surface in SURFACES.items()}
    found["page of runs"] = sum(run.cost or 0 for run in store.list(limit=1000))
    return found


@pytest.mark.parametrize("seed", range(6))
async def test_every_total_is_the_sum_of_the_ledger_rows(tmp_path: Path, seed: int) -> None:
    DRAW.seed(seed)
    store = RunStore(tmp_path / "runs.db")

    def budgets(connection: Connection) -> None:
        for scope, name, period, cap in (
            ("project", "p", "total", "0.11"), ("project", "p", "month", "0.1"), ("agent", "a", "total", "5"),
        ):  # fmt: skip
            set_budget(connection, scope, name, period, usd(cap), (0.5,), 0)  # type: ignore[arg-type]

    store.database.write(budgets)
    told = 0
    async with Agent(TOOLS, store=store, project="p", name="a", assume_price="0.001", strict=False) as agent:
        for number in range(8):
            life = LIVES[number % len(LIVES)]
            told += await life(agent, f"word {number % 3}")
    assert told > 0
    found = surfaces(store)
    assert found == dict.fromkeys(found, told)
    assert told <= usd("0.1")
    assert all(standing.reserved == 0 for standing in store.database.read(lambda c: standings(c, 0)))
    assert store.database.read(audit) == []
    store.database.write(rebuild)
    assert surfaces(store) == found
    assert store.database.read(audit) == []
    store.close()
