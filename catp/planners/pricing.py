"""A plan with its price and time as the compiler predicts them, if it keeps the request's hard limits."""

from dataclasses import dataclass

from catp.planlang.nodes import Plan
from catp.planlang.registry_view import Latency, PriceRange
from catp.planners.protocol import PlanRequest
from catp.planners.terms import UNPRICED_CALL

__all__ = ["Priced", "priced"]


@dataclass(frozen=True, slots=True)
class Priced:
    """A plan that fits, with its predicted price and time, as a quote of the same plan states them."""

    plan: Plan
    price: PriceRange
    latency: Latency

    @property
    def expected(self) -> int:
        """The expected price in nano-USD; an unknown one is dearer than anything."""
        return self.price.expected if self.price.expected is not None else UNPRICED_CALL

    @property
    def rank(self) -> tuple[int, float]:
        """Cheaper first, and of equal prices the faster one."""
        return self.expected, self.latency.expected_ms


def priced(plan: Plan, request: PlanRequest) -> Priced | None:
    """Price a plan with the compiler; None if it breaks the budget (p95 price) or the deadline (expected latency).

    Raises:
        PlanError: the plan is not valid.
    """
    from catp.planlang.compile import compile_plan

    compiled = compile_plan(plan, request.registry, estimator=request.estimator, facts=request.inputs)
    price, latency = compiled.estimate.price, compiled.estimate.latency
    objective = request.objective
    if objective.budget is not None and (price.p95 is None or price.p95 > objective.budget):
        return None
    if objective.deadline_ms is not None and latency.expected_ms > objective.deadline_ms:
        return None
    return Priced(plan, price, latency)
