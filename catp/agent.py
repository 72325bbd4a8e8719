"""The agent: a task and inputs in; a priced plan, a concurrent run and a complete ledger out.

agent = Agent(budget="0.01")
result = await agent.run("read this page and tell me its language", {"page": image})
result.outputs["language"]
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catp.inputs import InputError
from catp.learning import CallLog
from catp.planlang.compile import compile_plan
from catp.planlang.compiled import CompiledPlan
from catp.planlang.errors import nearest
from catp.planlang.jsonform import to_json
from catp.planlang.money import Money, format_usd, parse_usd
from catp.planlang.nodes import Plan, ToolName
from catp.planlang.parser import parse
from catp.planlang.passes.admit import admit
from catp.planlang.printer import to_text
from catp.planlang.registry_view import CallEstimate, Estimator, PriceRange, ValueFacts
from catp.planlang.types import Type, TypeTable, parse_type
from catp.planners.intent import read_intent
from catp.planners.protocol import Objective, Planner, PlanRequest, Wanted
from catp.planners.search import SearchPlanner
from catp.result import Planned, Quote, RunCancelled, RunRefused, RunResult
from catp.runtime.events import RunEvent
from catp.runtime.ids import new_run_id
from catp.runtime.ledger import Ledger
from catp.runtime.run import Approver, Run, RunOutcome
from catp.runtime.slots import Slots
from catp.tools.builtin.facts import describe, type_of
from catp.tools.catalogue import Catalogue
from catp.tools.errors import ProfileError

if TYPE_CHECKING:
    from catp.store.recorder import RunRecorder
    from catp.store.store import RunStore
    from catp.tools.decorator import Tool
    from catp.tools.spec import ToolSpec

__all__ = ["Agent", "check_inputs"]


_PLAN_TEXT = re.compile(r"\n\s*out\s+[a-z_]")


class Agent:
    """Plans, prices and runs tasks over a catalogue of tools.

    Args:
        tools: A catalogue, or the tools to make one of; by default the built-in zoo.
        planner: Anything with the `Planner` protocol; by default exact search.
        budget: Most one run may cost, in US dollars (`"0.01"`) or nano-USD (`Money`); None means no cap.
        deadline_s: Most one run may take, in seconds.
        alpha: Weight of quality against price, 0 (cheapest) to 1 (best).
        approve: Decides about steps marked `@approve`; without it they are refused.
        store: A `RunStore`, or the path of its database file; None saves nothing.
        profiles: File in which measured prices and times of this agent's own calls are kept; None keeps nothing.
        workers: Calls running at once; by default 64. Tools that compute run on one process per CPU core in any case.
        assume_price: What an unpriced call is assumed to cost when there is a budget; None refuses such calls.
    """

    def __init__(
        self,
        tools: "Catalogue | Iterable[Tool[Any, Any] | ToolSpec] | None" = None,
        planner: Planner | None = None,
        *,
        budget: str | Money | None = None,
        deadline_s: float | None = None,
        alpha: float = 0.8,
        approve: Approver | None = None,
        store: "RunStore | Path | str | None" = None,
        profiles: Path | str | None = None,
        workers: int | None = None,
        assume_price: str | Money | None = None,
    ) -> None:
        self.catalogue = _catalogue(tools)
        self.planner: Planner = planner if planner is not None else SearchPlanner()
        self.budget = _money("budget", budget)
        self.deadline_s = deadline_s
        self.alpha = alpha
        self.approve = approve
        self.store = _store(store)
        self.profiles = Path(profiles) if profiles is not None else None
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
        request = PlanRequest(task, facts, goals, objective, registry, self._estimator(objective), candidates)
        proposal = await self.planner.plan(request)
        notes += proposal.notes
        quotes = []
        for candidate in proposal.candidates:
            quote = self._quote(task, candidate.plan, facts, objective, self.planner.name)
            notes_too = notes + quote.notes
            quotes.append(replace(quote, quality=candidate.quality, utility=candidate.utility, notes=notes_too))
        return Planned(task, tuple(quotes), proposal.exact, notes)

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
        """Return the price, latency and critical path of the best plan for a task, or of a given plan. Never spends.

        A task of several lines with an `out` line is taken to be a plan in text form.
        """
        if isinstance(task, str) and _PLAN_TEXT.search(task):
            task = parse(task)
        if isinstance(task, str):
            planned = await self.plan(
                task, inputs, wanted=wanted, alpha=alpha, budget=budget, deadline_s=deadline_s, candidates=1
            )
            return planned.best
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
        approve: Approver | None = None,
        on_event: Callable[[RunEvent], None] | None = None,
    ) -> RunResult:
        """Plan (unless a plan or quote is given), check the budget, run, save, and return everything about the run.

        A quote runs under the budget and deadline it was made for, unless others are given here; one that
        does not fit them stays refused.

        A failed step does not raise: look at `result.status` and `result.results`. Cancelling the task stops all work,
        completes the ledger, saves the run and raises `RunCancelled` (a `CancelledError`) with the result.

        Raises:
            PlanningFailed: no plan. PlanError: a given plan is invalid. InputError: inputs do not fit the plan.
            RunRefused: the expected price or time exceeds the budget or deadline, or a price is unknown.
        """
        inputs = dict(inputs or {})
        if isinstance(task, Quote):
            quote, quoted_s = task, task.deadline_ms / 1000 if task.deadline_ms is not None else None
            objective = self._objective(
                quote.alpha if alpha is None else alpha,
                quote.budget if budget is None else budget,
                quoted_s if deadline_s is None else deadline_s,
            )
        else:
            objective = self._objective(alpha, budget, deadline_s)
            quote = await self.quote(task, inputs, wanted=wanted, alpha=alpha, budget=budget, deadline_s=deadline_s)
        check_inputs(quote.compiled, inputs)
        if not quote.verdict.expected_ok:
            raise RunRefused(quote)
        return await self._execute(quote, inputs, objective, approve or self.approve, on_event)

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

    def _objective(self, alpha: float | None, budget: str | Money | None, deadline_s: float | None) -> Objective:
        seconds = deadline_s if deadline_s is not None else self.deadline_s
        return Objective(
            alpha if alpha is not None else self.alpha,
            _money("budget", budget) if budget is not None else self.budget,
            seconds * 1000 if seconds is not None else None,
        )

    def _quote(
        self, task: str, plan: Plan, facts: Mapping[str, ValueFacts], objective: Objective, planner: str
    ) -> Quote:
        registry = self.catalogue.view()
        compiled = compile_plan(plan, registry, estimator=self.catalogue.estimator(), facts=facts)
        weighed = compiled
        notes: tuple[str, ...] = ()
        if compiled.estimate.unpriced and self.assume_price is not None and objective.budget is not None:
            weighed = compile_plan(plan, registry, estimator=self._estimator(objective), facts=facts)
            names = ", ".join(compiled.estimate.unpriced)
            notes = (f"unpriced calls are assumed to cost ${format_usd(self.assume_price)} each: {names}",)
        verdict = admit(weighed, budget=objective.budget, deadline_ms=objective.deadline_ms)
        return Quote(
            task,
            compiled,
            verdict,
            planner,
            alpha=objective.alpha,
            budget=objective.budget,
            deadline_ms=objective.deadline_ms,
            notes=notes,
        )

    def _estimator(self, objective: Objective) -> Estimator:
        """The catalogue's estimator; under a budget, with the assumed price where nobody knows one."""
        estimator = self.catalogue.estimator()
        if self.assume_price is None or objective.budget is None:
            return estimator
        return _AssumedPrices(estimator, self.assume_price)

    async def _execute(
        self,
        quote: Quote,
        inputs: Mapping[str, Any],
        objective: Objective,
        approve: Approver | None,
        on_event: Callable[[RunEvent], None] | None,
    ) -> RunResult:
        log = CallLog()
        saving = _Saving(self.store, quote, objective, new_run_id())
        observers = [observer for observer in (saving.recorder, on_event) if observer is not None]
        deadline_s = objective.deadline_ms / 1000 if objective.deadline_ms is not None else None
        run = Run(
            quote.compiled,
            inputs,
            self.catalogue,
            ledger=Ledger(objective.budget, unpriced="refuse" if self.assume_price is None else self.assume_price),
            deadline_s=deadline_s,
            slots=Slots(self.workers) if self.workers is not None else None,
            on_event=_fan_out(observers),
            on_call=log.record,
            run_id=saving.run_id,
            approve=approve,
        )
        try:
            await run.wait()
        except asyncio.CancelledError:
            if run.outcome is not None:
                raise RunCancelled(self._conclude(quote, run.outcome, saving, log)) from None
            raise
        assert run.outcome is not None
        return self._conclude(quote, run.outcome, saving, log)

    def _conclude(self, quote: Quote, outcome: RunOutcome, saving: "_Saving", log: CallLog) -> RunResult:
        warnings = [*saving.finish(outcome)]
        if outcome.observer_error is not None:
            warnings.append(f"on_event raised {outcome.observer_error!r}")
        if self.profiles is not None:
            try:
                log.save(self.profiles)
            except ProfileError as error:
                warnings.append(str(error))
        return RunResult(
            outcome.run_id, quote.task, outcome.status, quote, outcome.outputs, outcome.steps, tuple(outcome.rows),
            tuple(outcome.events), outcome.spent, outcome.wall_ms, saving.saved, tuple(warnings),
        )  # fmt: skip


