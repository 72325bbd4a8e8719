"""The critic as a re-ranker: what it thinks of complete plans, whoever wrote them, and of the steps towards them.

    rated = rate_options(critic, one, alpha=0.9)          the measured plans of an input
    rated = rate_plans(critic, request, plans)            plans that answer a planner's request
    best = max(rated, key=lambda one: one.value)

The value is `alpha * (quality - kappa * sd) - (1 - alpha) * price`, price in shares of the price scale: quality is what
the critic has learned of complete plans, sd how far its networks disagree, and the price is known from estimates, so
it is not left to the critic (training.md 5.1). `step_values` are the critic's own values of each decision instead.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np

from catp.planlang.money import Money
from catp.planlang.nodes import Plan
from catp.planlang.registry_view import RegistryView, ValueFacts
from catp.planners.pricing import priced
from catp.planners.protocol import PlanRequest
from catp.training.baselines.chooser import LISTED, Prices
from catp.training.critic.critic import Critic
from catp.training.data.graph import plan_graph
from catp.training.data.toolset import ToolInfo, ToolInput, Toolset, TypeInfo
from catp.training.data.trajectory import InputInfo, Objective, Outcome, Request, Trajectory
from catp.training.evaluate.candidates import CandidateSet, Floats, candidate_sets

__all__ = ["Rated", "rate_options", "rate_plans", "step_values"]

_UNITS = {"image": "pixels", "text": "chars"}


@dataclass(frozen=True, slots=True)
class Rated:
    """What the critic thinks of one plan; nan where it cannot say (a plan too large for its slots)."""

    value: float
    quality: float
    """Expected score, in [0, 1]."""
    sd: float
    """Standard deviation of the score over the critic's networks."""
    price: float
    """Expected price in shares of the price scale."""


def rate_options(
    critic: Critic,
    one: CandidateSet,
    alpha: float,
    *,
    kappa: float = 0.0,
    estimate: Callable[[CandidateSet, Prices], Floats] | None = None,
    prices: Prices = LISTED,
) -> list[Rated]:
    """Rate the options of a set, in their order; outcomes are not looked at.

    Args:
        kappa: how many standard deviations a plan is rated down by.
        estimate: prices of the options in nano-USD (`StepPrices().fit(sets).price`); the critic's own if not given.
        prices: the public price list.

    Raises:
        ValueError: the critic's algorithm learns no values, or alpha is outside [0, 1].
    """
    hidden = one.hidden()
    price = critic.coder.expected(hidden, prices) if estimate is None else estimate(hidden, prices) / one.price_scale
    return _rated(critic, hidden, price, alpha, kappa, prices)


def rate_plans(critic: Critic, request: PlanRequest, plans: Sequence[Plan], *, kappa: float = 0.0) -> list[Rated]:
    """Rate plans for a request, at the request's alpha; prices are the compiler's.

    The price scale is the request's; else the price of the dearest of the plans, so that values compare these plans.

    Raises:
        PlanError: a plan is not valid for the request's tools.
        ValueError: the critic's algorithm learns no values.
    """
    if not plans:
        return []
    bare = replace(request, objective=replace(request.objective, budget=None, deadline_ms=None))
    known = [priced(plan, bare) for plan in plans]
    amounts = [math.nan if one is None or not one.price.priced else float(one.expected) for one in known]
    scale = request.objective.price_scale or Money(round(max([1.0, *(a for a in amounts if a > 0)])))
    one, place = _as_set(request, plans, scale)
    fitting = replace(critic, coder=replace(critic.coder, toolset=_toolset(critic, request.registry)))
    price = np.zeros(len(one))
    price[place] = np.array(amounts) / scale
    rated = _rated(fitting, one, price, request.objective.alpha, kappa, LISTED)
    return [rated[at] for at in place]


def step_values(critic: Critic, one: CandidateSet, alpha: float, prices: Prices = LISTED) -> list[Floats | None]:
    """Return, per option, the critic's value of each of its decisions, [T]; None for an option it cannot tell.

    Decisions are those of `catp.training.data.mdp`: begin a step with a tool, link it, end it, stop.

    Raises:
        ValueError: the critic's algorithm learns no values.
    """
    tree = critic.coder.tree(one.hidden(), prices)
    if all(path is None for path in tree.paths):
        return [None] * len(one)
    states = tree.states.copy()
    states[:, 0] = alpha
    values = critic.learner.values(states)[0]
    return [None if path is None else values[path.states, path.actions] for path in tree.paths]


def _rated(critic: Critic, one: CandidateSet, price: Floats, alpha: float, kappa: float, prices: Prices) -> list[Rated]:
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in [0, 1], got {alpha}")
    mean, sd = critic.quality(critic.coder.tree(one, prices))
    value = alpha * (mean - kappa * sd) - (1 - alpha) * price if alpha < 1 else mean - kappa * sd
    return [Rated(*map(float, row)) for row in zip(value, mean, sd, price, strict=True)]


def _as_set(request: PlanRequest, plans: Sequence[Plan], scale: Money) -> tuple[CandidateSet, list[int]]:
    """Return the plans as a candidate set without outcomes, and the option that each plan is (equal plans are one)."""
    asked = Request(
        text=request.task, inputs=[_input(name, facts) for name, facts in request.inputs.items()],
        wanted=[str(wanted.type.required) for wanted in request.wanted],
    )  # fmt: skip
    graphs = [plan_graph(plan, request.registry) for plan in plans]
    records = [
        Trajectory(
            trajectory_id=str(number), dataset="request", group="request", candidate_set="request", request=asked,
            toolset="request", objective=Objective(price_scale_usd=Decimal(scale).scaleb(-9)), plan=graph, events=[],
            outcome=Outcome(status="ok", score=0.0, price_usd=Decimal(0)),
        )
        for number, graph in enumerate(graphs)
    ]  # fmt: skip
    (one,) = candidate_sets(records)
    where = {option.plan: at for at, option in enumerate(one.options)}
    return one.hidden(), [where[str(graph.canonical_hash)] for graph in graphs]


def _input(name: str, facts: ValueFacts) -> InputInfo:
    kind = facts.type.item.name if facts.type.item is not None else facts.type.name
    unit = _UNITS.get(kind, "bytes")
    return InputInfo(
        name=name, type=str(facts.type), condition=facts.condition or None,
        size={unit: facts.size.units},  # type: ignore[dict-item]  # a unit
    )  # fmt: skip


def _toolset(critic: Critic, registry: RegistryView) -> Toolset:
    """The tools of a request, with what the critic's data said of the accuracy of those it knows."""
    before = {} if critic.coder.toolset is None else critic.coder.toolset.by_name
    tools = [
        ToolInfo(
            name=str(sig.name), output=str(sig.returns),
            inputs=[ToolInput(name=p.name, type=str(p.type), optional=not p.required) for p in sig.params],
            accuracy_prior=before[str(sig.name)].accuracy_prior if str(sig.name) in before else None,
        )
        for sig in registry
    ]  # fmt: skip
    types = [
        TypeInfo(name=one.name, fields={name: str(type_) for name, type_ in one.fields}, parent=one.parent)
        for _, one in sorted(registry.types.defs.items())
        if one.fields
    ]
    return Toolset(id="request", tools=tools, types=types)
