"""The agent: a task and inputs in; a priced plan, a concurrent run and a complete ledger out.

agent = Agent(budget="0.01")
result = await agent.run("read this page and tell me its language", {"page": image})
result.outputs["language"]
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catp.approvals import ApprovalMode, ApprovalPolicy, policy_of
from catp.cache.opening import flights_for
from catp.considered import CONSIDERED
from catp.eager import EagerRuns, task_in_words
from catp.execution import Execution
from catp.planlang.money import Money
from catp.planlang.nodes import Plan
from catp.planlang.parser import parse
from catp.planlang.registry_view import ValueFacts
from catp.planlang.types import parse_type
from catp.planners.chosen import planner_for
from catp.planners.intent import read_intent
from catp.planners.protocol import FrontPlanner, Objective, Planner, PlanRequest, Proposal, Wanted
from catp.quoting import asking_first, estimator_for, make_quote, money_of
from catp.repair import Repair, Repairs
from catp.result import Planned, Quote, RunRefused, RunResult
from catp.runtime.clock import Clock
from catp.runtime.early import EarlyCalls
from catp.runtime.events import RunEvent
from catp.runtime.hooks import CallCache
from catp.runtime.limits import Limit, ReserveAt
from catp.runtime.planning import Planning
from catp.runtime.run import Approver
from catp.saved_runs import SavedRuns
from catp.spending import Spending, desk_for
from catp.telemetry import observed_planning, observed_run, telemetry_for
from catp.tools.builtin.facts import describe
from catp.tools.catalogue import Catalogue
from catp.tools.pools import Pool, check_pools
from catp.typed_inputs import check_inputs

if TYPE_CHECKING:
    from catp.store.store import RunStore
    from catp.telemetry.telemetry import Telemetry
    from catp.tools.decorator import Tool
    from catp.tools.spec import ToolSpec

__all__ = ["Agent"]


class Agent(SavedRuns, EagerRuns):
    """Plans, prices and runs tasks over a catalogue of tools.

    Args:
        tools: A catalogue, or the tools to make one of; by default the built-in zoo.
        planner: Anything with the `Planner` protocol, `"search"`, `"policy"`, or the name or folder of a policy; by
            default what `CATP_PLANNER` says, else the shipped policy. A policy that cannot be loaded leaves planning to
            search, with a note.
        budget: Most one run may cost, in US dollars (`"0.01"`) or nano-USD (`Money`); None means no cap.
        deadline_s: Most one run may take, in seconds.
        alpha: Weight of quality against price, 0 (cheapest) to 1 (best).
        approve: Decides about plans and steps with `@approve`: a callable, or `"auto"`, `"never"`, `"wait"`, `"later"`
            (see `catp.approvals`); without it they are refused.
        approve_plan: Every plan must be approved as a whole before its first call, as if it said `@approve`.
        store: A `RunStore`, or the path of its database file; None saves nothing.
        profiles: File in which measured prices and times of this agent's own calls are kept; None keeps nothing.
        workers: Calls running at once; by default 64. Tools that compute run on one process per CPU core in any case.
        assume_price: What an unpriced call is assumed to cost when there is a budget; None refuses such calls.
        limits: Caps that all runs of the agent share (`Limit(usd("1"), "my agent", period="day")`), and so do other
            agents that are given the same objects. Budgets of its project and name in the store hold as well.
        reserve: Which price is held for a running call: `"expected"`, `"p95"` or `"p99"`.
        warn: Shares of a run's budget to be warned at, such as `(0.5, 0.8)`.
        strict: Refuse plans whose p95 price or time does not fit; by default the expected ones have to.
        values: What optional outputs are worth, by name, if some must be given up; 1 where nothing is said.
        pools: Other places where tools can run, by name; see `catp.tools.pools`. The agent closes them.
        project: What the agent's runs are booked under.
        name: The agent's own name in the record.
        repair: How often a run in which steps failed may be planned anew (`2`), or a `Repair` with a limit on money.
        telemetry: True sends spans and metrics as OpenTelemetry is configured; see docs/telemetry.md.
        cache: Whether results of tools and steps that allow it are used again (from the store if there is one, else
            from memory), or a cache of your own.
        cache_mb: How large the cache may grow, in MiB; by default 256 in a store, 64 in memory.
        eager: Whether steps that only compute or read start while the rest of their plan is being made, if the planner
            tells of them; or the most that such steps may cost in a run (`"0.001"`), by default a twentieth of its
            budget, $0.001 without one. See docs/runtime.md.
        clock: What its runs wait on and take their times and ids from, such as a `VirtualClock` for tools that wait on
            it too; None for real time.
    """

    def __init__(
        self,
        tools: "Catalogue | Iterable[Tool[Any, Any] | ToolSpec] | None" = None,
        planner: Planner | str | None = None,
        *,
        budget: str | Money | None = None,
        deadline_s: float | None = None,
        alpha: float = 0.8,
        approve: "Approver | ApprovalMode | ApprovalPolicy | None" = None,
        approve_plan: bool = False,
        store: "RunStore | Path | str | None" = None,
        profiles: Path | str | None = None,
        workers: int | None = None,
        assume_price: str | Money | None = None,
        limits: Iterable[Limit] = (),
        reserve: ReserveAt = "p95",
        warn: Iterable[float] = (),
        strict: bool = False,
        values: Mapping[str, float] | None = None,
        pools: Mapping[str, Pool] | None = None,
        project: str = "default",
        name: str = "",
        repair: int | Repair = 0,
        telemetry: "bool | Telemetry" = False,
        cache: bool | CallCache = True,
        cache_mb: float | None = None,
        eager: bool | str | Money = False,
        clock: Clock | None = None,
    ) -> None:
        self.catalogue = _catalogue(tools)
        self.planner = planner_for(planner)
        self.budget = money_of("budget", budget)
        self.deadline_s = deadline_s
        self.alpha = alpha
        self.store = _store(store)
        self.approve = policy_of(approve, stored=self.store is not None)
        self.approve_plan = approve_plan
        self.profiles = Path(profiles) if profiles is not None else None
        self.workers = workers
        self.spending = Spending(
            tuple(limits), desk_for(self.store, project, name), money_of("assume_price", assume_price), reserve,
            tuple(warn), strict, dict(values or {}),
        )  # fmt: skip
        self.pools = dict(pools or {})
        self.project = project
        self.name = name
        self.repair = repair if isinstance(repair, Repair) else Repair(repair)
        self.telemetry = telemetry_for(telemetry)
        self.flights = flights_for(cache, self.store, cache_mb)
        self.eager = eager if isinstance(eager, bool) else True
        self.eager_cap = None if isinstance(eager, bool) else money_of("eager", eager)
        self.clock = clock
        check_pools(self.pools)
        self._objective(None, None, None)  # refuse bad defaults now, not at the first run

    async def plan(
        self,
        task: str,
        inputs: Mapping[str, Any] | None = None,
        *,
        wanted: Mapping[str, str] | None = None,
        alpha: float | None = None,
        budget: str | Money | None = None,
        deadline_s: float | None = None,
        candidates: int = 5,
        front: bool = False,
    ) -> Planned:
        """Return priced candidate plans for a task, best first. Never calls a tool; costs what the planner costs.

        `wanted` names the outputs and their types (`{"language": "Language"}`); without it the task text is read. With
        `front`, the candidates are plans none of which another beats on price, predicted quality and expected latency.

        Raises:
            ValueError: the planner knows no front.
            PlanningFailed: if the task is not understood or no plan can do it within the budget and deadline.
        """
        objective = self._objective(alpha, budget, deadline_s)
        planner = self._front_planner().front if front else self.planner.plan
        return await self._plan(task, inputs or {}, wanted, objective, planner, candidates, candidates)

    @observed_planning
    async def _plan(
        self, task: str, inputs: Mapping[str, Any], wanted: Mapping[str, str] | None, objective: Objective,
        planner: Callable[[PlanRequest], Awaitable[Proposal]], candidates: int, quoted: int,
    ) -> Planned:  # fmt: skip
        """Ask for `candidates` plans, so that the record can tell of them, and quote the best `quoted` of them."""
        facts = {name: describe(value) for name, value in inputs.items()}
        registry = self.catalogue.view()
        notes: tuple[str, ...] = ()
        if wanted is not None:
            goals = tuple(Wanted(name, parse_type(type_)) for name, type_ in wanted.items())
        else:
            intent = read_intent(task, facts, registry)
            goals, notes = intent.wanted, tuple(intent.notes)
        estimator = estimator_for(self.catalogue, objective, self.spending.assume_price)
        request = PlanRequest(task, facts, goals, objective, registry, estimator, candidates)
        began = time.perf_counter()
        proposal = await planner(request)
        ms = (time.perf_counter() - began) * 1e3
        planning = Planning(proposal.by or self.planner.name, ms, proposal.price)
        notes += proposal.notes
        quotes = []
        for place, candidate in enumerate(proposal.candidates[:quoted]):
            quote = self._quote(task, candidate.plan, facts, objective, planning.planner, planning)
            notes_too = notes + quote.notes
            quotes.append(
                replace(
                    quote, quality=candidate.quality, utility=candidate.utility, notes=notes_too,
                    rivals=proposal.candidates, place=place,
                )
            )  # fmt: skip
        return Planned(task, tuple(quotes), proposal.exact, notes, planning)

    async def quote(
        self,
        task: str | Plan,
        inputs: Mapping[str, Any] | None = None,
        *,
        wanted: Mapping[str, str] | None = None,
        alpha: float | None = None,
        budget: str | Money | None = None,
        deadline_s: float | None = None,
    ) -> Quote:
        """Return the price, latency and critical path of the best plan for a task, or of a given plan. Calls no tool.

        A task of several lines with an `out` line is taken to be a plan in text form.
        """
        if isinstance(task, str) and task_in_words(task) is None:
            task = parse(task)
        if isinstance(task, str):
            objective = self._objective(alpha, budget, deadline_s)
            planned = await self._plan(task, inputs or {}, wanted, objective, self.planner.plan, CONSIDERED, 1)
            return planned.best
        facts = {name: describe(value) for name, value in (inputs or {}).items()}
        title = task.doc or task.name or "a given plan"
        return self._quote(title, task, facts, self._objective(alpha, budget, deadline_s), "given")

    @observed_run
    async def run(
        self,
        task: str | Plan | Quote,
        inputs: Mapping[str, Any] | None = None,
        *,
        wanted: Mapping[str, str] | None = None,
        alpha: float | None = None,
        budget: str | Money | None = None,
        deadline_s: float | None = None,
        approve: "Approver | ApprovalMode | ApprovalPolicy | None" = None,
        on_event: Callable[[RunEvent], None] | None = None,
    ) -> RunResult:
        """Plan (unless a plan or quote is given), check the budget, run, save, and return everything about the run.

        A quote runs under the budget and deadline it was made for, unless others are given here: its plan is then
        weighed again, as a whole and with what was given up before.

        A failed step does not raise: look at `result.status` and `result.results`. Cancelling the task stops all work,
        completes the ledger, saves the run and raises `RunCancelled` (a `CancelledError`) with the result.

        Raises:
            PlanningFailed: no plan. PlanError: a given plan is invalid. InputError: inputs do not fit the plan.
            RunRefused: the expected price or time exceeds the budget or deadline, or a price is unknown.
        """
        inputs = dict(inputs or {})
        if not isinstance(task, Quote):
            asked: Any = {"alpha": alpha, "budget": budget, "deadline_s": deadline_s}
            async with self.begin(task, inputs, wanted=wanted, **asked) as quote:
                return await self._run(quote, inputs, self._objective(**asked), approve, on_event)
        quote, quoted_s = task, task.deadline_ms / 1000 if task.deadline_ms is not None else None
        objective = self._objective(
            quote.alpha if alpha is None else alpha,
            quote.budget if budget is None else budget,
            quoted_s if deadline_s is None else deadline_s,
        )
        if (budget, deadline_s) != (None, None) or quote.strict != self.spending.strict or self.spending.rooms():
            quote = self._weigh_again(quote, inputs, objective)
        return await self._run(quote, inputs, objective, approve, on_event)

    async def _run(
        self, quote: Quote, inputs: Mapping[str, Any], objective: Objective,
        approve: "Approver | ApprovalMode | ApprovalPolicy | None", on_event: Callable[[RunEvent], None] | None,
    ) -> RunResult:  # fmt: skip
        check_inputs(quote.compiled, inputs)
        if not quote.admitted:
            raise RunRefused(quote)
        return await self._execution().run(
            quote,
            inputs,
            objective,
            approve=self._policy(approve),
            on_event=on_event,
            repair=self._repairs(quote.task, objective),
        )

    def run_sync(self, task: str | Plan | Quote, inputs: Mapping[str, Any] | None = None, **options: Any) -> RunResult:
        """`run` for code without an event loop; takes the same options."""

        async def once() -> RunResult:
            try:
                return await self.run(task, inputs, **options)
            finally:
                await self.close()

        return asyncio.run(once())

    async def stream(
        self, task: str | Plan | Quote, inputs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncIterator[RunEvent | RunResult]:
        """Yield every event as it happens and, last, the `RunResult`. Leaving the loop early cancels the run."""
        queue: asyncio.Queue[RunEvent | None] = asyncio.Queue()
        running = asyncio.ensure_future(self.run(task, inputs, on_event=queue.put_nowait, **options))
        running.add_done_callback(lambda _: queue.put_nowait(None))
        try:
            while (event := await queue.get()) is not None:
                yield event
            yield await running
        finally:
            if not running.done():
                running.cancel()
                with suppress(asyncio.CancelledError):
                    await running

    async def close(self) -> None:
        """Stop worker processes and release connections; the agent can be used again afterwards."""
        if self.flights is not None:
            await self.flights.settle()
        await self.catalogue.close()
        for pool in self.pools.values():
            await pool.close()
        if self.spending.desk is not None:
            self.spending.desk.close()
        if self.store is not None:
            self.store.close()
        if self.telemetry is not None:
            await self.telemetry.close()

    async def __aenter__(self) -> "Agent":
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    def _policy(self, approve: "Approver | ApprovalMode | ApprovalPolicy | None") -> ApprovalPolicy | None:
        return self.approve if approve is None else policy_of(approve, stored=self.store is not None)

    def _repairs(self, task: str, objective: Objective) -> Repairs | None:
        if not self.repair.rounds:
            return None
        estimator = estimator_for(self.catalogue, objective, self.spending.assume_price)
        return Repairs(self.repair, self.planner, task, objective, self.catalogue.view(), estimator)

    def _front_planner(self) -> FrontPlanner:
        if not isinstance(self.planner, FrontPlanner):
            raise ValueError(f"planner {self.planner.name!r} shows no Pareto front; use search or policy")
        return self.planner

    def _objective(self, alpha: float | None, budget: str | Money | None, deadline_s: float | None) -> Objective:
        seconds = deadline_s if deadline_s is not None else self.deadline_s
        return Objective(
            alpha if alpha is not None else self.alpha,
            money_of("budget", budget) if budget is not None else self.budget,
            seconds * 1000 if seconds is not None else None,
        )

    def _quote(
        self, task: str, plan: Plan, facts: Mapping[str, ValueFacts], objective: Objective, planner: str,
        planning: Planning | None = None, early: EarlyCalls | None = None,
    ) -> Quote:  # fmt: skip
        quote = make_quote(task, plan, facts, objective, planner, self.catalogue, self.spending, planning, early)
        return asking_first(quote) if self.approve_plan else quote

    def _weigh_again(self, quote: Quote, inputs: Mapping[str, Any], objective: Objective) -> Quote:
        """The same plan under other limits, or under the same at another time."""
        facts = {name: describe(value) for name, value in inputs.items()}
        plan = quote.compiled.source if quote.asked is None else quote.asked
        again = self._quote(quote.task, plan, facts, objective, quote.planner, quote.planning, quote.early)
        notes = tuple(dict.fromkeys((*quote.notes, *again.notes)))
        rivals, place = quote.rivals, quote.place
        return replace(again, quality=quote.quality, utility=quote.utility, notes=notes, rivals=rivals, place=place)

    def _execution(self) -> Execution:
        return Execution(
            self.catalogue, store=self.store, profiles=self.profiles, workers=self.workers,
            spending=self.spending, pools=self.pools, project=self.project, agent=self.name,
            telemetry=self.telemetry, approve_plan=self.approve_plan, flights=self.flights,
            clock=self.clock,
        )  # fmt: skip


def _catalogue(tools: "Catalogue | Iterable[Tool[Any, Any] | ToolSpec] | None") -> Catalogue:
    if isinstance(tools, Catalogue):
        return tools
    if tools is not None:
        return Catalogue(tools)
    from catp.tools.builtin import default_catalogue

    return default_catalogue()


def _store(store: "RunStore | Path | str | None") -> "RunStore | None":
    if store is None:
        return None
    from catp.store.store import RunStore

    return store if isinstance(store, RunStore) else RunStore(store)
