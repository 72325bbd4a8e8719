"""What the agent hands back: quotes before the run, results after it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from catp.planlang.compiled import CompiledPlan
from catp.planlang.money import Money, format_usd
from catp.planlang.nodes import Plan
from catp.planlang.passes.admit import Verdict
from catp.planlang.passes.shed import GivenUp
from catp.planlang.registry_view import Latency, PriceRange
from catp.runtime.early import EarlyCalls
from catp.runtime.events import RunEvent, RunStatus
from catp.runtime.funding import Refusal
from catp.runtime.ledger import LedgerRow
from catp.runtime.planning import Planning

if TYPE_CHECKING:
    from catp.planners.protocol import Candidate
    from catp.runtime.run import OutputResult, StepResult

__all__ = ["Planned", "Quote", "RunCancelled", "RunRefused", "RunResult"]


@dataclass(frozen=True)
class Quote:
    """A compiled plan with its price, time and predicted quality. Making one calls no tool.

    `budget` (nano-USD) and `deadline_ms` are the caller's limits it was made for; the plan's own are in the plan.
    `notes` say what the planner assumed or cut; the plan is the best there is only if they do not say otherwise.
    `given_up` are optional outputs that the plan does not make, because the money would not do for them; `asked` is the
    plan with them, as it was before.
    `strict` quotes are only run if even the p95 price and time fit. `planning` is what making the plan took, None for a
    plan that was given: no part of `price`, but of the budget and of the run that is made of this quote. `early` are
    calls that were started meanwhile: the run adopts those of its plan, and books the others. `rivals` are all plans
    that were considered, best first, and `place` is where among them this one is; none if the plan was given.
    """

    task: str
    compiled: CompiledPlan
    verdict: Verdict
    planner: str
    quality: float | None = None
    utility: float | None = None
    alpha: float | None = None
    budget: Money | None = None
    deadline_ms: float | None = None
    notes: tuple[str, ...] = ()
    given_up: tuple[GivenUp, ...] = ()
    asked: Plan | None = None
    strict: bool = False
    planning: Planning | None = None
    early: EarlyCalls | None = field(default=None, compare=False, repr=False)
    rivals: "tuple[Candidate, ...]" = field(default=(), compare=False, repr=False)
    place: int = field(default=0, compare=False, repr=False)

    @property
    def admitted(self) -> bool:
        """True if the plan may be run under its limits."""
        return self.verdict.ok if self.strict else self.verdict.expected_ok

    @property
    def price(self) -> PriceRange:
        """Low, expected and p95 price of the whole plan."""
        return self.compiled.estimate.price

    @property
    def latency(self) -> Latency:
        """Expected and p95 length of the critical path."""
        return self.compiled.estimate.latency

    @property
    def text(self) -> str:
        """The plan in text form."""
        from catp.planlang.printer import to_text

        return to_text(self.compiled.plan)

    def __repr__(self) -> str:
        return f"<Quote for {self.task!r}: {self.price}, {self.latency.expected_ms:.0f} ms, {self.verdict.fit}>"


@dataclass(frozen=True)
class Planned:
    """All candidates of one task, best first. `exact` and `notes` say how far to trust the order.

    `planning` is what making all of them took: it is paid once, by the first run of one of them.
    """

    task: str
    candidates: tuple[Quote, ...]
    exact: bool
    notes: tuple[str, ...] = ()
    planning: Planning | None = None

    @property
    def best(self) -> Quote:
        """The candidate with the highest utility."""
        return self.candidates[0]


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    `outputs` holds the values that were produced; `results` says of every output what became of it, and why it is
    missing. `spent` is the sum of the ledger rows; `refusals` are the calls that were not made for want of money.
    `saved` is False if a store was given but could not be written; `warnings` then says why.
    """

    run_id: str
    task: str
    status: RunStatus
    quote: Quote
    results: Mapping[str, "OutputResult"]
    steps: Mapping[str, "StepResult"]
    ledger: tuple[LedgerRow, ...]
    trace: tuple[RunEvent, ...]
    spent: Money
    wall_ms: float
    saved: bool = False
    warnings: tuple[str, ...] = field(default=())
    compiled: CompiledPlan | None = None
    refusals: tuple[Refusal, ...] = ()

    @property
    def outputs(self) -> Mapping[str, Any]:
        """The values produced, by output name."""
        return MappingProxyType({name: r.value for name, r in self.results.items() if r.status == "ok"})

    @property
    def plan(self) -> CompiledPlan:
        """The plan that ran; after a repair, the plan as it was at the end."""
        return self.quote.compiled if self.compiled is None else self.compiled

    @property
    def savings(self) -> Money:
        """What results taken from the cache had cost when they were made; no part of `spent`."""
        return Money(sum(row.saved or 0 for row in self.ledger))

    @property
    def unpriced(self) -> int:
        """How many ledger rows have no amount: if any, `spent` is not the whole price. Assumed ones have one."""
        return sum(row.amount is None for row in self.ledger)

    def __repr__(self) -> str:
        spent = f"${format_usd(self.spent)}{' + unpriced' if self.unpriced else ''}"
        return f"<RunResult {self.run_id} {self.status}, {spent}, outputs {', '.join(self.outputs) or '-'}>"


class RunRefused(RuntimeError):
    """The run was not started because it would exceed the budget, the deadline or a price is unknown.

    `quote.verdict` says what it would take. `booked` is the record of what was spent on calls that were started while
    the plan was made, if any; see `catp.eager`.
    """

    booked: RunResult | None = None

    def __init__(self, quote: Quote) -> None:
        self.quote = quote
        super().__init__("\n".join(d.render() for d in quote.verdict.diagnostics) or "the plan exceeds its limits")


class RunCancelled(asyncio.CancelledError):
    """The task that waited for the run was cancelled: all work is stopped, `result` holds what was done and spent."""

    def __init__(self, result: RunResult) -> None:
        self.result = result
        super().__init__(f"run {result.run_id} was cancelled")
