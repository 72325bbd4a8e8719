import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.training.evaluate.pareto import (
    ALPHAS,
    Point,
    front,
    hv_ratio,
    hypervolume,
    ideal,
    oracle_points,
    points,
    reference,
    sparsity,
)
from catp.training.evaluate.regret import oracle, uniform, worst
from tests.training.evaluate.making import family, made, random_weights

GRID = 20
"""Coordinates are multiples of 1 / GRID, so that counting cells is exact."""
cells = st.lists(st.tuples(st.integers(0, GRID), st.integers(0, GRID)), max_size=8)


def counted(found: list[Point], against: Point) -> float:
    """Area by counting the cells some point dominates."""
    middle = (np.arange(GRID) + 0.5) / GRID
    price, score = np.meshgrid(middle, middle)
    inside = (price < against.price) & (score > against.score)
    dominated = np.zeros_like(inside)
    for p in found:
        dominated |= (p.price < price) & (score < p.score)
    return float((dominated & inside).sum()) / GRID**2


@settings(derandomize=True, max_examples=200, deadline=None)
@given(cells=cells, corner=st.tuples(st.integers(0, GRID), st.integers(0, GRID)))
def test_hypervolume_is_the_area_that_a_grid_counts(cells: list[tuple[int, int]], corner: tuple[int, int]) -> None:
    found = [Point(p / GRID, s / GRID) for p, s in cells]
    against = Point(corner[0] / GRID, corner[1] / GRID)
    assert hypervolume(found, against) == pytest.approx(counted(found, against), abs=1e-9)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(cells=cells)
def test_front_is_what_no_point_beats(cells: list[tuple[int, int]]) -> None:
    found = [Point(float(p), float(s)) for p, s in cells]
    beaten = {
        a
        for a in found
        for b in found
        if b.price <= a.price and b.score >= a.score and (b.price, b.score) != (a.price, a.score)
    }
    kept = front(found)
    assert set(kept) == set(found) - beaten
    assert [p.price for p in kept] == sorted({p.price for p in kept})


def test_points_are_means_over_sets_with_a_choice_in_order_of_alpha() -> None:
    sets = [made([1.0], [1e9], "lone"), made([0.2, 0.6], [100, 300], "a"), made([0.0, 1.0], [0, 500], "b")]
    found = points(sets, {1.0: oracle(sets, 1.0), 0.0: oracle(sets, 0.0), 0.5: uniform(sets)})
    assert [(p.alpha, p.price) for p in found] == [(0.0, 50.0), (0.5, 225.0), (1.0, 400.0)]
    assert [p.score for p in found] == pytest.approx([0.1, 0.45, 0.8])


def test_reference_is_what_the_worst_choices_come_to() -> None:
    sets = family(80, 4)
    swept = points(sets, {alpha: worst(sets, alpha) for alpha in ALPHAS})
    assert reference(sets).score == pytest.approx(min(p.score for p in swept))
    assert reference(sets).price == pytest.approx(max(p.price for p in swept))
    best = oracle_points(sets)
    assert best == points(sets, {alpha: oracle(sets, alpha) for alpha in ALPHAS})
    assert ideal(sets).score == pytest.approx(max(p.score for p in best))
    assert ideal(sets).price == pytest.approx(min(p.price for p in best))


def test_ratio_is_one_for_the_oracle_and_none_for_the_worst() -> None:
    sets = family(80, 5)
    assert hv_ratio(sets, {alpha: oracle(sets, alpha) for alpha in ALPHAS}) == pytest.approx(1)
    middle = hv_ratio(sets, {alpha: random_weights(sets, 1) for alpha in ALPHAS})
    assert 0 < middle < 1
    dearest = [np.eye(len(one))[int(np.argmax(one.prices))] for one in sets]
    assert hv_ratio(sets, dict.fromkeys(ALPHAS, dearest)) == 0


def test_a_policy_that_ignores_alpha_has_one_point() -> None:
    sets = [made([0.2, 0.6], [100, 300], f"s{n}") for n in range(3)]
    found = points(sets, {alpha: uniform(sets) for alpha in ALPHAS})
    assert len(front(found)) == 1
    assert sparsity(found, reference(sets), ideal(sets)) is None
    assert hypervolume(found, reference(sets)) == pytest.approx(100 * 0.2)


def test_sparsity_is_the_mean_squared_gap_on_the_front() -> None:
    found = [Point(0, 0), Point(5, 0.5), Point(10, 1), Point(9, 0.1)]  # the last is dominated
    assert sparsity(found, Point(10, 0), Point(0, 1)) == pytest.approx((2 * 0.25 + 2 * 0.25) / 2)
    even = [Point(p, p / 10) for p in range(11)]
    assert sparsity(even, Point(10, 0), Point(0, 1)) == pytest.approx(0.02)


def test_sets_without_a_trade_off_are_refused() -> None:
    same = [made([0.5, 0.5], [10, 10])]
    with pytest.raises(ValueError, match="oracle dominates no area"):
        hv_ratio(same, {0.5: uniform(same), 0.8: uniform(same)})
    with pytest.raises(ValueError, match="at least 2 alphas, got 1"):
        hv_ratio([made([0.1, 0.9], [1, 10])], {0.5: uniform([made([0.1, 0.9], [1, 10])])})
    with pytest.raises(ValueError, match="none of 1 sets"):
        reference([made([0.5], [10])])
    with pytest.raises(ValueError, match=r"alpha 0.5: weights for 0 sets"):
        points(same, {0.5: []})