class _Saving:
    """The run store's side of one run: a store that fails costs the record, never the run."""

    def __init__(self, store: "RunStore | None", quote: Quote, objective: Objective, run_id: str) -> None:
        self.run_id = run_id
        self.saved = False
        self.recorder: Callable[[RunEvent], None] | None = None
        self._store = store
        self._problem: str | None = None
        self._writer: RunRecorder | None = None
        if store is not None:
            self._begin(store, quote, objective)

    def _begin(self, store: "RunStore", quote: Quote, objective: Objective) -> None:
        from catp.store.recorder import RunRecorder
        from catp.store.store import NewRun, StoreError

        compiled = quote.compiled
        new = NewRun(
            self.run_id, quote.task, quote.planner, compiled.digest, to_text(compiled.source), to_json(compiled.source),
            len(compiled.plan.steps), compiled.estimate.price, compiled.estimate.latency.expected_ms,
            objective.budget, objective.alpha, quote.quality,
        )  # fmt: skip
        try:
            store.begin(new)
        except StoreError as error:
            self._problem = f"the run is not saved: {error}"
            return
        self._writer = RunRecorder(store)
        self.recorder = self._writer.record

    def finish(self, outcome: RunOutcome) -> list[str]:
        """Write what is left; return what went wrong, in words."""
        if self._store is None:
            return []
        if self._writer is None:
            return [self._problem] if self._problem is not None else []
        from catp.store.store import StoreError

        try:
            self._writer.close()
            self._store.finish(
                self.run_id,
                status=outcome.status,
                latency_ms=outcome.wall_ms,
                ledger=outcome.rows,
                outputs=outcome.outputs,
            )
        except StoreError as error:
            return [f"the run is not completely saved: {error}"]
        self.saved = True
        return []


