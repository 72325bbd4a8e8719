"""Random plans that lose their process at random places: the same end as without, and nothing finished done again."""

import asyncio
import random
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from catp.runtime.doubts import settle_doubts
from catp.runtime.events import RunEvent
from catp.runtime.ledger import Ledger
from catp.runtime.program import build_program
from catp.runtime.replay import rebuild
from catp.runtime.restore import Restored
from catp.runtime.run import Run, RunOutcome
from catp.runtime.slots import Slots
from catp.runtime.testing import MemoryJournal, compiled
from tests.durable.twelve import finished, started
from tests.runtime.test_random_plans import Draw, world


class Plan:
    """One random plan with its inputs; every life gets tools and a clock of its own."""

    def __init__(self, seed: int, steps: int, rate: float, slots: int) -> None:
        rng = random.Random(seed)
        self.text = Draw(rng, steps).text
        self.inputs = {"n": rng.choice(("a", "z")), "xs": [f"x{i}" for i in range(rng.choice((0, 1, 3, 5)))]}
        self.seed, self.rate, self.slots = seed, rate, slots

    async def live(self, journal: MemoryJournal, restored: Restored | None = None) -> RunOutcome | None:
        """Run until the end, or until the journal dies (None)."""
        clock, tools = world(self.rate, self.seed)
        plan = compiled(self.text, tools)
        if restored is not None:
            restored = await settle_doubts(
                "R", restored, build_program(plan), takes_key=lambda tool: False, decide=None
            )
        run = Run(
            plan, self.inputs, tools, ledger=Ledger(before=restored.rows if restored else ()), clock=clock,
            journal=journal, run_id="R", restored=restored, slots=Slots(self.slots),
        )  # fmt: skip
        waiting = asyncio.ensure_future(run.wait())
        dying = asyncio.ensure_future(journal.died.wait())
        await asyncio.wait([waiting, dying], return_when=asyncio.FIRST_COMPLETED)
        if journal.dead:
            waiting.cancel()
            await asyncio.wait([waiting])
            return None
        dying.cancel()
        return await waiting


def ends(outcome: RunOutcome) -> dict[str, Any]:
    """What must be equal. A step without a value counts as failed however it got there: which of several equal calls
    are blocked after two failures, and whether an element fails by itself before the map it reads is given up or waits
    for it in vain, depends on the order of events, and that is not the same in two lives."""
    lost = ("refused", "poisoned")
    status = {name: "failed" if step.status in lost else step.status for name, step in outcome.steps.items()}
    return {"status": outcome.status, "steps": status, "values": {n: s.value for n, s in outcome.steps.items()}}


@settings(deadline=None, max_examples=400, derandomize=True)
@given(
    st.integers(0, 10**9), st.integers(1, 10), st.sampled_from([0.0, 0.1, 0.3]), st.sampled_from([1, 3, 64]),
    st.integers(1, 4),
)  # fmt: skip
async def test_random_plans_end_as_if_nobody_had_killed_them(
    seed: int, steps: int, rate: float, slots: int, kills: int
) -> None:
    plan, rng = Plan(seed, steps, rate, slots), random.Random(seed)
    whole = MemoryJournal()
    wanted = await plan.live(whole)
    assert wanted is not None
    journal = MemoryJournal(die_at=rng.randint(4, max(5, len(whole.entries))))
    outcome = await plan.live(journal)
    while outcome is None:
        cut = rng.randint(max(4, journal.written), len(journal.entries))
        past, kills = journal.cut(cut), kills - 1
        journal = MemoryJournal(journal.entries[:cut], die_at=cut + rng.randint(1, 30) if kills > 0 else None)
        outcome = await plan.live(journal, past)
        done = finished(list(past.events))
        new = [entry for entry in journal.entries[cut:] if isinstance(entry, RunEvent)]
        assert not [call for call in started(new) if call in done or (call[0], None) in done]
    assert ends(outcome) == ends(wanted)
    told = rebuild(outcome.events)
    assert told.spent == outcome.spent == sum(row.amount or 0 for row in outcome.rows)
    assert told.steps == {name: step.status for name, step in outcome.steps.items()}
    paid = Counter((e.step, e.element) for e in outcome.events if e.data.get("outcome") == "ok")
    assert set(paid.values()) <= {1}
