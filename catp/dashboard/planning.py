"""Planning, pricing and starting runs for the pages: what `catp plan`, `run`, `runs fork` and `runs resume` do.

preview ──> quotes, remembered with the facts of the inputs ──> run of one of them: the same quote, the same figures
   └──> what-if, alternatives: estimates only, nothing is called, nothing is stored
"""

import asyncio
import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from catp.dashboard.given import fingerprint, values_of
from catp.dashboard.jobs import Jobs, Repeats, or_problem
from catp.dashboard.paper import Paper, ground_of
from catp.dashboard.previews import Preview, Previews
from catp.dashboard.problems import Problem
from catp.dashboard.read.planned import preview_json
from catp.dashboard.read.plans_of_runs import previous_plan
from catp.dashboard.read.whatif import wanted_of
from catp.dashboard.wishes import Asked
from catp.planlang.money import Money
from catp.planlang.nodes import Plan
from catp.planlang.parser import parse
from catp.planlang.printer import to_text
from catp.planlang.registry_view import ValueFacts
from catp.planners.protocol import Objective
from catp.planners.search import SearchPlanner
from catp.result import Planned, Quote, RunResult
from catp.runtime.events import RunEvent
from catp.store.store import RunStore
from catp.tools.builtin.facts import describe

if TYPE_CHECKING:
    from catp.agent import Agent

__all__ = ["PlanDesk"]


