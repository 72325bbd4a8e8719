"""A task that is planned while its first steps run already, and the record of what they cost if no run comes of it.

begin ──> Ahead: planning + Prefix ──> quote ──> the run adopts and books ──> done
                    └── no plan, refused, not run, cancelled ──> a run that only books what was started
"""

import asyncio
import re
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias

from catp.considered import CONSIDERED
from catp.execution import Execution
from catp.planlang.money import Money
from catp.planlang.nodes import Plan
from catp.planlang.registry_view import ValueFacts
from catp.planners.protocol import Objective, Planner, PlanningFailed, PlanRequest, Proposal, TellingPlanner
from catp.prefix import Prefix
from catp.result import Planned, Quote, RunCancelled, RunRefused, RunResult
from catp.runtime.early import EarlyCalls
from catp.runtime.flights import Flights
from catp.runtime.planning import Planning
from catp.spending import Spending
from catp.tools.builtin.facts import describe
from catp.tools.catalogue import Catalogue
from catp.tools.pools import DEFAULT, Pool

__all__ = ["EagerRuns", "share_of", "task_in_words"]

_PLAN_TEXT = re.compile(r"\n\s*out\s+[a-z_]")

_WITHOUT_BUDGET = Money(1_000_000)
"""Most that early calls of a run without a budget may cost: a tenth of a cent."""

_SHARE = 20
"""They may cost a twentieth of a budget."""


