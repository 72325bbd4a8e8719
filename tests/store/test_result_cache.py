"""Results kept in the run store, on SQLite and PostgreSQL."""

import asyncio
import json
import math
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from catp.agent import Agent
from catp.cache.stored import StoredCache, clear, usage
from catp.cache.worth import OVERHEAD
from catp.planlang.money import Money
from catp.runtime.codec import Encoded, encode
from catp.runtime.events import RunEvent
from catp.runtime.hooks import CacheEntry, Found
from catp.store.audit import audit
from catp.store.rebuild import rebuild
from catp.store.rollups import leaderboard
from catp.store.store import RunStore
from catp.tools.decorator import tool
from catp.tools.price import PerCall

NOW = 1_700_000_000_000_000_000
SECOND = 10**9


class Time:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


def entry(data: bytes, price: int | None = 100, ms: float = 1.0, name: str = "t") -> CacheEntry:
    return CacheEntry(
        name, "1", Encoded("bytes", "application/octet-stream", data), None if price is None else Money(price), ms
    )


async def test_what_one_process_keeps_another_finds(store: RunStore) -> None:
    time = Time()
    one, other = (StoredCache(store.database, now_ns=time) for _ in range(2))
    small, large = entry(b"small"), entry(bytes(range(256)) * 4000)
    await one.put("a" * 64, small, 600.0)
    await one.put("b" * 64, large, math.inf)
    time.now += 60 * SECOND
    found = await other.get("a" * 64)
    assert found is not None
    assert (found.entry, found.age_s) == (small, 60.0)
    kept = await other.get("b" * 64)
    assert kept is not None
    assert kept.entry == large
    time.now += 600 * SECOND
    assert await other.get("a" * 64) is None
    assert await other.get("b" * 64) is not None
    await other.drop("b" * 64)
    assert await one.get("b" * 64) is None
    assert (one.problem, other.problem) == (None, None)


async def test_uses_are_counted_and_told(store: RunStore) -> None:
    cache = StoredCache(store.database)
    await cache.put("a" * 64, entry(b"x" * 100, price=2_000_000), math.inf)
    await cache.put("b" * 64, entry(b"x", price=None, name="u"), math.inf)
    for _ in range(5):
        cache.used("a" * 64, 2)
    await cache.put("a" * 63 + "c", entry(b"x" * 50), math.inf)  # writes are carried out in order
    assert store.database.read(usage) == [
        ("t", 2, 150 + 2 * OVERHEAD, 10, 20_000_000), ("u", 1, 1 + OVERHEAD, 0, 0),
    ]  # fmt: skip
    assert store.database.write(lambda connection: clear(connection, "t")) == 2
    assert store.database.write(clear) == 1
    assert store.database.read(usage) == []


async def test_the_size_is_bounded_and_the_least_worth_keeping_go_first(store: RunStore) -> None:
    cache = StoredCache(store.database, 100 * 1024 / 2**20)
    await cache.put("dear", entry(b"x" * 5000, price=10**9), math.inf)
    await cache.put("popular", entry(b"x" * 5000, price=1000), math.inf)
    cache.used("popular", 100_000)
    for place in range(60):
        await cache.put(f"cheap {place}", entry(b"x" * 5000, price=1000), math.inf)
        assert sum(use.bytes for use in store.database.read(usage)) <= 100 * 1024
    assert await cache.get("dear") is not None
    assert await cache.get("popular") is not None
    assert await cache.get("cheap 0") is None
    assert await cache.get("cheap 59") is not None
    await cache.put("too large", entry(b"x" * 26 * 1024), math.inf)
    assert await cache.get("too large") is None


async def test_two_processes_that_write_stay_within_the_bound(store: RunStore) -> None:
    caches = [StoredCache(store.database, 100 * 1024 / 2**20) for _ in range(2)]
    for place in range(600):
        await caches[place % 2].put(f"{place}", entry(b"x" * 2000), math.inf)
    assert sum(use.bytes for use in store.database.read(usage)) <= 200 * 1024


async def test_a_clock_set_back_between_processes(store: RunStore) -> None:
    """The results are still there, and do not live longer than they should from here on."""
    time = Time()
    first = StoredCache(store.database, now_ns=time)
    await first.put("a", entry(b"a"), 600.0)
    time.now += 500 * SECOND
    await first.put("b", entry(b"b"), 600.0)
    time.now -= 24 * 3600 * SECOND
    second = StoredCache(store.database, now_ns=time)
    found = await second.get("a")
    assert found is not None
    assert found.age_s == 500
    time.now += 101 * SECOND
    assert await second.get("a") is None
    kept = await second.get("b")
    assert kept is not None
    assert kept.age_s == 101