class PlanDesk:
    """Plans and starts runs with the agent of `jobs`."""

    def __init__(self, store: RunStore, jobs: Jobs) -> None:
        self._store = store
        self._jobs = jobs
        self.repeats = Repeats()
        self._previews = Previews()
        self.paper = Paper(store, jobs, self._previews)

    async def agent(self, run: str) -> "Agent":
        """Return the agent that has the tools of a saved run; it is closed with the server."""
        return await self._jobs.agent(run)

    # --- looking ----------------------------------------------------------------------------------------------------

    async def preview(self, asked: Asked, candidates: int) -> dict[str, Any]:
        """Return the candidates for a task, or the one plan that was given, with what they would cost and take."""
        values = await asyncio.to_thread(values_of, asked.inputs)
        agent = _with_planner(await self._jobs.agent(), asked.policy)
        facts = await asyncio.to_thread(lambda: {name: describe(value) for name, value in values.items()})
        planned = await or_problem(partial(self._planned, agent, asked, values, facts, candidates))
        quotes = {to_text(quote.compiled.source): quote for quote in planned.candidates}
        objective = _objective(agent, asked)
        preview = Preview(asked.task, fingerprint(asked.inputs), facts, objective, quotes)
        self._previews.keep(preview)
        title = planned.candidates[0].task
        before = await self._store.database.aread(partial(previous_plan, task=title))
        found = await asyncio.to_thread(preview_json, planned, before)
        return {"preview": preview.id, "alpha": objective.alpha, "asks": _asks(planned, agent), **found}

    def previewed(self, preview: str, rank: int) -> Quote:
        """Return a candidate of a preview, to be drawn."""
        quotes = list(self._previews.get(preview).quotes.values())
        if not 1 <= rank <= len(quotes):
            raise Problem(404, "not-found", f"the preview has {len(quotes)} plans, and none of rank {rank}")
        return quotes[rank - 1]

    # --- starting ---------------------------------------------------------------------------------------------------

    async def run(self, asked: Asked) -> str:
        """Start a run of a task or of a plan; a plan that was previewed with these inputs and limits runs as quoted."""
        values = await asyncio.to_thread(values_of, asked.inputs)

        async def work(agent: "Agent", hear: Callable[[RunEvent], None]) -> RunResult:
            agent = _with_planner(agent, asked.policy)
            quote = self._quoted(agent, asked)
            options: dict[str, Any] = {"budget": asked.cap, "approve": _approve(agent), "on_event": hear}
            if quote is not None:
                return await agent.run(quote, values, **options)
            what = asked.task if asked.plan is None else parse(asked.plan)
            async with agent.begin(what, values, wanted=asked.wanted, **asked.limits) as quote:
                if isinstance(what, Plan) and asked.task:
                    quote = replace(quote, task=asked.task)
                return await agent.run(quote, values, **options)

        return await self._jobs.start(work)

    async def replay(
        self, run: str, from_node: str | None, swap: Mapping[str, str], budget: Money | None, deadline_s: float | None
    ) -> str:
        """Start a fork of a run: from a step on, with other tools; see `Agent.fork`."""

        async def work(agent: "Agent", hear: Callable[[RunEvent], None]) -> RunResult:
            return await agent.fork(
                run, from_node, set=swap, budget=budget, deadline_s=deadline_s, approve=_approve(agent), on_event=hear
            )

        return await self._jobs.start(work, run)

    async def resume(
        self, run: str, in_flight: "Mapping[str, Literal['again', 'done', 'failed']] | None", retry_failed: bool,
        budget: Money | None, deadline_s: float | None,
    ) -> str:  # fmt: skip
        """Go on with a run that waits or was interrupted; see `Agent.resume`."""

        async def work(agent: "Agent", hear: Callable[[RunEvent], None]) -> RunResult:
            return await agent.resume(
                run, in_flight=in_flight, retry_failed=retry_failed, budget=budget, deadline_s=deadline_s,
                approve=_approve(agent), on_event=hear,
            )  # fmt: skip

        return await self._jobs.start(work, run)

    # --- what is known ----------------------------------------------------------------------------------------------

    async def _planned(
        self, agent: "Agent", asked: Asked, values: Mapping[str, Any], facts: Mapping[str, ValueFacts], candidates: int
    ) -> Planned:
        if asked.plan is None:
            return await agent.plan(asked.task, values, wanted=asked.wanted, candidates=candidates, **asked.limits)
        quote = await agent.quote(parse(asked.plan), values, **asked.limits)
        ground = ground_of(agent, facts)
        quality = await asyncio.to_thread(ground.quality, quote.compiled, wanted_of(quote.compiled))
        quote = replace(quote, quality=quality, task=asked.task or quote.task)
        return Planned(quote.task, (quote,), exact=True)

    def _quoted(self, agent: "Agent", asked: Asked) -> Quote | None:
        """The quote of the preview that was looked at, if it is of this very plan, with these inputs and limits."""
        if asked.preview is None or asked.plan is None:
            return None
        try:
            preview = self._previews.get(asked.preview)
        except Problem:
            return None  # quoted anew
        same = (preview.inputs, preview.objective) == (fingerprint(asked.inputs), _objective(agent, asked))
        return preview.quotes.get(to_text(parse(asked.plan))) if same else None


def _asks(planned: Planned, agent: "Agent") -> bool:
    """True if a run of the best plan will wait for somebody's approval of it, or of one of its steps."""
    plan = planned.best.compiled.plan
    waits = agent.approve is None or agent.approve.decides in ("wait", "later")
    return waits and (plan.approve or any(step.note("approve") is not None for step in plan.steps))


def _approve(agent: "Agent") -> Literal["wait"] | None:
    """Whoever the agent asks; nobody was named: wait for a decision, which may be made on the page."""
    return "wait" if agent.approve is None else None


def _with_planner(agent: "Agent", policy: str | None) -> "Agent":
    """The agent, planning by search if that is asked for; this process loads no other policy."""
    if policy in (None, agent.planner.name):
        return agent
    if policy != "search":
        raise Problem(422, "policy", f"policy: this server plans by {agent.planner.name} or search, not {policy!r}")
    other = copy.copy(agent)
    other.planner = SearchPlanner()
    return other


def _objective(agent: "Agent", asked: Asked) -> Objective:
    seconds = agent.deadline_s if asked.deadline_s is None else asked.deadline_s
    return Objective(
        agent.alpha if asked.alpha is None else asked.alpha,
        agent.budget if asked.budget is None else asked.budget,
        None if seconds is None else seconds * 1000,
    )
