"""Pricing a plan for somebody with limits: compile it, assume what may be assumed, weigh it against the limits."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from catp.planlang.compile import compile_plan
from catp.planlang.digest import digest
from catp.planlang.money import Money, format_usd, parse_usd
from catp.planlang.nodes import Plan, ToolName
from catp.planlang.passes.admit import admit
from catp.planlang.registry_view import CallEstimate, Estimator, PriceRange, ValueFacts
from catp.planners.protocol import Objective
from catp.result import Quote
from catp.tools.catalogue import Catalogue

__all__ = ["asking_first", "estimator_for", "make_quote", "money_of"]


def make_quote(
    task: str, plan: Plan, facts: Mapping[str, ValueFacts], objective: Objective, planner: str, catalogue: Catalogue,
    assume_price: Money | None,
) -> Quote:  # fmt: skip
    """Compile and price a plan; `assume_price` stands in for prices nobody knows, but only in the verdict."""
    registry = catalogue.view()
    compiled = compile_plan(plan, registry, estimator=catalogue.estimator(), facts=facts)
    weighed = compiled
    notes: tuple[str, ...] = ()
    if compiled.estimate.unpriced and assume_price is not None and objective.budget is not None:
        weighed = compile_plan(plan, registry, estimator=estimator_for(catalogue, objective, assume_price), facts=facts)
        names = ", ".join(compiled.estimate.unpriced)
        notes = (f"unpriced calls are assumed to cost ${format_usd(assume_price)} each: {names}",)
    verdict = admit(weighed, budget=objective.budget, deadline_ms=objective.deadline_ms)
    return Quote(
        task, compiled, verdict, planner, alpha=objective.alpha, budget=objective.budget,
        deadline_ms=objective.deadline_ms, notes=notes,
    )  # fmt: skip


def asking_first(quote: Quote) -> Quote:
    """Return the quote with `@approve` on its plan, which makes it another plan with another digest."""
    compiled = quote.compiled
    if compiled.plan.approve:
        return quote
    source = replace(compiled.source, approve=True)
    marked = replace(compiled, plan=replace(compiled.plan, approve=True), source=source, digest=digest(source))
    return replace(quote, compiled=marked)


def estimator_for(catalogue: Catalogue, objective: Objective, assume_price: Money | None) -> Estimator:
    """The catalogue's estimator; under a budget, with the assumed price where nobody knows one."""
    estimator = catalogue.estimator()
    if assume_price is None or objective.budget is None:
        return estimator
    return _AssumedPrices(estimator, assume_price)


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


def money_of(name: str, amount: str | Money | None) -> Money | None:
    """Read an amount that a caller gave as text or nano-USD; raise if it is a float or not more than $0."""
    if amount is None:
        return None
    if isinstance(amount, float):
        raise TypeError(f'{name} must be text such as "{amount}" or whole nano-USD (`usd({amount})`), not a float')
    value = parse_usd(amount.removeprefix("$")) if isinstance(amount, str) else amount
    if value <= 0:
        raise ValueError(f"{name} must be more than $0, got {amount!r}; leave it out for no limit")
    return value