def _fan_out(observers: list[Callable[[RunEvent], None]]) -> Callable[[RunEvent], None]:
    def tell(event: RunEvent) -> None:
        for observer in observers:
            observer(event)

    return tell


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


@dataclass(frozen=True, slots=True)
class _AssumedPrices:
    """An estimator that takes `amount` for every price the other one does not know."""

    known: Estimator
    amount: Money

    def estimate(self, tool: ToolName, args: Mapping[str, ValueFacts]) -> CallEstimate:
        call = self.known.estimate(tool, args)
        if call.price.priced:
            return call
        return replace(call, price=PriceRange(self.amount, self.amount, self.amount))


def _money(name: str, amount: str | Money | None) -> Money | None:
    if amount is None:
        return None
    if isinstance(amount, float):
        raise TypeError(f'{name} must be text such as "{amount}" or whole nano-USD (`usd({amount})`), not a float')
    value = parse_usd(amount.removeprefix("$")) if isinstance(amount, str) else amount
    if value <= 0:
        raise ValueError(f"{name} must be more than $0, got {amount!r}; leave it out for no limit")
    return value


def check_inputs(compiled: CompiledPlan, inputs: Mapping[str, Any]) -> None:
    """Raise `InputError` unless every input the plan declares is given with a fitting type, and no other."""
    declared = {item.name: item for item in compiled.plan.inputs}
    for name in inputs:
        if name not in declared:
            hint = nearest(name, declared) or f"it takes {', '.join(declared) or 'no inputs'}"
            raise InputError(f"the plan has no input {name!r}; {hint}")
    for name, item in declared.items():
        if name not in inputs:
            if item.default is None and not item.type.optional:
                raise InputError(f"input {name!r} ({item.type}) is missing")
            continue
        given = type_of(inputs[name])
        if not _fits(item.type, given, compiled.registry.types):
            raise InputError(f"input {name!r} must be {item.type}, got {given}")


def _fits(wanted: Type, given: Type, types: TypeTable) -> bool:
    """Like `TypeTable.accepts`, but an empty list fits any list and a value of unknown type is left to the tools."""
    if given.name == "any" or (given.name == "list" and given.item is not None and given.item.name == "any"):
        return given.name == "any" or wanted.name in ("list", "json", "any")
    return types.accepts(wanted, given)
