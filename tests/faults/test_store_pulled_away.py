"""The store's file is removed or replaced, or the run taken over, while an agent is at work: nothing happens twice."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from catp.agent import Agent
from catp.planlang.money import usd
from catp.planlang.nodes import Plan
from catp.planlang.parser import parse
from catp.result import RunResult
from catp.store.budgets import set_budget
from catp.store.store import RunStore
from catp.tools import Catalogue, PerCall, tool

READS = parse("\n".join(f"s{n} = look({f's{n - 1}' if n else 0})" for n in range(40)) + "\nout s39")
WRITES = parse("a = look(0)\nb = act(a)\nc = act(b)\nout c")


async def run_while(path: Path, plan: Plan, pull: Callable[[], None], *, budget: bool) -> tuple[RunResult, list[str]]:
    """Run a plan whose second call does something to the store; return the result and the calls that were made."""
    calls: list[str] = []

    def called(name: str) -> None:
        calls.append(name)
        if len(calls) == 2:
            pull()

    @tool(price=PerCall("0.01"), effects="read")
    async def look(x: int) -> int:
        called("look")
        return x

    @tool(price=PerCall("0.01"), effects="write")
    async def act(x: int) -> int:
        called("act")
        return x

    store = RunStore(path, busy_s=1.0)
    if budget:
        store.database.write(lambda c: set_budget(c, "project", "default", "total", usd("1"), (), time.time_ns()))
    async with Agent(Catalogue((look, act)), store=store) as agent:
        return await agent.run(plan, {}), calls


def remove(path: Path) -> None:
    for end in ("", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)


def replace(path: Path) -> None:
    remove(path)
    other = RunStore(path)
    other.database.write(lambda c: set_budget(c, "project", "default", "total", usd("9"), (), time.time_ns()))
    other.close()


@pytest.mark.parametrize("pull", [remove, replace])
async def test_a_store_that_is_gone_grants_nothing_and_says_so(tmp_path: Path, pull: Callable[[Path], None]) -> None:
    path = tmp_path / "runs.db"
    result, calls = await run_while(path, READS, lambda: pull(path), budget=True)
    assert calls == ["look", "look"]
    assert result.refusals[0].refused.cause == "unreachable"
    assert not result.saved
    assert "was removed or replaced while this process used it" in result.warnings[0]


@pytest.mark.parametrize("pull", [remove, replace])
async def test_nothing_is_written_whose_record_would_be_lost(tmp_path: Path, pull: Callable[[Path], None]) -> None:
    path = tmp_path / "runs.db"
    result, calls = await run_while(path, WRITES, lambda: pull(path), budget=False)
    assert calls == ["look", "act"]
    assert "was removed or replaced" in result.results["c"].reason
    assert not result.saved


async def test_another_store_is_used_once_it_was_closed(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    await run_while(path, WRITES, lambda: None, budget=True)
    store = RunStore(path)
    async with Agent(Catalogue(()), store=store):
        assert len(store.list()) == 1
    replace(path)
    assert store.list() == []
    store.database.write(lambda c: set_budget(c, "project", "demo", "total", usd("1"), (), time.time_ns()))
    store.close()


async def test_a_run_that_was_taken_over_pays_for_nothing_more(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    thief = RunStore(path)

    def take() -> None:
        row = ("otherhost/boot/ns:1:1", time.time_ns())
        thief.database.write(lambda c: c.exec_driver_sql("UPDATE runs SET owner = ?, heartbeat_ns = ?", row))

    result, calls = await run_while(path, READS, take, budget=False)
    thief.close()
    assert len(calls) < 40  # the journal finds out with the next event that it writes
    assert result.status == "failed"
    assert "was taken over by another process" in result.refusals[0].refused.reason
    assert not result.saved
