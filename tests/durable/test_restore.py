"""Runs that lose their process at every entry of the journal, and any tail of the journal with it, in virtual time."""

import random
from collections import Counter

import pytest

from catp.planlang.money import parse_usd
from catp.runtime.events import RunEvent
from catp.runtime.replay import rebuild
from catp.runtime.run import RunOutcome
from catp.runtime.testing import MemoryJournal
from tests.durable.twelve import Life, World, finished, started


async def whole() -> tuple[RunOutcome, World, int]:
    world, journal = World(), MemoryJournal()
    outcome = await Life(world, journal).live()
    assert outcome is not None
    return outcome, world, len(journal.entries)


def check(outcome: RunOutcome, wanted: RunOutcome, world: World) -> None:
    assert outcome.status == wanted.status
    assert {n: o.value for n, o in outcome.outputs.items()} == {n: o.value for n, o in wanted.outputs.items()}
    assert {n: s.status for n, s in outcome.steps.items()} == {n: s.status for n, s in wanted.steps.items()}
    assert {n: s.value for n, s in outcome.steps.items()} == {n: s.value for n, s in wanted.steps.items()}
    assert dict(world.effects) == {"order-p1": 1, "send mail": 1, "post-p1#0": 1, "post-p1#1": 1, "post-p1#2": 1}
    # the money: every row once, in the ledger and in the record
    assert [row.seq for row in outcome.rows] == list(range(1, len(outcome.rows) + 1))
    told = rebuild(outcome.events)
    assert told.spent == outcome.spent == sum(row.amount or 0 for row in outcome.rows)
    assert not told.open_calls
    assert told.steps == {n: s.status for n, s in outcome.steps.items()}
    assert {n: told.step_spent.get(n, 0) for n in outcome.steps} == {n: s.price or 0 for n, s in outcome.steps.items()}
    good = Counter((e.step, e.element) for e in outcome.events if e.data.get("outcome") == "ok")
    assert set(good.values()) <= {1}, "a call that had ended well was paid twice"


def new_events(journal: MemoryJournal, cut: int) -> list[RunEvent]:
    return [entry for entry in journal.entries[cut:] if isinstance(entry, RunEvent)]


async def test_killed_at_every_entry_with_any_tail_of_the_journal_lost() -> None:
    wanted, _, total = await whole()
    rng = random.Random(1)
    for die_at in range(1, total + 1):
        first = MemoryJournal(die_at=die_at)
        world = World()
        assert await Life(world, first).live() is None or die_at == total
        for cut in {die_at, first.written, rng.randint(first.written, die_at)} - {0}:
            if not any(isinstance(entry, RunEvent) for entry in first.entries[:cut]):
                continue
            here = World()
            here.effects, here.seen = Counter(world.effects), Counter(world.seen)
            past = first.cut(cut)
            second = MemoryJournal(first.entries[:cut])
            outcome = await Life(here, second).again(past)
            assert outcome is not None
            check(outcome, wanted, here)
            done = finished(list(past.events))
            again = [call for call in started(new_events(second, cut)) if call in done or (call[0], None) in done]
            assert not again, f"called again although finished, killed at {die_at}, journal cut at {cut}"


async def test_killed_again_and_again() -> None:
    wanted, _, total = await whole()
    for seed in range(60):
        rng = random.Random(seed)
        world = World()
        journal = MemoryJournal(die_at=rng.randint(3, total - 1))
        outcome = await Life(world, journal).live()
        lives = 1
        while outcome is None:
            cut = rng.randint(max(3, journal.written), len(journal.entries))
            past = journal.cut(cut)
            assert past.lives <= lives
            journal = MemoryJournal(journal.entries[:cut], die_at=cut + rng.randint(1, 25) if lives < 12 else None)
            outcome = await Life(world, journal).again(past)
            lives += 1
        check(outcome, wanted, world)


async def test_a_budget_holds_over_all_lives() -> None:
    """Calls that were lost count at the price that was held for them, so restarts cannot spend a budget twice."""
    _, _, total = await whole()
    cap = parse_usd("0.2")
    for seed in range(40):
        rng = random.Random(seed)
        world = World()
        journal = MemoryJournal(die_at=rng.randint(3, total - 1))
        outcome = await Life(world, journal, cap="0.2").live()
        lives = 1
        while outcome is None:
            past = journal.cut()
            journal = MemoryJournal(journal.entries, die_at=len(journal.entries) + 9 if lives < 20 else None)
            outcome = await Life(world, journal, cap="0.2").again(past)
            lives += 1
        assert outcome.spent <= cap


@pytest.mark.parametrize("entries", [0, 1])
async def test_a_journal_without_its_first_event_says_so(entries: int) -> None:
    journal = MemoryJournal()
    await Life(World(), journal).live()
    with pytest.raises(ValueError, match="the journal is empty"):
        journal.cut(entries)
