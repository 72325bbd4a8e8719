"""The agent: a task and inputs in; a priced plan, a concurrent run and a complete ledger out.

agent = Agent(budget="0.01")
result = await agent.run("read this page and tell me its language", {"page": image})
result.outputs["language"]
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catp.inputs import InputError
from catp.planlang.compile import compile_plan
from catp.planlang.jsonform import to_json
from catp.planlang.money import Money, parse_usd
from catp.planlang.nodes import Plan
from catp.planlang.passes.admit import admit
from catp.planlang.printer import to_text
from catp.planlang.registry_view import ValueFacts
from catp.planlang.types import parse_type
from catp.planners.intent import read_intent
from catp.planners.protocol import Objective, Planner, PlanRequest, Wanted
from catp.planners.search import SearchPlanner
from catp.result import Planned, Quote, RunRefused, RunResult
from catp.run_id import new_run_id
from catp.runtime.events import RunEvent
from catp.runtime.ledger import Ledger
from catp.runtime.run import Run, RunOutcome
from catp.tools.builtin.facts import describe
from catp.tools.catalogue import Catalogue

if TYPE_CHECKING:
    from catp.store.recorder import RunRecorder
    from catp.store.store import RunStore
    from catp.tools.decorator import Tool
    from catp.tools.spec import ToolSpec

__all__ = ["Agent"]


class Agent:
    """Plans, prices and runs tasks over a catalogue of tools.

    Args:
        tools: A catalogue, or the tools to make one of; by default the built-in zoo.
        planner: Anything with the `Planner` protocol; by default exact search.
        budget: Most one run may cost, in US dollars (`"0.01"`) or nano-USD (`Money`); None means no cap.
        deadline_s: Most one run may take, in seconds.
        alpha: Weight of quality against price, 0 (cheapest) to 1 (best).
        store: A `RunStore`, or the path of its database file; None saves nothing.
        workers: Calls running at once; by default four per CPU core.
        assume_price: What an unpriced call is assumed to cost; None refuses it when there is a budget.
    """

    def __init__(
        self,
        tools: "Catalogue | Iterable[Tool | ToolSpec] | None" = None,
        planner: Planner | None = None,
        *,
        budget: str | Money | None = None,
        deadline_s: float | None = None,
        alpha: float = 0.8,
        store: "RunStore | Path | str | None" = None,
        workers: int | None = None,
        assume_price: str | Money | None = None,
    ) -> None:
        self.catalogue = _catalogue(tools)
        self.planner: Planner = planner if planner is not None else SearchPlanner()
        self.budget = _money("budget", budget)
        self.deadline_s = deadline_s
        self.alpha = alpha
        self.store = _store(store)
        self.workers = workers
        self.assume_price = _money("assume_price", assume_price)
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
    ) -> Planned:
        """Return priced candidate plans for a task, best first. Never calls a tool, never spends.

        `wanted` names the outputs and their types (`{"language": "Language"}`); without it the task text is read.

        Raises:
            PlanningFailed: if the task is not understood or no plan can do it within the budget and deadline.
        """
        facts = {name: describe(value) for name, value in (inputs or {}).items()}
        registry = self.catalogue.view()
        notes: tuple[str, ...] = ()
        if wanted is not None:
            goals = tuple(Wanted(name, parse_type(type_)) for name, type_ in wanted.items())
        else:
            intent = read_intent(task, facts, registry)
            goals, notes = intent.wanted, tuple(intent.notes)
        objective = self._objective(alpha, budget, deadline_s)
        request = PlanRequest(task, facts, goals, objective, registry, self.catalogue.estimator(), candidates)
        proposal = await self.planner.plan(request)
        quotes = tuple(
            self._quote(task, c.plan, facts, objective, self.planner.name, quality=c.quality, utility=c.utility)
            for c in proposal.candidates
        )
        return Planned(task, quotes, proposal.exact, notes + proposal.notes)

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
        """Return the price, latency and critical path of the best plan for a task, or of a given plan. Never spends."""
        if isinstance(task, str):
            limits = {"alpha": alpha, "budget": budget, "deadline_s": deadline_s}
            return (await self.plan(task, inputs, wanted=wanted, candidates=1, **limits)).best  # type: ignore[arg-type]
        facts = {name: describe(value) for name, value in (inputs or {}).items()}
        title = task.doc or task.name or "a given plan"
        return self._quote(title, task, facts, self._objective(alpha, budget, deadline_s), "given")

    async def run(
        self,
        task: str | Plan | Quote,
        inputs: Mapping[str, Any] | None = None,
        *,
        wanted: Mapping[str, str] | None = None,
        alpha: float | None = None,
        budget: str | Money | None = None,
        deadline_s: float | None = None,
        on_event: Callable[[RunEvent], None] | None = None,
    ) -> RunResult:
        """Plan (unless a plan or quote is given), check the budget, run, save, and return everything about the run.

        A failed step does not raise: look at `result.status` and `result.results`. Cancelling the task stops all work,
        completes the ledger, saves the run and re-raises.

        Raises:
            PlanningFailed: no plan. PlanError: a given plan is invalid. InputError: inputs do not fit the plan.
            RunRefused: the expected price or time exceeds the budget or deadline, or a price is unknown.
        """
        inputs = dict(inputs or {})
        objective = self._objective(alpha, budget, deadline_s)
        if isinstance(task, Quote):
            quote = task
        else:
            quote = await self.quote(task, inputs, wanted=wanted, alpha=alpha, budget=budget, deadline_s=deadline_s)
        _check_inputs(quote.compiled.plan, inputs)
        if not quote.verdict.admitted:
            raise RunRefused(quote)
        return await self._execute(quote, inputs, objective, on_event)

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
        await self.catalogue.close()
        if self.store is not None:
            self.store.close()

    async def __aenter__(self) -> "Agent":
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()