TOOLS = """
import asyncio, json, sys
from pathlib import Path
from catp.agent import Agent
from catp.tools.decorator import tool
from catp.tools.price import PerCall

log = Path(sys.argv[2])

@tool(cache="1h", effects="read", placement="thread", price=PerCall("0.01"))
def look(text: str) -> list[str]:
    with log.open("a") as file:
        file.write(text + "\\n")
    return text.split()

async def main():
    async with Agent([look], store=sys.argv[1]) as agent:
        result = await agent.run("in q: text\\na = look(q)\\nout a", {"q": sys.argv[3]})
        print(json.dumps({"a": result.outputs["a"], "spent": result.spent, "savings": result.savings}))

asyncio.run(main())
"""


def test_a_second_process_gets_the_hits(target: Path | str, tmp_path: Path) -> None:
    script, log = tmp_path / "script.py", tmp_path / "log"
    script.write_text(TOOLS)

    def process(text: str) -> object:
        done = subprocess.run(
            [sys.executable, str(script), str(target), str(log), text], capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout)

    cent = 10_000_000
    assert process("a b") == {"a": ["a", "b"], "spent": cent, "savings": 0}
    assert process("a b") == {"a": ["a", "b"], "spent": 0, "savings": cent}
    assert process("c") == {"a": ["c"], "spent": cent, "savings": 0}
    assert log.read_text() == "a b\nc\n"
    script.write_text(TOOLS.replace("text.split()", "text.split()[:1]"))  # the tool was edited
    assert process("a b") == {"a": ["a"], "spent": cent, "savings": 0}


CALLS: list[str] = []


@tool(cache="1h", effects="read", placement="thread", price=PerCall("0.01"))
def look(text: str) -> str:
    """Look."""
    CALLS.append(text)
    return text.upper()


PLAN = "in q: text\na = look(q)\nout a"


async def test_the_record_shows_what_was_saved(store: RunStore) -> None:
    CALLS.clear()
    async with Agent([look], store=store) as agent:
        await agent.run(PLAN, {"q": "x"})
        result = await agent.run(PLAN, {"q": "x"})
        off = await agent.run(PLAN.replace("(q)", "(q) @cache(off)"), {"q": "x"})
    assert (result.savings, result.spent, off.savings) == (10_000_000, 0, 0)
    saved = store.get(result.run_id)
    assert (saved.summary.saved, saved.summary.cost) == (10_000_000, 0)
    [row] = saved.costs
    assert (row["kind"], row["amount_nano"], row["saved_nano"]) == ("cache", 0, 10_000_000)
    assert [fact.tool for fact in store.calls()] == ["look", "look"]  # a hit teaches nothing about the tool
    assert CALLS == ["x", "x"]


async def test_sums_of_days_lists_and_runs_agree_with_the_ledger(store: RunStore) -> None:
    """With cached, uncached and failed calls: what is stored adds up, and adds up the same when it is made anew."""
    async with Agent([look], store=store) as agent:
        results = await asyncio.gather(
            *(agent.run("in q: list[text]\na = look(each q)\nout a", {"q": ["x", text, "x"]}) for text in "xyzxy")
        )
        results.append(await agent.run(PLAN, {"q": "x"}))
    assert store.database.read(audit) == []
    listed = {run.id: run for run in store.list()}
    for _ in range(2):
        for result in results:
            assert (listed[result.run_id].cost, listed[result.run_id].saved) == (result.spent, result.savings)
        [use] = store.database.read(leaderboard)
        assert (use.cost, use.saved) == (sum(r.spent for r in results), sum(r.savings for r in results))
        assert (use.n, use.cached) == (16, 13)
        store.database.write(rebuild)
        assert store.database.read(audit) == []
        listed = {run.id: run for run in store.list()}
    assert sum(result.spent for result in results) == 3 * 10_000_000


RESUMED = (
    TOOLS.partition("async def main()")[0].replace("import asyncio", "import asyncio, os, sqlite3, time")
    + """
@tool(placement="thread", price=PerCall("0.01"))
def die(words: list[str]) -> str:
    if len(sys.argv) > 3:
        began = "SELECT count(*) FROM events WHERE step = 'b' AND type = 'node.started'"
        while not sqlite3.connect(sys.argv[1]).execute(began).fetchone()[0]:  # the record is written in batches
            time.sleep(0.01)
        os._exit(9)
    return " ".join(words)

async def main():
    plan = 'in q: text\\na = look(q)\\nb = die(a)\\nout a, b'
    async with Agent([look, die], store=sys.argv[1]) as agent:
        if len(sys.argv) > 3:
            await agent.run("in q: text\\na = look(q)\\nout a", {"q": "a b"})
            await agent.run(plan, {"q": "a b"})
        run = agent.store.list()[0]
        result = await agent.resume(run.id)
        rows = [[row.step, row.kind, row.amount, row.saved] for row in result.ledger]
        print(json.dumps({"b": result.outputs["b"], "rows": rows, "savings": result.savings}))

asyncio.run(main())
"""
)


