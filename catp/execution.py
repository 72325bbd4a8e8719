"""Executing one quote: the ledger, the slots and the record are set up, the run is driven to its end, the end is told.

The agent decides what to run; from there on nothing here plans, prices or asks anything of it.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catp.approvals import ApprovalPolicy, approver_for
from catp.considered import considered
from catp.learning import CallLog
from catp.planlang.money import format_usd
from catp.planners.protocol import Objective
from catp.quoting import asking_first
from catp.result import Quote, RunCancelled, RunResult
from catp.runtime.clock import Clock
from catp.runtime.events import RunEvent
from catp.runtime.flights import Flights
from catp.runtime.ids import new_run_id
from catp.runtime.repairs import Repairer
from catp.runtime.restore import Restored
from catp.runtime.run import Run, RunOutcome
from catp.runtime.slots import Slots
from catp.saving import Saving
from catp.spending import Spending, budget_warnings, desk_for
from catp.telemetry import observed_run
from catp.tools.catalogue import Catalogue
from catp.tools.errors import ProfileError
from catp.tools.pools import Pool

if TYPE_CHECKING:
    from catp.budgets.desk import BudgetDesk
    from catp.store.store import RunStore
    from catp.telemetry.telemetry import Telemetry

__all__ = ["Execution", "about_run"]


@dataclass(frozen=True)
class Execution:
    """Everything an agent lends to its runs; `run` executes one quote.

    Args:
        catalogue: The tools.
        store: Where runs are saved; None saves nothing.
        profiles: File in which the measured use of tools is kept; None keeps nothing.
        workers: Calls running at once; None for the default of `Slots`.
        spending: How it spends.
        pools: Where steps with `@pin` run, by name.
        project: What the run is booked under.
        agent: The name of the agent.
        telemetry: Told of every run; None for nobody.
        approve_plan: Every new run asks for approval of its whole plan.
        flights: Results that may be used again; None calls always.
        clock: What runs wait on and take their times and ids from; None for real time.
    """

    catalogue: Catalogue
    store: "RunStore | None" = None
    profiles: Path | None = None
    workers: int | None = None
    spending: Spending = field(default_factory=Spending)
    pools: Mapping[str, Pool] = field(default_factory=dict)
    project: str = "default"
    agent: str = ""
    telemetry: "Telemetry | None" = None
    approve_plan: bool = False
    flights: Flights | None = None
    clock: Clock | None = None

    @observed_run
    async def run(
        self,
        quote: Quote,
        inputs: Mapping[str, Any],
        objective: Objective,
        *,
        approve: ApprovalPolicy | None = None,
        on_event: Callable[[RunEvent], None] | None = None,
        repair: Repairer | None = None,
        run_id: str | None = None,
        saving: Saving | None = None,
        restored: Restored | None = None,
        about: Mapping[str, Any] | None = None,
        stop: str = "",
    ) -> RunResult:
        """Run a quote to its end; see `Agent.run`. Cancelling raises `RunCancelled` with the result.

        A run that goes on brings its `run_id`, its record (`saving`) and what was `restored`; a fork only the last.
        `about` is added to the record of a new run. `stop` says why nothing more is to be done but to end the run.
        """
        if self.approve_plan and (restored is None or restored.fork):
            quote = asking_first(quote)
        log = CallLog()
        spending = self.spending if restored is None or restored.fork else self._spending_of(restored.told)
        run_id = run_id or new_run_id(None if self.clock is None else self.clock.now_ns())
        saving = saving or await Saving.begin(self.store, quote, run_id)
        telling = self.telemetry.observer(quote.compiled, self.catalogue) if self.telemetry is not None else None
        observers = [observer for observer in (telling, on_event) if observer is not None]
        ledger = spending.ledger(
            objective.budget, journal=saving.journal, before=restored.rows if restored is not None else ()
        )
        told = {**about_run(quote, objective, project=self.project, agent=self.agent), **(about or {})}
        if saving.journal is not None and saving.journal.plan is not None:
            told["plan"] = saving.journal.plan
        run = Run(
            quote.compiled,
            inputs,
            self.catalogue if self.telemetry is None else self.telemetry.watched(self.catalogue),
            ledger=ledger,
            deadline_s=objective.deadline_ms / 1000 if objective.deadline_ms is not None else None,
            slots=Slots(self.workers) if self.workers is not None else None,
            clock=self.clock,
            on_event=_fan_out(observers),
            on_call=log.record,
            run_id=run_id,
            approve=approver_for(approve, self.store, saving.journal, ledger.lower),
            about=told,
            pools=self.pools,
            repair=repair,
            journal=saving.journal,
            restored=restored,
            stop=stop,
            given_up={one.output: one.reason for one in quote.given_up},
            flights=self.flights,
            planning=quote.planning,
            early=quote.early,
        )
        if saving.journal is not None:
            saving.journal.heed(run.cancel)
        desk = spending.desk
        try:
            async with desk.alive(run_id) if desk is not None else nullcontext():
                await run.wait()
        except asyncio.CancelledError:
            if run.outcome is not None:
                raise RunCancelled(await self._conclude(quote, run.outcome, saving, log, desk)) from None
            raise
        assert run.outcome is not None
        return await self._conclude(quote, run.outcome, saving, log, desk)

    def _spending_of(self, told: Mapping[str, Any]) -> Spending:
        """A run that goes on draws on the shared budgets of the project and agent it began with."""
        project, agent = told.get("project") or "default", told.get("agent") or ""
        if self.spending.desk is None or (project, agent) == (self.project, self.agent):
            return self.spending
        return replace(self.spending, desk=desk_for(self.store, project, agent))

    async def _conclude(
        self, quote: Quote, outcome: RunOutcome, saving: Saving, log: CallLog, desk: "BudgetDesk | None"
    ) -> RunResult:
        warnings = await saving.finish()
        warnings += budget_warnings(outcome.events)
        if desk is not None:  # what others spent may have reached a level that no call of this run saw
            warnings += [str(level) for level in desk.reached()]
            if desk is not self.spending.desk:
                desk.close()
        if self.flights is not None and self.flights.cache.problem is not None:
            warnings.append(f"results of calls could not be kept or found: {self.flights.cache.problem}")
            self.flights.cache.problem = None
        if outcome.observer_error is not None:
            warnings.append(f"an observer or a repair raised {outcome.observer_error!r}")
        if self.profiles is not None:
            log.teach(self.catalogue)
            try:
                log.save(self.profiles)
            except ProfileError as error:
                warnings.append(str(error))
        return RunResult(
            outcome.run_id, quote.task, outcome.status, quote, outcome.outputs, outcome.steps, tuple(outcome.rows),
            tuple(outcome.events), outcome.spent, outcome.wall_ms, saving.saved, tuple(warnings),
            outcome.compiled, tuple(outcome.refusals),
        )  # fmt: skip


def about_run(quote: Quote, objective: Objective, *, project: str, agent: str) -> dict[str, Any]:
    """What the record says of a run besides its plan: JSON values, for the `run.created` event and the run's row.

    `price` is what the quote expects (low, expected, p95 as decimal strings, null for unknown), `latency_ms` and
    `latency_p95_ms` its critical path. `budget` (text) and `deadline_ms` are the caller's; the ones in force, which the
    plan may tighten, stand beside them in the event. `candidates` are the plans that were considered.
    """
    price, latency = quote.price, quote.latency
    return {
        "task": quote.task,
        "policy": quote.planner,
        "project": project,
        "agent": agent,
        "alpha": objective.alpha,
        "quality": quote.quality,
        "price": {
            name: None if amount is None else format_usd(amount)
            for name, amount in (("low", price.low), ("expected", price.expected), ("p95", price.p95))
        },
        "latency_ms": latency.expected_ms,
        "latency_p95_ms": latency.p95_ms,
        "given_up": {one.output: one.reason for one in quote.given_up},
        "candidates": [one.to_json() for one in considered(quote)],
        "asked_budget": None if objective.budget is None else format_usd(objective.budget),
        "asked_deadline_ms": objective.deadline_ms,
    }


def _fan_out(observers: list[Callable[[RunEvent], None]]) -> Callable[[RunEvent], None]:
    def tell(event: RunEvent) -> None:
        for observer in observers:
            observer(event)

    return tell
