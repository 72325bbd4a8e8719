"""Predicting a plan before it runs: price, time, number of calls, per step and in all.

`attempts` predicts a step that starts, `chances` how likely it is to start; this module feeds both with what is known
of each value, and adds up. The price of a plan adds the prices of its steps. Its time is its critical path, with
expected times for the expected latency and p95 times for the p95. Both p95 are therefore upper estimates, since not
everything goes badly at once; the expected latency is a lower one where branches join, since the slower of two branches
is on average slower than each. The low price is that of a run in which all goes well, or the expected one where that
is lower, because a step may never start. A cold start is counted once for each tool, at its first step (if that is
mapped, once for each worker that its elements can keep busy), and in the p95 price of every call; those of fallbacks
only there. Not included is waiting for approval, for free slots and for rate limits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import TypeAlias

from catp.planlang.compiled import PlanEstimate, StepEstimate
from catp.planlang.critical import longest, schedule
from catp.planlang.latency import at_least
from catp.planlang.money import Money
from catp.planlang.nodes import Attempt, Plan, Ref, Step, StepName
from catp.planlang.notes import StepPolicy, step_policy
from catp.planlang.passes.attempts import ChoiceEstimate, Offer, compose
from catp.planlang.passes.chances import Chances
from catp.planlang.passes.facts import element_of, facts_of, unknown_facts
from catp.planlang.registry_view import (
    UNPRICED,
    CallEstimate,
    Estimator,
    Latency,
    PriceRange,
    RegistryView,
    Size,
    Startup,
    ValueFacts,
)
from catp.planlang.types import Type

__all__ = ["DEFAULTS", "Assumptions", "StepRefs", "estimate_plan"]

StepRefs: TypeAlias = Mapping[str, Sequence[tuple[str, Ref]]]
"""For every step of a plan, in order, what `step_refs` yields."""


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What is taken where nobody knows better.

    `accept_pass` is the probability that a result passes the accept guard of its attempt, `guard_holds` that a `when`
    condition is met, `list_count` the number of elements of a list of unknown length.
    """

    accept_pass: float = 0.7
    guard_holds: float = 0.5
    list_count: int = 10


DEFAULTS = Assumptions()


def estimate_plan(
    plan: Plan,
    registry: RegistryView,
    types: Mapping[str, Type],
    refs: StepRefs,
    *,
    estimator: Estimator | None = None,
    facts: Mapping[str, ValueFacts] | None = None,
    assumptions: Assumptions = DEFAULTS,
) -> PlanEstimate:
    """Predict a checked, normalised plan. Without an estimator every step is unpriced and takes no time."""
    predictor = _Predictor(registry, types, estimator, assumptions)
    for input_ in plan.inputs:
        given = (facts or {}).get(input_.name)
        if given is None and input_.default is not None:
            default = facts_of(input_.default, {}, registry.types, assumptions.list_count)
            given = ValueFacts(input_.type, default.size)
        predictor.facts[input_.name] = given or unknown_facts(input_.type, assumptions.list_count)
    for step in plan.steps:
        predictor.step(step, refs[step.name])
    return predictor.total(refs)


