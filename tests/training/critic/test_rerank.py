"""Rating plans: what was learned of quality, less what is known of price."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from catp.planlang.money import Money
from catp.planlang.nodes import Plan
from catp.planners.pricing import priced
from catp.planners.protocol import Objective, PlanRequest
from catp.planners.search import SearchPlanner
from catp.planners.testing import small_request
from catp.training.baselines.chooser import Prices
from catp.training.critic.critic import Critic
from catp.training.critic.learn import train_critic
from catp.training.critic.rerank import rate_options, rate_plans, step_values
from tests.training.baselines.pages import pages, scrambled
from tests.training.critic.making import tiny

SETS = pages(40)


@pytest.fixture(scope="module")
def critic() -> Critic:
    return train_critic(tiny(steps=10, slots=12, tools=12), SETS)


def test_options_are_rated_by_quality_doubt_and_price(critic: Critic) -> None:
    for one, other in zip(SETS[:6], scrambled(SETS)[:6], strict=True):
        rated = rate_options(critic, one, 0.7, kappa=2.0)
        mean, sd = critic.quality(critic.tree(one.hidden()))
        price = critic.coder.expected(one)
        assert [r.quality for r in rated] == pytest.approx(mean)
        assert [r.value for r in rated] == pytest.approx(0.7 * (mean - 2 * sd) - 0.3 * price)
        assert rate_options(critic, other, 0.7, kappa=2.0) == rated  # outcomes are not looked at
        again = rate_options(critic, replace(one, options=one.options[::-1]), 0.7, kappa=2.0)
        assert [r.value for r in again[::-1]] == pytest.approx([r.value for r in rated], abs=1e-6)


def test_prices_may_be_given(critic: Critic) -> None:
    one = SETS[0]
    rated = rate_options(critic, one, 0.5, estimate=lambda shown, prices: np.full(len(shown), 250_000.0))
    assert [r.price for r in rated] == [0.25] * len(one)
    dear = rate_options(critic, one, 0.5, prices=Prices({tool: 2.0 for o in one.options for tool in o.tools}))
    assert [r.price for r in dear] == pytest.approx([2 * r.price for r in rate_options(critic, one, 0.5)])
    with pytest.raises(ValueError, match="alpha must be in"):
        rate_options(critic, one, 1.5)


def test_what_cannot_be_told_is_nan(critic: Critic) -> None:
    long = replace(SETS[0].options[0], steps=SETS[0].options[0].steps * 8)
    rated = rate_options(critic, replace(SETS[0], options=(long, *SETS[0].options)), 0.5)
    assert np.isnan(rated[0].value)
    assert np.isnan(rated[0].quality)
    assert np.isfinite([r.value for r in rated[1:]]).all()


def test_step_values_lead_to_the_value_of_the_plan(critic: Critic) -> None:
    """The last decision is STOP; at alpha 1 its value is the quality."""
    one = SETS[1]
    found = step_values(critic, one, 1.0)
    rated = rate_options(critic, one, 1.0)
    for option, values, r in zip(one.options, found, rated, strict=True):
        assert values is not None
        assert len(values) == sum(3 for _ in option.steps) + 1
        assert min(max(values[-1], 0.0), 1.0) == pytest.approx(r.quality)


def _request() -> tuple[PlanRequest, list[Plan]]:
    """A request of tools that the critic has never seen, and plans for it."""
    request = small_request(4, objective=Objective(alpha=0.6, price_scale=Money(10_000)))
    return request, [one.plan for one in asyncio.run(SearchPlanner().plan(request)).candidates[:5]]


def test_plans_for_a_request_are_rated_with_the_compilers_prices(critic: Critic) -> None:
    request, plans = _request()
    rated = rate_plans(critic, request, [*plans, plans[0]])
    assert rated[-1] == rated[0]
    scale = request.objective.price_scale
    assert scale is not None
    for plan, r in zip(plans, rated, strict=False):
        known = priced(plan, replace(request, objective=replace(request.objective, budget=None)))
        assert known is not None
        assert r.price == pytest.approx(known.expected / scale)
        assert r.value == pytest.approx(0.6 * r.quality - 0.4 * r.price)
    swapped = rate_plans(critic, request, plans[::-1])
    assert [r.value for r in swapped[::-1]] == pytest.approx([r.value for r in rated[:-1]], abs=1e-6)
    assert rate_plans(critic, request, []) == []


def test_without_a_price_scale_the_dearest_plan_is_one(critic: Critic) -> None:
    request, plans = _request()
    free = replace(request, objective=Objective(alpha=0.5))
    assert max(r.price for r in rate_plans(critic, free, plans)) == pytest.approx(1.0)
