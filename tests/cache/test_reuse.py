"""Results that are used again: by later runs, by identical calls at the same time, and never wrongly."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.cache import MemoryCache
from catp.planlang.money import Money, usd
from catp.planlang.types import Type
from catp.runtime.clock import VirtualClock
from catp.runtime.codec import Encoded
from catp.runtime.flights import Flights
from catp.runtime.hooks import CacheEntry, CallCache, Found
from catp.runtime.ledger import Ledger
from catp.runtime.replay import rebuild
from catp.runtime.run import Run, RunOutcome
from catp.runtime.slots import Slots
from catp.runtime.testing import CENT, FakeCatalogue, compiled
from catp.tools.errors import ToolFailed
from catp.tools.spec import ToolLimits

JSON = Type("json")
FOREVER = float("inf")


class World:
    """A catalogue of fake tools on a virtual clock, and one cache for all runs."""

    def __init__(self, cache: CallCache | None = None, *, slots: int = 64) -> None:
        self.clock = VirtualClock()
        self.tools = FakeCatalogue(self.clock)
        self.cache: Any = cache if cache is not None else MemoryCache(now_ns=self.clock.now_ns)
        self.flights = Flights(self.cache)
        self.slots = Slots(slots)

    def start(self, source: str, inputs: dict[str, Any] | None = None, **options: Any) -> Run:
        shared: dict[str, Any] = {"slots": self.slots, "flights": self.flights, "clock": self.clock}
        options = {"ledger": Ledger(), **shared, **options}
        run = Run(compiled(source, self.tools), inputs or {}, self.tools, **options)
        run.start()
        return run

    async def run(self, source: str, inputs: dict[str, Any] | None = None, **options: Any) -> RunOutcome:
        outcome = await self.start(source, inputs, **options).wait()
        await self.flights.settle()
        check_sums(outcome)
        return outcome

    async def all(self, *runs: Run) -> list[RunOutcome]:
        outcomes = await asyncio.gather(*(run.wait() for run in runs))
        await self.flights.settle()
        for outcome in outcomes:
            check_sums(outcome)
        return list(outcomes)


def check_sums(outcome: RunOutcome) -> None:
    """The rows of the ledger, the steps, the events and the run agree on every cent."""
    rebuilt = rebuild(outcome.events)
    assert not rebuilt.open_calls
    assert sum(row.amount or 0 for row in outcome.rows) == outcome.spent == rebuilt.spent
    by_step: dict[str, int] = {}
    estimates: dict[str, int] = {}
    for row in outcome.rows:
        by_step[row.step] = by_step.get(row.step, 0) + (row.amount or 0)
        estimates[row.step] = estimates.get(row.step, 0) + (row.estimate or 0)
    assert {name: spent for name, spent in by_step.items() if spent} == {
        name: step.price for name, step in outcome.steps.items() if step.price
    }
    assert {name: expected for name, expected in estimates.items() if expected} == {
        name: step.estimate for name, step in outcome.steps.items() if step.estimate is not None
    }
    cached = [event for event in outcome.events if event.type == "node.settled" and event.data.get("cached")]
    hits = [row for row in outcome.rows if row.kind == "cache"]
    assert len(cached) == len(hits)
    assert all((row.amount, row.source, row.priced) == (0, "measured", True) for row in hits)
    assert all(row.saved is None for row in outcome.rows if row.kind != "cache")
    assert outcome.savings == sum(row.saved or 0 for row in hits)


@pytest.fixture
def world() -> World:
    return World()


# --- one call after another ---------------------------------------------------------------------------------------


async def test_a_second_run_takes_the_result_of_the_first(world: World) -> None:
    tool = world.tools.add("t", takes_s=3.0, cache_ttl_s=600.0)
    first = await world.run('a = t("x")\nout a')
    again = await world.run('b = t("x")\nout b')
    assert (first["a"], again["b"], len(tool.calls)) == ("t(x)", "t(x)", 1)
    assert (first.spent, first.savings, again.spent, again.savings) == (CENT, 0, 0, CENT)
    assert (first.wall_ms, again.wall_ms) == (3000, 0)
    [row] = again.rows
    assert (row.kind, row.amount, row.saved, row.source, row.estimate) == ("cache", 0, CENT, "measured", CENT)
    started, settled = (e for e in again.events if e.type in ("node.started", "node.settled"))
    assert (started.data["cached"], started.data["saved"]) == (True, "0.01")
    assert (settled.data["cached"], settled.data["saved"], settled.data["amount"]) == (True, "0.01", "0.00")


@pytest.mark.parametrize("other", ['t("y")', 't("x", y="z")', "t(1)", "t(1.0)", "t(true)", 't(["x"])', 'u("x")'])
async def test_other_calls_are_made(world: World, other: str) -> None:
    world.tools.add("t", params=("x", "y"), cache_ttl_s=600.0)
    world.tools.add("u", cache_ttl_s=600.0)
    await world.run('a = t("x")\nb = t(1)\nout a, b')
    outcome = await world.run(f"a = {other}\nout a")
    assert outcome.savings == (CENT if other == "t(1)" else 0)


async def test_tools_and_steps_decide_together(world: World) -> None:
    for name, effects, ttl in (
        ("silent", "read", None), ("pure", "pure", None), ("ever", "pure", FOREVER), ("short", "read", 10.0),
        ("post", "write", None),
    ):  # fmt: skip
        world.tools.add(name, effects=effects, cache_ttl_s=ttl)  # type: ignore[arg-type]

    async def spared(call: str, after_s: float = 0.0) -> bool:
        await world.run(f"a = {call}\nout a")
        await world.clock.sleep(after_s)
        return (await world.run(f"a = {call}\nout a")).savings > 0

    assert not await spared('silent("a")')
    assert await spared('silent("b") @cache(10m)', 599.0)
    assert not await spared('silent("c") @cache(10m)', 601.0)
    assert not await spared('pure("d")')
    assert await spared('pure("e") @cache', 1e8)
    assert await spared('ever("f")', 1e8)
    assert not await spared('ever("g") @cache(1m)', 61.0)
    assert not await spared('ever("h") @cache(off)')
    assert await spared('short("i")', 9.0)
    assert not await spared('short("j") @cache(10m)', 11.0)  # a step cannot ask for more than the tool allows
    assert not await spared('post("k")')


async def test_a_step_may_take_an_older_result_than_the_step_that_made_it(world: World) -> None:
    tool = world.tools.add("t", effects="read", cache_ttl_s=600.0)
    await world.run('a = t("x") @cache(5s)\nout a')
    await world.clock.sleep(300)
    assert (await world.run('a = t("x")\nout a')).savings == CENT
    await world.run('a = t("x") @cache(5s)\nout a')
    assert len(tool.calls) == 2


async def test_errors_and_stopped_calls_are_never_kept(world: World) -> None:
    tool = world.tools.add("t", script=[ToolFailed("t", "no"), "fine"], cache_ttl_s=600.0)
    slow = world.tools.add("slow", takes_s=50.0, cache_ttl_s=600.0, limits=ToolLimits(timeout_s=10))
    assert (await world.run('a = t("x")\nout a')).status == "failed"
    assert (await world.run('a = t("x")\nout a'))["a"] == "fine"
    assert (await world.run('a = t("x")\nout a'))["a"] == "fine"
    assert len(tool.calls) == 2
    for _ in range(2):
        assert (await world.run('a = slow("x")\nout a')).status == "failed"
    assert len(slow.calls) == 2


async def test_guards_and_types_are_asked_about_hits_too(world: World) -> None:
    world.tools.add("t", lambda x: {"score": 0.5}, returns=JSON, cache_ttl_s=600.0)
    world.tools.add("other", lambda x: {"score": 1}, returns=JSON)
    await world.run('a = t("x")\nout a')
    outcome = await world.run('a = t("x") if .score > 0.9 | other("x")\nout a')
    assert outcome["a"] == {"score": 1}
    assert (outcome.spent, outcome.savings) == (CENT, CENT)
    [rejected, _] = [event for event in outcome.events if event.type == "node.settled"]
    assert (rejected.data["outcome"], rejected.data["cached"]) == ("rejected", True)


async def test_a_result_that_its_guard_refused_is_kept(world: World) -> None:
    tool = world.tools.add("t", lambda x: {"score": 0.5}, returns=JSON, cache_ttl_s=600.0)
    assert (await world.run('a = t("x") if .score > 0.9\nout a')).status == "failed"
    assert (await world.run('a = t("x")\nout a'))["a"] == {"score": 0.5}
    assert len(tool.calls) == 1


class Kept:
    """A cache in which one result lies, whatever is asked for."""

    problem: str | None = None

    def __init__(self, encoded: Encoded) -> None:
        self.encoded = encoded
        self.dropped: list[str] = []

    async def get(self, key: str) -> Found | None:
        return None if key in self.dropped else Found(CacheEntry("t", "1", self.encoded, CENT, 1.0), 1.0)

    async def put(self, key: str, entry: CacheEntry, life_s: float) -> None:
        self.dropped.remove(key)
        self.encoded = entry.encoded

    async def drop(self, key: str) -> None:
        self.dropped.append(key)

    def used(self, key: str, times: int) -> None:
        pass


@pytest.mark.parametrize(
    "encoded",
    [
        Encoded("value/1", "application/json", b'{"catp":"value/1","value":{"$record":"gone:Gone","values":{}}}'),
        Encoded("png", "image/png", b"\x89PNG"),
        Encoded("text", "text/plain", b"a text where the tool promises a number"),
    ],
)
async def test_an_entry_that_cannot_be_used_is_dropped_and_the_call_made(encoded: Encoded) -> None:
    cache = Kept(encoded)
    world = World(cache)
    tool = world.tools.add("t", lambda x: 7, returns=Type("int"), cache_ttl_s=600.0)
    outcome = await world.run('a = t("x")\nout a')
    assert (outcome["a"], outcome.spent, outcome.savings) == (7, CENT, 0)
    assert cache.dropped == []  # and put in again
    assert (await world.run('a = t("x")\nout a')).savings == CENT
    assert len(tool.calls) == 1


async def test_a_hit_needs_no_money_no_slot_and_no_working_tool(world: World) -> None:
    world.tools.add("t", cache_ttl_s=600.0)
    world.tools.add("dear", p95=usd("1"), takes_s=5.0)
    await world.run('a = t("x")\nout a')
    ledger = Ledger(usd("1"))
    outcome = await world.run('d = dear("y")\na = t("x")\nout d, a', ledger=ledger, slots=Slots(1))
    assert (outcome.status, outcome.wall_ms) == ("complete", 5000)
    assert outcome.steps["a"].ended_ns == outcome.started_ns
    broke = Ledger(usd("0.001"))
    assert (await world.run('a = t("x")\nout a', ledger=broke))["a"] == "t(x)"
    assert (await world.run('a = t("z")\nout a', ledger=broke)).steps["a"].status == "refused"


async def test_an_unpriced_call_saves_an_unknown_amount(world: World) -> None:
    class Unknown:
        def charge(self, usage: Any) -> None:
            return None

        def describe(self) -> str:
            return "unknown"

    world.tools.add("t", price=Unknown(), p95=None, cache_ttl_s=600.0)
    await world.run('a = t("x")\nout a')
    outcome = await world.run('a = t("x")\nout a')
    assert (outcome.rows[0].saved, outcome.savings) == (None, 0)
    [settled] = [event for event in outcome.events if event.type == "node.settled"]
    assert settled.data["saved"] is None


async def test_values_without_an_exact_form_are_not_shared(world: World) -> None:
    tool = world.tools.add("t", lambda x: object(), takes_s=1.0, cache_ttl_s=600.0)
    opaque = object()
    arg = world.tools.add("u", lambda x: "same", cache_ttl_s=600.0)
    outcome = await world.run('xs = t(each ["a", "a", "a"])\nout xs')
    assert (len(tool.calls), outcome.spent) == (3, 3 * CENT)
    for _ in range(2):
        assert (await world.run("in o: any\na = u(o)\nout a", {"o": opaque})).savings == 0
    assert len(arg.calls) == 2


async def test_nobody_can_change_a_kept_result(world: World) -> None:
    world.tools.add("t", lambda x: {"list": [1]}, takes_s=1.0, cache_ttl_s=600.0)
    outcome = await world.run('xs = t(each ["a", "a"])\nout xs')
    one, other = outcome["xs"]
    one["list"].append(2)
    assert other == {"list": [1]}
    assert (await world.run('a = t("a")\nout a'))["a"] == {"list": [1]}


async def test_large_values_are_read_and_written_beside_the_event_loop() -> None:
    from PIL import Image

    world = World()
    picture = Image.effect_noise((700, 700), 60)
    seen = world.tools.add("t", lambda x: x.rotate(90), takes_s=1.0, cache_ttl_s=600.0)
    source = "in x: any\na = t(x)\nout a"
    first, second = await world.run(source, {"x": picture}), await world.run(source, {"x": picture.copy()})
    assert first["a"].tobytes() == second["a"].tobytes() == picture.rotate(90).tobytes()
    assert (len(seen.calls), second.savings) == (1, CENT)


# --- at the same time ---------------------------------------------------------------------------------------------


async def test_a_map_over_equal_elements_calls_once(world: World) -> None:
    tool = world.tools.add("t", takes_s=3.0, cache_ttl_s=600.0)
    outcome = await world.run('xs = t(each ["a", "b", "a", "a", "b"])\nout xs')
    assert outcome["xs"] == ["t(a)", "t(b)", "t(a)", "t(a)", "t(b)"]
    assert (len(tool.calls), outcome.wall_ms) == (2, 3000)
    assert (outcome.spent, outcome.savings) == (2 * CENT, 3 * CENT)


async def test_runs_at_the_same_time_call_once(world: World) -> None:
    tool = world.tools.add("t", takes_s=3.0, cache_ttl_s=600.0)
    outcomes = await world.all(*(world.start('a = t("x")\nout a') for _ in range(20)))
    assert {outcome["a"] for outcome in outcomes} == {"t(x)"}
    assert len(tool.calls) == 1
    assert sum(outcome.spent for outcome in outcomes) == CENT
    assert sum(outcome.savings for outcome in outcomes) == 19 * CENT


async def test_one_follower_takes_over_when_the_leader_fails(world: World) -> None:
    tool = world.tools.add("t", takes_s=2.0, script=[ToolFailed("t", "no"), "fine"], cache_ttl_s=600.0)
    outcomes = await world.all(*(world.start('a = t("x")\nout a') for _ in range(5)))
    assert [outcome.status for outcome in outcomes] == ["failed", *["complete"] * 4]
    assert (len(tool.calls), tool.most) == (2, 1)
    assert {outcome.wall_ms for outcome in outcomes[1:]} == {4000}


async def test_a_tool_that_is_down_is_not_asked_one_by_one(world: World) -> None:
    """After two failures two call at once, then four, eight, ...: nobody waits for a thousand failures in a row."""
    tool = world.tools.add("t", _fails, takes_s=1.0, cache_ttl_s=600.0)
    outcomes = await world.all(*(world.start('a = t("x")\nout a') for _ in range(200)))
    assert {outcome.status for outcome in outcomes} == {"failed"}
    assert len(tool.calls) == 200
    assert sorted({outcome.wall_ms for outcome in outcomes})[:3] == [1000, 2000, 3000]
    assert max(outcome.wall_ms for outcome in outcomes) <= 12_000


async def test_it_comes_back_while_many_ask(world: World) -> None:
    down = [ToolFailed("t", "down")] * 6
    tool = world.tools.add("t", takes_s=1.0, script=[*down, "up"], cache_ttl_s=600.0)
    outcomes = await world.all(*(world.start('a = t("x")\nout a') for _ in range(50)))
    assert sum(outcome.status == "failed" for outcome in outcomes) == 6
    assert len(tool.calls) < 20
    assert sum(outcome.spent for outcome in outcomes) == len(tool.calls) * CENT
    assert (await world.run('a = t("x")\nout a')).savings == CENT


async def test_one_follower_takes_over_when_the_leader_is_cancelled(world: World) -> None:
    tool = world.tools.add("t", takes_s=10.0, cache_ttl_s=600.0)
    runs = [world.start('a = t("x")\nout a') for _ in range(4)]
    world.clock.call_later(4.0, runs[0].cancel)
    outcomes = await world.all(*runs)
    assert [outcome.status for outcome in outcomes] == ["cancelled", *["complete"] * 3]
    assert (len(tool.calls), tool.cancelled) == (2, 1)
    assert {outcome.wall_ms for outcome in outcomes[1:]} == {14_000}


async def test_a_cancelled_follower_leaves_the_others_alone(world: World) -> None:
    tool = world.tools.add("t", takes_s=10.0, cache_ttl_s=600.0)
    runs = [world.start('a = t("x")\nout a') for _ in range(3)]
    world.clock.call_later(4.0, runs[1].cancel)
    outcomes = await world.all(*runs)
    assert [outcome.status for outcome in outcomes] == ["complete", "cancelled", "complete"]
    assert (len(tool.calls), tool.cancelled, outcomes[1].wall_ms) == (1, 0, 4000)


async def test_everybody_cancelled(world: World) -> None:
    tool = world.tools.add("t", takes_s=10.0, cache_ttl_s=600.0)
    runs = [world.start('a = t("x")\nout a') for _ in range(3)]
    for run in runs:
        world.clock.call_later(4.0, run.cancel)
    await world.all(*runs)
    assert (await world.run('a = t("x")\nout a'))["a"] == "t(x)"
    assert len(tool.calls) == 2


async def test_a_deaf_leader_does_not_keep_its_followers(world: World) -> None:
    tool = world.tools.add("t", deaf=True, cache_ttl_s=600.0)
    leader, follower = world.start('a = t("x")\nout a'), world.start('a = t("x")\nout a')

    def stop() -> None:
        leader.cancel()
        tool.deaf = False

    world.clock.call_later(1.0, stop)
    tool.deaf = True
    outcomes = await world.all(leader, follower)
    assert [outcome.status for outcome in outcomes] == ["cancelled", "complete"]


async def test_who_waits_for_money_keeps_nobody_waiting(world: World) -> None:
    """The first run's call is parked until a long call of its own ends; the second run has money and need not wait."""
    tool = world.tools.add("t", takes_s=1.0, cache_ttl_s=600.0)
    world.tools.add("long", takes_s=50.0, p95=CENT, actual=lambda _args: 0)
    poor = world.start('l = long("y") @priority(1)\na = t("x")\nout l, a', ledger=Ledger(CENT))
    rich = world.start('a = t("x")\nout a')
    outcomes = await world.all(poor, rich)
    assert [outcome.status for outcome in outcomes] == ["complete", "complete"]
    assert len(tool.calls) == 1
    assert (outcomes[1].wall_ms, outcomes[1].spent) == (1000, CENT)
    assert (outcomes[0].wall_ms, outcomes[0].savings) == (50_000, CENT)
    assert outcomes[0].steps["a"].ended_ns == outcomes[1].ended_ns  # money or not: the result is there


