"""Random plans, random decisions, any number of lives: nothing runs unasked, nothing runs or is paid twice."""

import asyncio
import tempfile
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.agent import Agent
from catp.result import RunResult
from catp.runtime.events import RunEvent
from catp.store.approvals import get
from catp.tools import PerCall, tool
from tests.durable.test_kill_everywhere import die, in_child

PRICE = 1_000_000


@dataclass(frozen=True)
class Case:
    """A plan of steps that each read an earlier one (or nothing), and what is said about those that ask."""

    sources: tuple[int | None, ...]
    asks: tuple[bool, ...]
    whole: bool
    granted: tuple[bool, ...]
    plan_granted: bool
    order: tuple[int, ...]

    @property
    def text(self) -> str:
        lines = ["plan p @approve" if self.whole else "plan p"]
        for k, (source, asks) in enumerate(zip(self.sources, self.asks, strict=True)):
            given = f"s{source}" if source is not None else '"start"'
            lines.append(f'{step(k)} = note({given}, "{step(k)}"){" @approve" if asks else ""}')
        return "\n".join([*lines, f"out {', '.join(map(step, range(len(self.sources))))}"])

    def expected(self) -> dict[str, str]:
        """How every step must end."""
        ends: dict[str, str] = {}
        for k, source in enumerate(self.sources):
            if self.whole and not self.plan_granted:
                ends[step(k)] = "refused"
            elif source is not None and ends[step(source)] != "ok":
                ends[step(k)] = "poisoned"
            else:
                ends[step(k)] = "refused" if self.asks[k] and not self.granted[k] else "ok"
        return ends


def step(number: int) -> str:
    return f"s{number}"


@st.composite
def cases(draw: st.DrawFn) -> Case:
    size = draw(st.integers(1, 6))
    sources = tuple(draw(st.one_of(st.none(), st.integers(0, k - 1))) if k else None for k in range(size))
    flags = st.tuples(*[st.booleans()] * size)
    order = draw(st.permutations(range(size)))
    return Case(
        sources, draw(flags), draw(st.booleans()), draw(flags), draw(st.sampled_from([True, True, False])), tuple(order)
    )


async def live(case: Case, folder: Path) -> tuple[RunResult, Counter[str], int]:
    """Run to a waiting end, let one question be answered, go on in another agent, until nothing is asked."""
    calls: Counter[str] = Counter()

    @tool(price=PerCall("0.001"))
    async def note(text: str, name: str) -> str:
        """Note that it was called."""
        calls[name] += 1
        return f"{text} {name}"

    run_id, lives = None, 0
    while True:
        lives += 1
        async with Agent([note], store=folder / "runs.db", approve="later", budget="0.1") as bot:
            result = await (bot.run(case.text) if run_id is None else bot.resume(run_id))
            assert result.spent == PRICE * calls.total()
            if result.status != "waiting":
                assert bot.store is not None
                assert bot.store.get(result.run_id).summary.cost == result.spent
                return result, calls, lives
            run_id = result.run_id
            questions = {question.step: question for question in await bot.approvals(run_id)}
            assert questions
            assert all(calls[name] == 0 for name in questions if name is not None)
            if None in questions:
                await bot.decide(run_id, granted=case.plan_granted, by="ada")
                continue
            number = next(k for k in case.order if step(k) in questions)
            await bot.decide(run_id, step(number), granted=case.granted[number], by="ada")


@settings(deadline=None, max_examples=25)
@given(cases())
def test_every_step_runs_once_if_it_was_approved_and_never_else(case: Case) -> None:
    with tempfile.TemporaryDirectory() as folder:
        result, calls, lives = asyncio.run(live(case, Path(folder)))
    ends = case.expected()
    assert {name: found.status for name, found in result.steps.items()} == ends
    assert calls == {name: 1 for name, end in ends.items() if end == "ok"}
    asked = sum(asks and ends[step(k)] != "poisoned" for k, asks in enumerate(case.asks))
    if case.whole and not case.plan_granted:
        asked = 0
    assert lives == 1 + asked + case.whole


@tool(price=PerCall("0.001"), effects="read")
async def note(text: str, name: str) -> str:
    """Note that it was called."""
    return f"{text} {name}"


def killed(path: Path, plan: str, number: int) -> None:
    """A run whose process is killed at an event, if there are as many."""

    def kill_at(event: RunEvent) -> None:
        if event.seq == number:
            die()

    async def begin() -> None:
        async with Agent([note], store=path, approve="auto", budget="0.1") as bot:
            await bot.run(plan, on_event=kill_at)

    asyncio.run(begin())


@pytest.mark.slow
def test_an_answer_survives_kill_9_at_every_event_and_is_never_asked_for_twice(tmp_path: Path) -> None:
    plan = 'plan p @approve\na = note("x", "a")\nb = note(a, "b") @approve\nout b'
    seen = set()
    for number in range(1, 100):
        store = tmp_path / f"{number}.db"
        if in_child(partial(killed, store, plan, number), tmp_path / f"{number}.json") == 0:
            break
        seen.add(asyncio.run(revived(store)))
    assert number > 10  # every event of the run
    assert seen == {0, 1, 2}  # killed before the plan was approved, before the step was, after


async def revived(path: Path) -> int:
    """Go on with a killed run; return how many answers had been kept."""
    async with Agent([note], store=path, approve="later", budget="0.1") as bot:
        assert bot.store is not None
        saved = bot.store.list()
        if not saved:  # killed before anything was
            return 0
        (run,) = saved
        before = [row for row in bot.store.database.read(partial(get, run_id=run.id)) if row.granted]
        result = await bot.resume(run.id)
        while result.status == "waiting":
            (question,) = await bot.approvals(run.id)
            await bot.decide(run.id, question.step, by="ada")
            result = await bot.resume(run.id)
        assert result.outputs == {"b": "x a b"}
        kept = bot.store.database.read(partial(get, run_id=run.id))
        assert sorted((row.step or "", row.decision) for row in kept) == [("", "granted"), ("b", "granted")]
        assert {row.step: row.decided_ns for row in before}.items() <= {
            row.step: row.decided_ns for row in kept
        }.items()
        return len(before)