def test_a_run_that_was_killed_keeps_what_it_had_saved(tmp_path: Path) -> None:
    script, log = tmp_path / "script.py", tmp_path / "log"
    script.write_text(RESUMED)
    command = [sys.executable, str(script), str(tmp_path / "runs.db"), str(log)]
    killed = subprocess.run([*command, "die"], capture_output=True, text=True, check=False)
    assert killed.returncode == 9, killed.stderr
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["b"], found["savings"]) == ("a b", 10_000_000)
    assert found["rows"][0] == ["a", "cache", 0, 10_000_000]
    assert [row[0] for row in found["rows"][1:]] == ["b", "b"]  # the call that died with the process, and the next
    assert log.read_text() == "a b\n"


async def test_an_agent_may_go_without(store: RunStore) -> None:
    CALLS.clear()
    async with Agent([look], store=store, cache=False) as agent:
        for _ in range(2):
            assert (await agent.run(PLAN, {"q": "x"})).savings == 0
    assert len(CALLS) == 2


async def test_a_damaged_row_is_replaced(sqlite_store: RunStore, tmp_path: Path) -> None:
    CALLS.clear()
    async with Agent([look], store=sqlite_store) as agent:
        await agent.run(PLAN, {"q": "x"})
        wrong = encode(["no text"])
        sqlite_store.database.write(
            lambda connection: connection.exec_driver_sql(
                "UPDATE cache SET codec = ?, inline = ?", (wrong.codec, wrong.data)
            )
        )
        again = await agent.run(PLAN, {"q": "x"})
        assert (again.outputs["a"], again.savings) == ("X", 0)
        assert (await agent.run(PLAN, {"q": "x"})).savings == 10_000_000
    assert len(CALLS) == 2


@pytest.mark.parametrize(
    "damage", ["price_nano = -5", "price_nano = 'x'", "ms = 'x'", "ms = -1", "expires_ns = 'x'", "created_ns = 'x'"]
)
async def test_figures_that_cannot_be_right_are_no_hit(sqlite_store: RunStore, damage: str) -> None:
    cache = StoredCache(sqlite_store.database)
    await cache.put("a" * 64, entry(b"small"), 600.0)
    sqlite_store.database.write(lambda connection: connection.exec_driver_sql(f"UPDATE cache SET {damage}"))
    assert await cache.get("a" * 64) is None
    assert cache.problem is None
    await cache.put("a" * 64, entry(b"small"), 600.0)
    assert await cache.get("a" * 64) is not None


async def test_a_store_that_fails_costs_the_savings_and_not_the_run(tmp_path: Path) -> None:
    CALLS.clear()
    path = tmp_path / "runs.db"
    store = RunStore(path, busy_s=0.2)
    agent = Agent([look], store=store)
    await agent.run(PLAN, {"q": "x"})
    with sqlite3.connect(path) as raw:
        raw.execute("DROP TABLE cache")
    raw.close()
    result = await agent.run(PLAN, {"q": "x"})
    assert (result.status, result.outputs["a"], result.savings) == ("complete", "X", 0)
    assert [warning for warning in result.warnings if "could not be kept or found" in warning and "cache" in warning]
    assert len(CALLS) == 2
    await agent.close()


async def test_runs_of_one_agent_do_not_wait_for_the_database(store: RunStore) -> None:
    """A hundred identical calls that are all ready before the first has ended read the database once."""
    reads = ready = made = 0
    all_ready = asyncio.Event()

    class Counting(StoredCache):
        async def get(self, key: str) -> Found | None:
            nonlocal reads
            reads += 1
            return await super().get(key)

    @tool(name="slow", price=PerCall("0.01"), cache=True)
    async def slow(q: str) -> str:
        """Answer when everybody has asked."""
        nonlocal made
        made += 1
        await all_ready.wait()
        return q.upper()

    def count(event: RunEvent) -> None:
        nonlocal ready
        ready += event.type == "node.ready"
        if ready == 100:
            all_ready.set()

    plan = "in q: text\na = slow(q)\nout a"
    async with Agent([slow], store=store, cache=Counting(store.database)) as agent:
        results = await asyncio.gather(*(agent.run(plan, {"q": "x"}, on_event=count) for _ in range(100)))
    assert (made, sum(result.spent for result in results)) == (1, 10_000_000)
    assert reads == 1


def test_a_cache_needs_room_and_one_owner(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs.db")
    with pytest.raises(ValueError, match="cache_mb must be more than zero"):
        Agent([look], store=store, cache_mb=0)
    with pytest.raises(ValueError, match="cache_mb is for the agent's own cache"):
        Agent([look], store=store, cache=StoredCache(store.database), cache_mb=5)
