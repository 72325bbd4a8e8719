"""Plans on paper: what a change would cost and take, which tools could stand in. Nothing is called or stored."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from catp.dashboard.jobs import Jobs, or_problem
from catp.dashboard.previews import Previews
from catp.dashboard.problems import Problem
from catp.dashboard.read.plans_of_runs import plan_in_force
from catp.dashboard.read.whatif import Ground, alternatives, quoted, whatif
from catp.planlang.money import Money
from catp.planlang.nodes import Plan
from catp.planlang.parser import parse
from catp.planlang.registry_view import ValueFacts
from catp.planners.protocol import Objective
from catp.planners.search import SearchPlanner
from catp.store import queries
from catp.store.store import RunStore
from catp.tools.builtin.facts import describe

if TYPE_CHECKING:
    from catp.agent import Agent

__all__ = ["Paper", "ground_of"]

_MOST_STEPS = 60
"""Alternatives are looked for in all steps of plans up to this size, and in one step of larger ones."""

_MOST_RUNS = 100


class Paper:
    """Estimates by the tools of the agent of `jobs`, for inputs of runs and of previews."""

    def __init__(self, store: RunStore, jobs: Jobs, previews: Previews) -> None:
        self._store = store
        self._jobs = jobs
        self._previews = previews
        self._facts: OrderedDict[str, dict[str, ValueFacts]] = OrderedDict()

    async def whatif(
        self, swap: Mapping[str, str], drop: list[str], *, run: str | None = None, plan_hash: str | None = None,
        plan: str | None = None, preview: str | None = None, budget: Money | None = None,
        deadline_s: float | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Return what a run, a stored plan or a plan text would be expected to cost and take with a change."""

        async def estimate() -> dict[str, Any]:
            ground, before, limits, kept = await self._ground(run, plan_hash, plan, preview)
            if budget is not None or deadline_s is not None:
                ms = limits.deadline_ms if deadline_s is None else deadline_s * 1000
                limits = replace(limits, budget=limits.budget if budget is None else budget, deadline_ms=ms)
            return await asyncio.to_thread(whatif, ground, before, swap, drop, limits, kept)

        return await or_problem(estimate)

    async def quote(self, run: str) -> dict[str, Any]:
        """Return what the whole plan of a run is expected to cost and take by what is known now."""

        async def estimate() -> dict[str, Any]:
            ground, plan, limits, _ = await self._ground(run, None, None, None)
            return await asyncio.to_thread(quoted, ground, plan, limits)

        return await or_problem(estimate)

    async def alternatives(
        self, step: str | None, *, run: str | None = None, plan: str | None = None, preview: str | None = None
    ) -> dict[str, list[dict[str, Any]]]:
        """Return which tools fit the steps (or one) of a run or a plan text, and what would change with each."""

        async def find() -> dict[str, list[dict[str, Any]]]:
            ground, before, _, _ = await self._ground(run, None, plan, preview)
            steps = [str(one.name) for one in before.steps] if step is None else [step]
            if len(steps) > _MOST_STEPS:
                raise Problem(422, "query", f"the plan has {len(steps)} steps: name one of them with `step`")
            return await asyncio.to_thread(alternatives, ground, before, steps)

        return await or_problem(find)

    async def _ground(
        self, run: str | None, plan_hash: str | None, plan: str | None, preview: str | None
    ) -> tuple[Ground, Plan, Objective, frozenset[str] | None]:
        """The tools and inputs to go by, the plan, the limits, and the steps of the run that have a value."""
        agent = await self._jobs.agent(run)
        facts: Mapping[str, ValueFacts] = {}
        limits, kept = Objective(agent.alpha), None
        if preview is not None:
            found = self._previews.get(preview)
            facts, limits = found.facts, found.objective
        if run is not None:
            summary = await asyncio.to_thread(self._store.find, run)
            facts = await asyncio.to_thread(self._facts_of, summary.id)
            source = await self._store.database.aread(partial(plan_in_force, run_id=summary.id))
            steps = await self._store.database.aread(partial(queries.steps, run_id=summary.id))
            kept = frozenset(step.step for step in steps if step.status in ("ok", "skipped"))
            limits = Objective(agent.alpha, summary.budget, summary.deadline_ms)
        elif plan_hash is not None:
            source = await asyncio.to_thread(_stored, self._store, plan_hash)
        else:
            source = plan or ""
        return ground_of(agent, facts), parse(source), limits, kept

    def _facts_of(self, run_id: str) -> dict[str, ValueFacts]:
        """What is known of the inputs of a run; of those that cannot be read back, nothing."""
        found = self._facts.get(run_id)
        if found is None:
            found = {}
            for kept in self._store.values(run_id):
                if kept.kind != "input":
                    continue
                try:
                    found[kept.name] = describe(kept.value())
                except (ValueError, OSError):
                    continue
            self._facts[run_id] = found
            if len(self._facts) > _MOST_RUNS:
                self._facts.popitem(last=False)
        return found


def ground_of(agent: "Agent", facts: Mapping[str, ValueFacts]) -> Ground:
    """Return what plans for such inputs are priced and rated on."""
    accuracy = agent.planner.accuracy if isinstance(agent.planner, SearchPlanner) else None
    return Ground(agent.catalogue.view(), agent.catalogue.estimator(), facts, accuracy)


def _stored(store: RunStore, digest: str) -> str:
    try:
        return store.plan_source(digest)
    except IndexError:
        raise Problem(404, "not-found", f"there is no plan {digest[:70]!r} in {store.name}") from None
