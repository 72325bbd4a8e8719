"""Pricing a plan for somebody with limits: compile it, assume what may be assumed, weigh it against the limits.

A plan that is too dear is made cheaper if its optional outputs and alternatives allow it (`catp.planlang.passes.shed`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from catp.planlang.compile import compile_plan
from catp.planlang.compiled import CompiledPlan
from catp.planlang.digest import digest
from catp.planlang.money import Money, format_usd, parse_usd
from catp.planlang.nodes import Plan, ToolName
from catp.planlang.passes.admit import Room, Verdict, admit
from catp.planlang.passes.shed import Shed, shed
from catp.planlang.registry_view import CallEstimate, Estimator, PriceRange, ValueFacts
from catp.planners.protocol import Objective
from catp.result import Quote
from catp.runtime.early import EarlyCalls
from catp.runtime.planning import Planning
from catp.spending import Spending
from catp.tools.catalogue import Catalogue

__all__ = ["asking_first", "estimator_for", "make_quote", "money_of"]


def make_quote(
    task: str, plan: Plan, facts: Mapping[str, ValueFacts], objective: Objective, planner: str, catalogue: Catalogue,
    spending: Spending, planning: Planning | None = None, early: EarlyCalls | None = None,
) -> Quote:  # fmt: skip
    """Compile and price a plan, and make it fit the limits if something may be given up for that.

    The assumed price of `spending` stands in for prices nobody knows, but only in the verdict. What `planning` cost is
    spent already, unless a run has booked it.
    """
    registry, rooms, assume_price = catalogue.view(), spending.rooms(), spending.assume_price
    compiled = compile_plan(plan, registry, estimator=catalogue.estimator(), facts=facts)
    weighed = compiled
    estimator: Estimator = catalogue.estimator()
    notes: tuple[str, ...] = ()
    if compiled.estimate.unpriced and assume_price is not None and (objective.budget is not None or rooms):
        estimator = _AssumedPrices(estimator, assume_price)
        weighed = compile_plan(plan, registry, estimator=estimator, facts=facts)
        names = ", ".join(compiled.estimate.unpriced)
        notes = (f"unpriced calls are assumed to cost ${format_usd(assume_price)} each: {names}",)

    def recompile(changed: Plan) -> CompiledPlan:
        return compile_plan(changed, registry, estimator=estimator, facts=facts)

    spent = _spent(planning, assume_price)
    if early is not None and spent is not None:
        spent = Money(spent + early.lost)

    def weigh(one: CompiledPlan) -> Verdict:
        return admit(one, budget=objective.budget, deadline_ms=objective.deadline_ms, rooms=rooms, spent=spent)

    verdict = weigh(weighed)
    cap = _tightest(weighed, objective, rooms, spent or Money(0))
    less = None
    if cap is not None:
        less = shed(weighed, recompile, cap, strict=spending.strict, values=spending.values)
        if less.fits and less.compiled is not weighed:
            source = less.compiled.source
            compiled = compile_plan(source, registry, estimator=catalogue.estimator(), facts=facts)
            verdict = weigh(less.compiled)
            notes += _what_changed(less)
        elif not less.fits:
            verdict = _with_least(verdict, less)
    return Quote(
        task, compiled, verdict, planner, alpha=objective.alpha, budget=objective.budget,
        deadline_ms=objective.deadline_ms, notes=notes, given_up=() if less is None else less.given_up, asked=plan,
        strict=spending.strict, planning=planning, early=early,
    )  # fmt: skip


def _spent(planning: Planning | None, assume_price: Money | None) -> Money | None:
    """What the run will have spent before its first call; None if nobody knows."""
    if planning is None or not planning.due:
        return Money(0)
    return assume_price if planning.price is None else planning.price


def _tightest(compiled: CompiledPlan, objective: Objective, rooms: Sequence[Room], spent: Money) -> Money | None:
    """The least of all caps that hold for the plan, or None if there is none or nothing is left in one."""
    own = compiled.plan.limits.cost
    caps = [room.left - spent for room in rooms]
    caps += [objective.budget - spent] if objective.budget is not None else []
    caps += [own.nano] if own is not None else []
    return Money(min(caps)) if caps and min(caps) > 0 else None


def _what_changed(less: Shed) -> tuple[str, ...]:
    given_up = tuple(f"output `{one.output}` is {one.reason}" for one in less.given_up)
    return given_up + tuple(f"`{change.step}`: {change.reason}" for change in less.rewrites)


def _with_least(verdict: Verdict, less: Shed) -> Verdict:
    """Say what the plan would cost without everything that can be given up."""
    if less.least is None:
        return verdict
    told = f"the least it can be done for, without optional outputs and dear alternatives, is ${format_usd(less.least)}"
    problems = (replace(one, help=told) if one.code == "E202" else one for one in verdict.diagnostics)
    return replace(verdict, diagnostics=tuple(problems))


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