async def test_who_waits_for_a_slot_keeps_nobody_waiting(world: World) -> None:
    tool = world.tools.add("t", takes_s=1.0, cache_ttl_s=600.0)
    world.tools.add("long", takes_s=100.0)
    busy = world.start('l = long("y") @priority(1)\na = t("x")\nout l, a', slots=Slots(1))
    free = world.start('a = t("x")\nout a', slots=Slots(1))
    outcomes = await world.all(busy, free)
    assert len(tool.calls) == 1
    assert outcomes[1].wall_ms == 1000
    assert outcomes[0].steps["a"].ended_ns == outcomes[1].ended_ns  # taken out of the queue when the result came


async def test_a_tool_with_one_place_serves_its_queue_from_the_result(world: World) -> None:
    tool = world.tools.add("t", takes_s=5.0, cache_ttl_s=600.0, limits=ToolLimits(concurrency=1))
    outcomes = await world.all(*(world.start('a = t("x")\nout a') for _ in range(6)))
    assert (len(tool.calls), {outcome.wall_ms for outcome in outcomes}) == (1, {5000})


async def test_hedged_steps_do_not_wait_for_slow_leaders(world: World) -> None:
    slow = world.tools.add("slow", takes_s=100.0, cache_ttl_s=600.0, limits=ToolLimits(timeout_s=200))
    world.tools.add("fast", takes_s=1.0)
    leader = world.start('a = slow("x")\nout a')
    hedged = world.start('a = slow("x") | fast("x") @hedge(2s)\nout a')
    outcomes = await world.all(leader, hedged)
    assert [outcome.wall_ms for outcome in outcomes] == [100_000, 3000]
    assert len(slow.calls) == 2
    again = await world.run('a = slow("x") | fast("x") @hedge(2s)\nout a')
    assert (again["a"], again.wall_ms, again.spent) == ("slow(x)", 0, 0)


