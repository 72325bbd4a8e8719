"""Runs played again from their records: exactly as they were, or with something changed, and never for real."""

import asyncio
from pathlib import Path

import pytest

from catp.agent import Agent
from catp.planlang.money import usd
from catp.planlang.parser import parse
from catp.recorded import CannotResume
from catp.runtime.clock import VirtualClock
from catp.runtime.ledger import Ledger
from catp.runtime.recording import Recording
from catp.runtime.run import Run, RunOutcome
from catp.runtime.slots import Slots
from catp.runtime.testing import CENT, FakeCatalogue, MemoryJournal, compiled
from catp.tools import Catalogue, PerCall, tool
from tests.durable import shop
from tests.durable.twelve import INPUTS, PLAN, Life, World, tools


async def play(
    plan: str, world: FakeCatalogue, journal: MemoryJournal, inputs: dict[str, object], **options: object
) -> RunOutcome:
    """Run the record of `journal` again; the tools in `world` are looked up but must not be called."""
    clock = VirtualClock()
    recording = Recording(journal.cut().events, journal.values(), clock)
    run = Run(
        compiled(plan, world), inputs, world, ledger=Ledger(usd("1")), clock=clock, understudy=recording,
        approve=recording.approve, **options,  # type: ignore[arg-type]  # what Run takes
    )  # fmt: skip
    return await run.wait()


def same(now: RunOutcome, then: RunOutcome) -> None:
    assert now.status == then.status
    assert {n: o.value for n, o in now.outputs.items()} == {n: o.value for n, o in then.outputs.items()}
    assert {n: s.status for n, s in now.steps.items()} == {n: s.status for n, s in then.steps.items()}
    assert {n: s.price for n, s in now.steps.items()} == {n: s.price for n, s in then.steps.items()}
    assert now.spent == then.spent
    assert now.wall_ms == then.wall_ms


async def test_the_record_ends_as_the_run_did() -> None:
    journal, world = MemoryJournal(), World()
    clock = VirtualClock()
    fakes = tools(clock, world, journal)
    run = Run(compiled(PLAN, fakes), INPUTS, fakes, ledger=Ledger(usd("1")), clock=clock, journal=journal)
    then = await run.wait()
    calls, effects = len(world.calls), dict(world.effects)
    now = await play(PLAN, fakes, journal, dict(INPUTS))
    same(now, then)
    assert (len(world.calls), dict(world.effects)) == (calls, effects), "a replay called a tool"


HEDGED = "a = slow() | quick() @hedge(1s)\nb = late() @timeout(2s)\nc = picky() | quick()\nout a, b?, c"