class _Predictor:
    """One walk over the steps of a plan."""

    def __init__(
        self,
        registry: RegistryView,
        types: Mapping[str, Type],
        estimator: Estimator | None,
        assumptions: Assumptions,
    ) -> None:
        self.registry = registry
        self.types = types
        self.estimator = estimator
        self.assumptions = assumptions
        self.facts: dict[str, ValueFacts] = {}
        self.chances = Chances(assumptions.guard_holds)
        self.steps: dict[StepName, StepEstimate] = {}
        self.started: set[str] = set()

    def step(self, step: Step, refs: Sequence[tuple[str, Ref]]) -> None:
        policy = self.policy(step)
        mapped = step.mapped
        count = self.count(step) if mapped else 1
        offers = [self.offer(attempt) for attempt in step.attempts]
        choice = self.with_startup(step, offers[0], compose([_warm(offer) for offer in offers], policy, count), count)
        needed = ceil(policy.quorum * count) if policy.quorum is not None else count
        success = at_least(needed, count, choice.success) if mapped else choice.success
        starts, guarded = self.chances.starts(step, refs, success)
        self.steps[step.name] = self.weigh(step, choice, starts, guarded, self.result(step, offers[0], count))

    def policy(self, step: Step) -> StepPolicy:
        """The step's annotations; what writes without a key is never repeated."""
        policy = step_policy(step)
        if policy.retries and policy.key is None:
            sigs = [self.registry.get(attempt.tool) for attempt in step.attempts]
            if any(sig is not None and sig.effects == "write" for sig in sigs):
                return replace(policy, retries=0)
        return policy

    def count(self, step: Step) -> int:
        """How often a mapped step runs: the elements of the shortest list of its first attempt."""
        default = self.assumptions.list_count
        lists = [arg.value for arg in step.attempts[0].args if arg.each]
        return min(facts_of(value, self.facts, self.registry.types, default).size.count for value in lists)

    def offer(self, attempt: Attempt) -> Offer:
        default, types = self.assumptions.list_count, self.registry.types
        accepts = self.assumptions.accept_pass if attempt.accept else 1.0
        if self.estimator is not None:
            args: dict[str, ValueFacts] = {}
            for arg in attempt.args:
                given = facts_of(arg.value, self.facts, types, default)
                args[str(arg.name)] = element_of(given, default) if arg.each else given
            try:
                return Offer(self.estimator.estimate(attempt.tool, args), accepts)
            except KeyError:
                pass  # the estimator has never heard of the tool: unpriced, as without one
        sig = self.registry.get(attempt.tool)
        assert sig is not None, "estimate needs a checked plan"
        return Offer(CallEstimate(UNPRICED, Latency(), unknown_facts(sig.returns, default), timed=False), accepts)

    def with_startup(self, step: Step, offer: Offer, choice: ChoiceEstimate, count: int) -> ChoiceEstimate:
        """Add the cold starts of the first attempt's tool, one per worker, unless an earlier step has paid them."""
        tool, once = step.attempts[0].tool, offer.call.startup
        if tool in self.started or once == Startup() or count == 0:
            return choice
        self.started.add(tool)
        price, latency = choice.price, choice.latency
        if price.expected is not None and price.p95 is not None:
            expected = price.expected + once.price * min(count, once.parallel)
            price = PriceRange(price.low, Money(expected), Money(max(expected, price.p95)))
        cold = Latency(latency.expected_ms + once.latency.expected_ms, latency.p95_ms + once.latency.p95_ms)
        return replace(choice, price=price, latency=cold)

    def result(self, step: Step, offer: Offer, count: int) -> ValueFacts:
        """Facts of the step's value: those of its first attempt, as a list if the step is mapped."""
        output, type_ = offer.call.output, self.types[step.name].required
        size = Size(output.size.units, count) if step.mapped else output.size
        self.facts[step.name] = found = ValueFacts(type_, size, output.condition)
        return found

    def weigh(
        self, step: Step, choice: ChoiceEstimate, starts: float, guarded: bool, result: ValueFacts
    ) -> StepEstimate:
        price = choice.price
        if price.expected is not None and starts < 1.0:
            expected = round(price.expected * starts)
            low = 0 if guarded else min(price.low or 0, expected)
            price = PriceRange(Money(low), Money(expected), price.p95)
        latency = choice.latency
        if step.when:
            latency = Latency(latency.expected_ms * self.assumptions.guard_holds, latency.p95_ms)
        calls = choice.calls * starts
        return StepEstimate(price, latency, calls, choice.max_calls, result, timed=choice.timed)

    def total(self, refs: StepRefs) -> PlanEstimate:
        before: dict[str, tuple[str, ...]] = {
            str(name): tuple(dict.fromkeys(ref.root for _, ref in refs[name] if ref.root in self.steps))
            for name in self.steps
        }
        times = schedule(before, {str(name): step.latency.expected_ms for name, step in self.steps.items()})
        p95_ms = longest(before, {str(name): step.latency.p95_ms for name, step in self.steps.items()})
        on_path = set(times.path)
        steps = {
            name: replace(step, slack_ms=times.slack[name], critical=name in on_path)
            for name, step in self.steps.items()
        }
        found = steps.values()
        unpriced = tuple(name for name, step in steps.items() if not step.price.priced)
        return PlanEstimate(
            price=UNPRICED if unpriced else _sum([step.price for step in found]),
            latency=Latency(times.length, p95_ms),
            steps=steps,
            critical_path=tuple(StepName(name) for name in times.path),
            serial_ms=sum(step.latency.expected_ms for step in found),
            width=times.width,
            calls=sum(step.calls for step in found),
            max_calls=sum(step.max_calls for step in found),
            unpriced=unpriced,
            untimed=tuple(name for name, step in steps.items() if not step.timed),
        )


def _warm(offer: Offer) -> Offer:
    return offer if offer.call.startup == Startup() else Offer(offer.call.without_startup(), offer.accepts)


def _sum(prices: Sequence[PriceRange]) -> PriceRange:
    low = sum(price.low or 0 for price in prices)
    expected = sum(price.expected or 0 for price in prices)
    return PriceRange(Money(low), Money(expected), Money(sum(price.p95 or 0 for price in prices)))