def share_of(budget: Money | None) -> Money:
    """Return the most that early calls may cost by default, nano-USD."""
    return _WITHOUT_BUDGET if budget is None else Money(max(1, budget // _SHARE))


def task_in_words(task: str | Plan) -> str | None:
    """Return the task if it is one in words, None if it is a plan or the text of one."""
    return None if isinstance(task, Plan) or _PLAN_TEXT.search(task) else task


@dataclass
class Ahead:
    """One task under way; `quote` is set once it is planned."""

    prefix: Prefix
    task: str
    inputs: Mapping[str, Any]
    objective: Objective
    planner: str
    quote: Quote | None = None
    _began: float = field(default_factory=time.perf_counter)

    @asynccontextmanager
    async def booking(self, book: "Book") -> AsyncIterator[None]:
        """Make sure that what was started is stopped and booked, whatever happens in the block."""
        try:
            yield
        except BaseException as error:
            booked = await self._end(_why(error), error, book)
            if booked is None:
                raise
            if isinstance(error, PlanningFailed | RunRefused):
                error.booked = booked
            elif isinstance(error, asyncio.CancelledError):
                raise RunCancelled(booked) from error
            raise
        await self._end("the plan was not run", None, book)

    async def _end(self, why: str, error: BaseException | None, book: "Book") -> RunResult | None:
        calls = self.prefix.calls
        if not calls.due:  # a run has taken over
            return None
        await self.prefix.drop(why)
        if all(loss.amount == 0 for loss in calls.losses):
            return None
        price = error.price if isinstance(error, PlanningFailed) else None
        return await book(self, Planning(self.planner, (time.perf_counter() - self._began) * 1e3, price), why)


Book: TypeAlias = Callable[[Ahead, Planning, str], Awaitable[RunResult]]
"""Makes a run that books what was started, and why that was in vain; the planning is booked unless the quote knows
better."""


def _why(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        return "interrupted while it was planned"
    kind = (
        "refused" if isinstance(error, RunRefused) else "not planned" if isinstance(error, PlanningFailed) else "failed"
    )
    return f"{kind}: {error}"


class EagerRuns(ABC):
    """The part of `Agent` that plans a task to be run at once."""

    catalogue: Catalogue
    planner: Planner
    spending: Spending
    pools: Mapping[str, Pool]
    flights: Flights | None
    approve_plan: bool
    eager: bool
    eager_cap: Money | None

    @abstractmethod
    async def quote(
        self, task: str | Plan, inputs: Mapping[str, Any] | None = None, *, wanted: Mapping[str, str] | None = None,
        alpha: float | None = None, budget: str | Money | None = None, deadline_s: float | None = None,
    ) -> Quote:  # fmt: skip
        """See `Agent`."""

    @abstractmethod
    def _objective(self, alpha: float | None, budget: str | Money | None, deadline_s: float | None) -> Objective: ...

    @abstractmethod
    async def _plan(
        self, task: str, inputs: Mapping[str, Any], wanted: Mapping[str, str] | None, objective: Objective,
        planner: Callable[[PlanRequest], Awaitable[Proposal]], candidates: int, quoted: int,
    ) -> Planned: ...  # fmt: skip

    @abstractmethod
    def _quote(
        self, task: str, plan: Plan, facts: Mapping[str, ValueFacts], objective: Objective, planner: str,
        planning: Planning | None = None, early: EarlyCalls | None = None,
    ) -> Quote: ...  # fmt: skip

    @abstractmethod
    def _weigh_again(self, quote: Quote, inputs: Mapping[str, Any], objective: Objective) -> Quote: ...

    @abstractmethod
    def _execution(self) -> Execution: ...

    @asynccontextmanager
    async def begin(
        self,
        task: str | Plan,
        inputs: Mapping[str, Any] | None = None,
        *,
        wanted: Mapping[str, str] | None = None,
        alpha: float | None = None,
        budget: str | Money | None = None,
        deadline_s: float | None = None,
    ) -> AsyncIterator[Quote]:
        """Plan as `quote`, for a block that runs the quote; an eager agent starts steps while it plans.

            async with agent.begin(task, inputs) as quote:
                print(quote)
                result = await agent.run(quote, inputs)

        If nothing is run, or no plan is found, the steps that were started are stopped; what they cost is a run of its
        own in the record, which was cancelled: `booked` of the exception (`PlanningFailed`, `RunRefused`), or
        `RunCancelled`.
        """
        inputs, objective = dict(inputs or {}), self._objective(alpha, budget, deadline_s)
        if (text := task_in_words(task)) is None or (prefix := self._prefix(inputs, objective)) is None:
            yield await self.quote(task, inputs, wanted=wanted, alpha=alpha, budget=budget, deadline_s=deadline_s)
            return
        ahead = Ahead(prefix, text, inputs, objective, self.planner.name)
        async with ahead.booking(self._book):
            ahead.quote = await self._quote_ahead(ahead, wanted)
            yield ahead.quote

    def _prefix(self, inputs: Mapping[str, Any], objective: Objective) -> Prefix | None:
        """What starts steps early; None if nobody wants that, or the planner tells of none."""
        if not self.eager or self.approve_plan or not isinstance(self.planner, TellingPlanner):
            return None
        if DEFAULT in self.pools:  # tools run elsewhere, and what is started here could not be taken over there
            return None
        cap = share_of(objective.budget) if self.eager_cap is None else self.eager_cap
        ledger = self.spending.ledger(cap if objective.budget is None else min(cap, objective.budget))
        return Prefix(EarlyCalls(ledger), self.catalogue, inputs, self.spending.reserve, self.flights)

    async def _quote_ahead(self, ahead: Ahead, wanted: Mapping[str, str] | None) -> Quote:
        planner, prefix = self.planner, ahead.prefix
        assert isinstance(planner, TellingPlanner)
        plan = partial(planner.plan_aloud, decided=prefix.decided)
        quote = (await self._plan(ahead.task, ahead.inputs, wanted, ahead.objective, plan, CONSIDERED, 1)).best
        await prefix.keep(quote.compiled)
        quote = replace(quote, early=prefix.calls)
        if prefix.calls.lost:  # it is spent, and the plan has that much less
            quote = self._weigh_again(quote, ahead.inputs, ahead.objective)
        return quote if prefix.problem is None else replace(quote, notes=(*quote.notes, prefix.problem))

    async def _book(self, ahead: Ahead, planning: Planning, why: str) -> RunResult:
        """Make a run that does nothing but book what was started early."""
        quote, early = ahead.quote, ahead.prefix.calls
        if quote is None:
            facts = {name: describe(value) for name, value in ahead.inputs.items()}
            quote = self._quote(
                ahead.task, ahead.prefix.plan(), facts, ahead.objective, planning.planner, planning, early
            )  # fmt: skip
        known = {one.name for one in quote.compiled.plan.inputs}
        inputs = {name: value for name, value in ahead.inputs.items() if name in known}
        return await self._execution().run(quote, inputs, ahead.objective, stop=why)