async def test_a_follower_waits_no_longer_than_its_own_timeout(world: World) -> None:
    world.tools.add("t", takes_s=50.0, cache_ttl_s=600.0)
    leader = world.start('a = t("x")\nout a')
    await world.clock.sleep(1.0)
    hasty = world.start('a = t("x") @timeout(5s)\nout a?')
    outcomes = await world.all(leader, hasty)
    assert [outcome.wall_ms for outcome in outcomes] == [50_000, 5000]
    assert "takes longer than 5 s" in outcomes[1].steps["a"].reason
    assert outcomes[1].spent == 0


async def test_the_deadline_of_a_run_ends_its_waiting(world: World) -> None:
    world.tools.add("t", takes_s=50.0, cache_ttl_s=600.0)
    outcomes = await world.all(world.start('a = t("x")\nout a'), world.start('a = t("x")\nout a', deadline_s=3.0))
    assert [outcome.wall_ms for outcome in outcomes] == [50_000, 3000]


async def test_a_retry_follows_whoever_calls_now(world: World) -> None:
    tool = world.tools.add("t", takes_s=2.0, script=[ToolFailed("t", "no"), "fine"], cache_ttl_s=600.0)
    first = world.start('a = t("x") @retry(1, backoff=500ms)\nout a')
    second = world.start('a = t("x")\nout a')
    outcomes = await world.all(first, second)
    assert [outcome["a"] for outcome in outcomes] == ["fine", "fine"]
    assert len(tool.calls) == 2