async def test_hedges_timeouts_and_rejected_results_replay() -> None:
    clock, journal = VirtualClock(), MemoryJournal()
    world = FakeCatalogue(clock)
    world.add("slow", takes_s=9.0, actual=lambda args: CENT // 2)
    world.add("quick", takes_s=0.5)
    world.add("late", takes_s=5.0)
    world.add("picky", script=[ValueError("no")])
    plan = compiled(HEDGED, world)
    then = await Run(plan, {}, world, ledger=Ledger(usd("1")), clock=clock, journal=journal).wait()
    same(await play(HEDGED, world, journal, {}), then)


async def test_a_cancelled_run_and_fewer_slots() -> None:
    clock, journal = VirtualClock(), MemoryJournal()
    world = FakeCatalogue(clock)
    world.add("t", takes_s=2.0)
    text = "a = t(1)\nb = t(2)\nc = t(3)\nd = t([a, b, c])\nout d"
    then = await Run(compiled(text, world), {}, world, ledger=Ledger(), clock=clock, journal=journal).wait()
    assert then.wall_ms == 4000
    narrow = await play(text, world, journal, {}, slots=Slots(1))
    assert (narrow.wall_ms, narrow.spent, narrow.status) == (8000, then.spent, "complete")
    late = await play(text, world, journal, {}, deadline_s=3.0)
    assert (late.status, late.wall_ms) == ("failed", 3000)


# --- through the agent, on a real store -----------------------------------------------------------------------------


@tool(price=PerCall("0.002"))
async def spare_cheap(text: str) -> str:
    """A rival of `spare`."""
    raise AssertionError("a replay called a tool")


def agent(folder: Path) -> Agent:
    shop.use(folder / "world.txt")
    return Agent(Catalogue([*shop.TOOLS, spare_cheap]), store=folder / "runs.db", budget="1")


async def test_replay_of_a_saved_run(tmp_path: Path) -> None:
    async with agent(tmp_path) as one:
        then = await one.run(parse(shop.PLAN), {"page": "p1"})
        lines = shop.lines()
        replay = await one.replay(then.run_id)
        assert shop.lines() == lines, "a replay called a tool"
        assert replay.exact
        assert (replay.then.status, replay.then.cost, replay.then.ms) == (then.status, then.spent, then.wall_ms)
        assert (replay.now.status, replay.now.cost) == (then.status, then.spent)
        assert replay.now.ms <= replay.then.ms  # only the runtime's own overhead is missing
        assert dict(replay.outcome.outputs) == dict(then.results)
        for step in replay.steps:
            assert (step.status_now, step.cost_now, step.tool_now) == (step.status_then, step.cost_then, step.tool_then)
        assert one.store is not None
        assert len(one.store.list()) == 1, "a replay is no run"


async def test_what_would_another_tool_have_cost(tmp_path: Path) -> None:
    async with agent(tmp_path) as one:
        then = await one.run(parse(shop.PLAN), {"page": "p1"})
        replay = await one.replay(then.run_id, set={"spare": "spare_cheap"})
        assert replay.then.cost - replay.now.cost == usd("0.008")
        changed = [step for step in replay.steps if step.estimated]
        assert [(step.name, step.tool_then, step.tool_now) for step in changed] == [("best", "spare", "spare_cheap")]
        assert replay.outcome.outputs == then.results  # the value of then stands for that of the other tool
        small = await one.replay(then.run_id, budget="0.05")
        assert small.now.cost <= usd("0.05")
        assert small.now.status != "complete"
        for name in ("spaer", "nothing"):
            with pytest.raises(CannotResume, match=name):
                await one.replay(then.run_id, set={name: "spare_cheap"})


async def test_a_cancelled_run_replays_as_cancelled(tmp_path: Path) -> None:
    from catp.result import RunCancelled

    async with agent(tmp_path) as one:
        running: asyncio.Task[object]

        def stop(event: object) -> None:
            if getattr(event, "step", None) == "best" and getattr(event, "type", "") == "node.finished":
                running.cancel()

        running = asyncio.ensure_future(one.run(parse(shop.PLAN), {"page": "p1"}, on_event=stop))
        with pytest.raises(RunCancelled) as caught:
            await running
        then = caught.value.result
        replay = await one.replay(then.run_id)
        assert replay.then.status == replay.now.status == "cancelled"
        ok = {name for name, step in then.steps.items() if step.status == "ok"}
        assert ok <= {step.name for step in replay.steps if step.status_then == "ok"}


async def test_a_run_of_several_lives_replays_as_one() -> None:
    """What dying processes cut short is paid in the replay too, by the call that was made again."""
    whole = MemoryJournal()
    assert await Life(World(), whole).live() is not None
    for die_at in range(3, len(whole.entries), 7):
        world, first = World(), MemoryJournal(die_at=die_at)
        assert await Life(world, first).live() is None
        second = MemoryJournal(first.entries)
        then = await Life(world, second).again(first.cut())
        assert then is not None
        effects = dict(world.effects)
        now = await play(PLAN, tools(VirtualClock(), world, second), second, dict(INPUTS))
        assert (now.status, now.spent) == (then.status, then.spent)
        assert {n: o.value for n, o in now.outputs.items()} == {n: o.value for n, o in then.outputs.items()}
        assert {n: s.price for n, s in now.steps.items()} == {n: s.price for n, s in then.steps.items()}
        assert dict(world.effects) == effects
