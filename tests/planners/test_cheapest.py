"""The k cheapest plans against trying everything, and what they promise where nobody can try everything."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.planlang.canonical import canonical_plan
from catp.planlang.digest import digest
from catp.planlang.money import Money
from catp.planlang.nodes import ToolName
from catp.planlang.registry_view import CallEstimate, Estimator, Size, ValueFacts
from catp.planlang.types import Type
from catp.planners.accuracy import ConditionModel
from catp.planners.cheapest import QUICK, Cheap, cheapest_plans
from catp.planners.protocol import Objective, PlanRequest, Wanted
from catp.planners.search import SearchPlanner
from catp.planners.serves import serves
from catp.planners.testing import SeededEstimator, brute_points, page_catalogue, small_request

PAGE = {"page": ValueFacts(Type("image"), Size(500_000), "noisy")}
READ = Wanted("text", Type("text"), capability=("ocr",))
FIVE = (
    Wanted("clean", Type("image"), capability=("denoise", "deblur")),
    READ,
    Wanted("language", Type("Language")),
    Wanted("key_phrases", Type("KeyPhrases")),
    Wanted("sentiment", Type("Sentiment")),
)
LIMITS = (Objective(), Objective(budget=Money(9_000)), Objective(deadline_ms=60.0))


def prices(found: tuple[Cheap, ...]) -> list[int]:
    return [cheap.priced.expected for cheap in found]


def keys(found: tuple[Cheap, ...], request: PlanRequest) -> list[str]:
    return [digest(canonical_plan(cheap.priced.plan, request.registry)) for cheap in found]


def page_request(tools: int, *wanted: Wanted, objective: Objective = LIMITS[0], seed: int = 0) -> PlanRequest:
    registry, estimator = page_catalogue(tools, seed)
    return PlanRequest("read it", PAGE, wanted, objective, registry, estimator)


@settings(derandomize=True, max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 100_000),
    objective=st.sampled_from(LIMITS),
    through=st.booleans(),
    count=st.integers(1, 6),
)
def test_the_cheapest_plans_are_those_of_brute_force(
    seed: int, objective: Objective, through: bool, count: int
) -> None:
    request = small_request(seed, objective=objective)
    if through:
        request = replace(request, wanted=tuple(replace(want, through=(("fix",),)) for want in request.wanted))
    every = sorted(price for price, _, _ in brute_points(request, ConditionModel(), max_steps=5))
    found = cheapest_plans(request, count, bounds=replace(QUICK, max_steps=5))
    assert prices(found) == every[:count]
    assert all(serves(cheap.priced.plan, request) for cheap in found)
    assert len(set(keys(found, request))) == len(found)


@pytest.mark.parametrize(("tools", "wanted"), [(16, FIVE), (60, FIVE), (500, FIVE[1:3])])
def test_the_first_is_the_cheapest_of_the_search(tools: int, wanted: tuple[Wanted, ...]) -> None:
    for seed in range(2):
        request = page_request(tools, *wanted, objective=Objective(alpha=0.0), seed=seed)
        found = cheapest_plans(request, 4)
        searched = SearchPlanner().search(request).best
        assert len(found) == 4
        assert found[0].priced.price == searched.price
        assert all(serves(cheap.priced.plan, request) for cheap in found)


@dataclass
class Counting:
    """Counts the calls that are asked about."""

    estimator: Estimator
    asked: int = 0

    def estimate(self, tool: ToolName, args: Mapping[str, ValueFacts]) -> CallEstimate:
        self.asked += 1
        return self.estimator.estimate(tool, args)


def test_the_work_is_bounded_at_500_tools() -> None:
    request = page_request(500, *FIVE)
    counting = Counting(request.estimator)
    assert len(cheapest_plans(replace(request, estimator=counting), 4)) == 4
    assert counting.asked < 4 * len(request.registry)


@pytest.mark.parametrize(("terms", "nodes", "least"), [(1, 1, 0), (40, 1, 0), (400, 1, 1), (400, 30, 2)])
def test_tiny_bounds_end_with_valid_plans(terms: int, nodes: int, least: int) -> None:
    request = page_request(60, *FIVE)
    found = cheapest_plans(request, 4, bounds=replace(QUICK, max_terms=terms, max_nodes=nodes))
    assert len(found) >= least
    assert all(serves(cheap.priced.plan, request) for cheap in found)


def test_conditions_of_the_request_are_kept() -> None:
    inputs = {**PAGE, "other": PAGE["page"]}
    wanted = replace(READ, source="other", through=(("denoise",), ("deblur",)))
    request = replace(page_request(30, wanted), inputs=inputs)
    found = cheapest_plans(request, 4)
    assert found
    for cheap in found:
        tools = [request.registry.get(step.attempts[0].tool) for step in cheap.priced.plan.steps]
        assert [sig.capability for sig in tools if sig is not None][-3:] == ["denoise", "deblur", "ocr"]
        assert [item.name for item in cheap.priced.plan.inputs] == ["other"]


def test_unknown_prices_come_last_and_never_under_a_budget() -> None:
    request = page_request(30, READ)
    free = frozenset(sig.name for sig in request.registry if sig.capability == "ocr" and sig.name != "ocr_0")
    estimator = SeededEstimator(request.registry, 0, unpriced=frozenset(map(str, free)))
    request = replace(request, estimator=estimator)
    found = cheapest_plans(replace(request, objective=Objective()), 200)
    known = [cheap.priced.price.priced for cheap in found]
    assert known == sorted(known, reverse=True)
    within = cheapest_plans(replace(request, objective=Objective(budget=Money(10**9))), 200)
    assert within
    assert all(cheap.priced.price.priced for cheap in within)


def test_nothing_fits_and_nothing_is_asked_for() -> None:
    request = page_request(16, READ, objective=Objective(budget=Money(1)))
    assert cheapest_plans(request, 4) == ()
    assert cheapest_plans(page_request(16, READ), 0) == ()