async def test_followers_of_different_ages_of_the_same_entry(world: World) -> None:
    tool = world.tools.add("t", effects="read", takes_s=1.0, cache_ttl_s=600.0)
    await world.run('a = t("x")\nout a')
    await world.clock.sleep(60)
    outcomes = await world.all(*(world.start(f'a = t("x") @cache({ttl})\nout a') for ttl in ("1s", "5m", "2s", "9m")))
    assert [outcome.wall_ms for outcome in outcomes] == [1000, 0, 1000, 0]
    assert len(tool.calls) == 2


def test_an_agent_of_one_event_loop_after_another() -> None:
    """A loop that ended in the middle of a call leaves nothing behind that the next could wait for."""
    cache = MemoryCache()

    async def stopped() -> None:
        world = World(cache)
        world.tools.add("t", hang=True, cache_ttl_s=600.0)
        flights.append(world.flights)
        world.start('a = t("x")\nout a')
        await asyncio.sleep(0.01)

    async def later() -> RunOutcome:
        world = World(cache)
        world.flights = flights[0]
        world.tools.add("t", cache_ttl_s=600.0)
        return await world.run('a = t("x")\nout a')

    flights: list[Flights] = []
    asyncio.run(stopped())
    assert asyncio.run(later())["a"] == "t(x)"


