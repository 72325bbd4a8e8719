"""Two weeks of runs on one virtual clock: mostly plain ones, and one of each thing that can happen to a run.

The loop they run on must do the work of its threads at once (`catp.dashboard.demo`): a virtual clock jumps when the
loop has nothing to do, and would not wait for a thread.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from catp.agent import Agent
from catp.cache.memory import MemoryCache
from catp.dashboard.demo_pictures import SUBJECTS, card
from catp.dashboard.demo_plans import ASKING, COUNTING, JOBS, Chooser, Job
from catp.dashboard.demo_tools import Stage, Trick, demo_catalogue
from catp.planlang.money import Money
from catp.result import RunCancelled, RunRefused, RunResult
from catp.runtime.clock import VirtualClock
from catp.runtime.events import RunEvent
from catp.store import scores
from catp.store.budgets import set_budget
from catp.store.journal import RunJournal
from catp.store.records import NewRun
from catp.store.store import RunStore

__all__ = ["History"]

_POLICIES = (("balanced", 0.8), ("thorough", 0.97), ("frugal", 0.35), ("balanced", 0.8))
_WORDS = "Read the text of this card, tell its language and its sentiment"
_FIRST_BUDGETS = 6
"""The budgets are there for so many of the last runs."""


class History:
    """Plays runs; `play` returns their ids in order.

    Args:
        store: Where they go: a file, or the URL of a database.
        runs: How many.
        seed: Of everything that is drawn.
        start_ns, end_ns: Between these they lie; Unix nanoseconds.
    """

    def __init__(self, store: Path | str, *, runs: int, seed: int, start_ns: int, end_ns: int) -> None:
        self._target, self._store = store, RunStore(store)
        self._runs, self._end_ns = runs, end_ns
        self._rng = np.random.default_rng([seed, 1])
        self._clock = VirtualClock(start_ns)
        self._stage = Stage(self._clock, seed)
        self._catalogue = demo_catalogue(self._stage)
        self._cache = MemoryCache(now_ns=self._clock.now_ns)
        self._agents: dict[tuple[str, str, bool], Agent] = {}
        self._done: list[RunResult] = []

    async def play(self) -> list[str]:
        """Play all runs, then score some of their results."""
        try:
            return await self._play()
        finally:
            for agent in self._agents.values():
                await agent.close()
            self._store.close()

    async def _play(self) -> list[str]:
        acts = self._acts()
        for number, (moment_ns, act) in enumerate(zip(self._moments(), acts, strict=True)):
            await self._clock.sleep(max(1.0, (moment_ns - self._clock.now_ns()) / 1e9))
            if number == max(0, self._runs - _FIRST_BUDGETS):
                self._set_budgets()
            self._stage.tricks.clear()
            self._stage.outage.clear()
            result = await act()
            if result is not None:
                self._done.append(result)
        self._score()
        return [result.run_id for result in self._done]

    def _moments(self) -> Sequence[int]:
        """Times of day, rising; more of them of late, the last some minutes before the end."""
        first, span = self._clock.now_ns(), self._end_ns - self._clock.now_ns()
        shares = np.sort(self._rng.random(self._runs) ** 0.5)
        moments = [first + round(float(share) * (span - 3600e9)) for share in shares]
        tail = min(len(_LAST), self._runs)
        for place in range(tail):
            moments[self._runs - tail + place] = self._end_ns - (tail - place) * 240 * 10**9
        return sorted(moments)

    def _acts(self) -> list[Callable[[], Awaitable[RunResult | None]]]:
        acts: list[Callable[[], Awaitable[RunResult | None]]] = [
            partial(self._plain, JOBS[number % len(JOBS)], number) for number in range(self._runs)
        ]
        rare = [getattr(self, f"_{name}") for name in _RARE[: max(0, (self._runs - len(_LAST)) // 2)]]
        for place, act in enumerate(rare):
            acts[round((place + 1) * (self._runs - len(_LAST)) / (len(rare) + 1))] = act
        for place, name in enumerate(_LAST[-self._runs :]):
            acts[self._runs - min(len(_LAST), self._runs) + place] = getattr(self, f"_{name}")
        return acts

    # --- agents and runs --------------------------------------------------------------------------------------------

    def _agent(self, job: Job, policy: str, alpha: float | None, *, repair: bool = False) -> Agent:
        key = job.project, policy, repair
        if key not in self._agents:
            self._agents[key] = Agent(
                self._catalogue, Chooser(policy, alpha), store=self._store, project=job.project, name=job.agent,
                cache=self._cache, clock=self._clock, warn=(0.5, 0.8), approve="later",
                repair=1 if repair else 0, alpha=0.8 if alpha is None else alpha,
            )  # fmt: skip
        return self._agents[key]

    def _picture(self, job: Job) -> dict[str, Any]:
        subject = int(self._rng.integers(len(SUBJECTS)))
        worn = (0.04, 0.10, 0.16)[int(self._rng.integers(3))]
        return {job.input: card(subject, worn=worn, colour=job.input != "photo", seed=1)}

    async def _plain(self, job: Job, number: int) -> RunResult | None:
        policy, alpha = _POLICIES[int(self._rng.integers(len(_POLICIES)))]
        deadline = job.deadline_s if number % 2 else None
        return await self._run(self._agent(job, policy, alpha), job, self._picture(job), deadline_s=deadline)

    async def _run(
        self, agent: Agent, job: Job, inputs: dict[str, Any], *, task: str = "", **options: Any
    ) -> RunResult | None:
        given = {"budget": job.budget, **options}
        try:
            return await agent.run(task or job.task, inputs, **given)
        except RunRefused:
            return None
        except RunCancelled as stopped:
            return stopped.result

    # --- what happens now and then ----------------------------------------------------------------------------------

    async def _outage(self) -> RunResult | None:
        """Tools are out of order, and the plan has no other way."""
        self._stage.outage = {"caption_large", "caption_small"}
        return await self._run(self._agent(JOBS[0], "balanced", 0.8), JOBS[0], self._picture(JOBS[0]))

    async def _mended(self) -> RunResult | None:
        """A tool is out of order, and the agent may plan again."""
        self._stage.outage = {"caption_large"}
        agent = self._agent(JOBS[0], "thorough", 0.97, repair=True)
        return await self._run(agent, JOBS[0], self._picture(JOBS[0]), budget="0.20")

    async def _slow(self) -> RunResult | None:
        """A tool takes longer than it may, twice."""
        self._stage.tricks["upscale"] = [Trick(slower=5.0), Trick(slower=5.0)]
        return await self._run(self._agent(JOBS[0], "balanced", 0.8), JOBS[0], self._picture(JOBS[0]))

    async def _late(self) -> RunResult | None:
        """The deadline comes before the end."""
        self._stage.tricks["compose"] = [Trick(slower=6.0)]
        job = JOBS[2]
        return await self._run(self._agent(job, "balanced", 0.8), job, self._picture(job), deadline_s=9.0)

    async def _blank(self) -> RunResult | None:
        """There is nothing on the card that could be read."""
        from PIL import Image

        blank = Image.new("RGB", (192, 168), (246, 240, 226))
        return await self._run(self._agent(JOBS[1], "frugal", 0.35), JOBS[1], {"scan": blank})

    async def _partly(self) -> RunResult | None:
        """An output that may be left out is missing."""
        self._stage.outage = {"summarise"}
        return await self._run(self._agent(JOBS[1], "balanced", 0.8), JOBS[1], self._picture(JOBS[1]))

    async def _dear(self) -> RunResult | None:
        """A call costs far more than was said, and the rest of the plan is refused its money."""
        self._stage.tricks["colourise"] = [Trick(dearer=5.0)]
        return await self._run(self._agent(JOBS[0], "thorough", 0.97), JOBS[0], self._picture(JOBS[0]), budget="0.085")

    async def _cancelled(self) -> RunResult | None:
        """Somebody stops the run."""
        agent = self._agent(JOBS[0], "balanced", 0.8)
        running = asyncio.ensure_future(agent.run(JOBS[0].task, self._picture(JOBS[0]), budget=JOBS[0].budget))
        self._clock.call_later(3.5, running.cancel)
        with suppress(asyncio.CancelledError):
            return await running
        return None

    async def _unpriced(self) -> RunResult | None:
        """One of the tools has no price."""
        agent = self._agent(JOBS[2], "given", None)
        return await self._run(agent, JOBS[2], self._picture(JOBS[2]), task=COUNTING, budget=None)

    async def _in_words(self) -> RunResult | None:
        """A task nobody has a plan for: search finds one."""
        return await self._run(self._agent(JOBS[1], "search", None), JOBS[1], self._picture(JOBS[1]), task=_WORDS)

    async def _again(self) -> RunResult | None:
        """An earlier run once more from one of its steps on, with another tool for it."""
        for earlier in reversed(self._done):
            if earlier.status == "complete" and earlier.task == JOBS[0].task and earlier.spent < Money(50_000_000):
                agent = self._agent(JOBS[0], "balanced", 0.8)
                return await agent.fork(earlier.run_id, "clean", set={"clean": "demo.denoise_deep"}, budget="0.20")
        return await self._plain(JOBS[0], 0)

    async def _same(self) -> RunResult | None:
        """The same card twice within the hour: some results are there already."""
        inputs = {"scan": card(3, worn=0.04, seed=1)}
        agent = self._agent(JOBS[1], "balanced", 0.8)
        await self._run(agent, JOBS[1], inputs)
        await self._clock.sleep(600.0)
        return await self._run(agent, JOBS[1], inputs)

    async def _killed(self) -> RunResult | None:
        """The process dies in the middle; what it did after is lost."""
        store = _KilledStore(self._target)
        async with Agent(
            self._catalogue, Chooser("balanced", 0.8), store=store, project=JOBS[0].project, name=JOBS[0].agent,
            cache=self._cache, clock=self._clock,
        ) as agent:  # fmt: skip
            return await self._run(agent, JOBS[0], self._picture(JOBS[0]))

    async def _asks(self) -> RunResult | None:
        """A step that writes waits for somebody's approval."""
        agent = self._agent(JOBS[1], "given", None)
        return await self._run(agent, JOBS[1], {"scan": card(0, worn=0.10, seed=1)}, task=ASKING, budget="0.05")

    # --- afterwards -------------------------------------------------------------------------------------------------

    def _set_budgets(self) -> None:
        """Caps that the spending so far nearly fills, half fills and hardly touches."""
        now_ns = self._clock.now_ns()
        spent = {job.project: 0 for job in JOBS}
        for run in self._store.list(limit=10_000):
            if run.project in spent:
                spent[run.project] += run.cost
        for job, period, share in zip(JOBS, ("month", "total", "total"), (0.88, 0.55, 0.25), strict=True):
            cap = Money(max(10**8, round(spent[job.project] / share / 1e7) * 10**7))
            self._store.database.write(
                lambda c, job=job, period=period, cap=cap: set_budget(  # type: ignore[misc]
                    c, "project", job.project, period, cap, (0.5, 0.8, 0.95), now_ns
                )
            )

    def _score(self) -> None:
        """Somebody has looked at most of the results."""
        seen = [run for run in self._store.list(limit=10_000) if run.predicted_quality is not None and run.ended_ns]
        for run in reversed(seen):
            if run.status not in ("complete", "degraded") or self._rng.random() < 0.25:
                continue
            lost = 0.15 if run.status == "degraded" else 0.0
            value = float(np.clip((run.predicted_quality or 0.0) - lost + self._rng.normal(0.01, 0.06), 0.05, 0.99))
            at_ns = (run.ended_ns or 0) + 60 * 10**9
            self._store.database.write(
                partial(scores.put, run_id=run.id, value=round(value, 2), by="demo", note="", now_ns=at_ns)
            )


_RARE = (
    "outage", "again", "partly", "unpriced", "cancelled", "same", "slow", "dear", "in_words", "mended", "late", "blank",
    "unpriced", "in_words", "again", "dear", "same",
)  # fmt: skip
_LAST = ("same", "killed", "asks")


class _KilledStore(RunStore):
    """Keeps only the beginning of a run, as if its process had been killed."""

    def begin(self, run: NewRun) -> RunJournal:
        super().begin(run)
        return _Cut(self._writer, run.run_id, store=self.name)


class _Cut(RunJournal):
    _left = 14

    def event(self, event: RunEvent) -> None:
        self._left -= 1
        if self._left >= 0:
            super().event(event)

    def value(self, *given: Any) -> None:
        if self._left > 0:
            super().value(*given)