# --- any plan at all ----------------------------------------------------------------------------------------------

CALLS = st.tuples(st.sampled_from(["red", "green"]), st.sampled_from(["p", "q"]), st.sampled_from(["", " | blue({x})"]))
STEPS = st.lists(st.tuples(CALLS, st.booleans()), min_size=1, max_size=5)


def source_of(steps: list[tuple[tuple[str, str, str], bool]]) -> str:
    lines = []
    for place, ((tool, arg, more), mapped) in enumerate(steps):
        x = f'each ["{arg}", "p", "{arg}"]' if mapped else f'"{arg}"'
        lines.append(f"s{place} = {tool}({x}){more.format(x=x)}" + (" @quorum(0.3)" if mapped else ""))
    return "\n".join([*lines, "out " + ", ".join(f"s{place}?" for place in range(len(steps)))])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(STEPS, min_size=1, max_size=4), st.integers(1, 4), st.sampled_from([None, 4, 12]), st.booleans(),
    st.lists(st.tuples(st.integers(0, 3), st.floats(0.1, 6.0)), max_size=2), st.sampled_from([16, 2000]),
)  # fmt: skip
def test_caching_changes_no_result_and_no_sum(
    plans: list[list[tuple[tuple[str, str, str], bool]]], slots: int, cents: int | None, together: bool,
    cancels: list[tuple[int, float]], kilobytes: int,
) -> None:  # fmt: skip
    """Random plans, run together and one after the other, some cancelled, some short of money, in a small cache."""

    async def outcomes(cached: bool) -> tuple[list[RunOutcome], World]:
        world = World(MemoryCache(kilobytes / 1024), slots=slots)
        life = 600.0 if cached else None
        world.tools.add("red", lambda x: {"r": x}, takes_s=2.0, cache_ttl_s=life)
        world.tools.add("green", _fails_on_q, takes_s=1.0, p95=Money(2 * CENT), cache_ttl_s=life)
        world.tools.add("blue", takes_s=lambda args: 3.0, actual=lambda args: 2 * CENT)
        runs = []
        for steps in plans:
            runs.append(world.start(source_of(steps), ledger=Ledger(None if cents is None else Money(cents * CENT))))
            if not together:
                await runs[-1].wait()
        for place, at_s in cancels:
            if together and place < len(runs):
                world.clock.call_later(at_s, runs[place].cancel)
        return await world.all(*runs), world

    with_cache, world = asyncio.run(outcomes(True))
    without, _ = asyncio.run(outcomes(False))
    for ours, plain in zip(with_cache, without, strict=True):
        if cents is None and not cancels:
            assert {name: (output.status, output.value) for name, output in ours.outputs.items()} == {
                name: (output.status, output.value) for name, output in plain.outputs.items()
            }
            assert ours.spent <= plain.spent
            assert ours.spent + ours.savings >= plain.spent  # nothing is saved that would not have been paid
    assert world.cache.size <= kilobytes * 1024


def _fails(x: str) -> str:
    raise ToolFailed("t", "down")


def _fails_on_q(x: str) -> str:
    if x == "q":
        raise ToolFailed("green", "not q")
    return f"g{x}"
