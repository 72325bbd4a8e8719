import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.training.evaluate.candidates import CandidateSet, Floats
from catp.training.evaluate.regret import best_of, oracle, regret, uniform, worst
from tests.training.evaluate.making import SCALE, family, made, random_weights

ALPHAS = [0.0, 0.25, 0.5, 0.9, 1.0]


def by_hand(sets: list[CandidateSet], weights: list[Floats], alpha: float) -> tuple[float, float, float, int]:
    """The definition of training.md 2.1, set by set."""
    lost = spread = hits = utility = 0.0
    counted = 0
    for one, mine in zip(sets, weights, strict=True):
        values = [alpha * o.score - (1 - alpha) * o.price / SCALE for o in one.options]
        if len(values) < 2:
            continue
        counted += 1
        got = sum(w * v for w, v in zip(mine, values, strict=True))
        utility += got
        lost += max(values) - got
        spread += max(values) - min(values)
        hits += sum(w for w, v in zip(mine, values, strict=True) if max(values) - v < 1e-9)
    return lost / spread, hits / counted, utility / counted, counted


@pytest.mark.parametrize("alpha", ALPHAS)
def test_regret_is_its_definition_set_by_set(alpha: float) -> None:
    sets = family(60, 1)
    weights = random_weights(sets, 2)
    found = regret(sets, weights, alpha, draws=10)
    share, hit, utility, counted = by_hand(sets, weights, alpha)
    assert (found.regret, found.hit, found.utility) == pytest.approx((share, hit, utility), abs=1e-12)
    assert (found.sets, found.inputs_all) == (counted, 60)
    assert counted < 60
    means = [float(w @ one.utility(alpha)) for w, one in zip(weights, sets, strict=True)]
    assert found.utility_all == pytest.approx(np.mean(means))


@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_oracle_has_none_and_the_worst_has_all(alpha: float) -> None:
    sets = family(60, 3)
    best, bad = regret(sets, oracle(sets, alpha), alpha), regret(sets, worst(sets, alpha), alpha)
    assert (best.regret, best.low, best.high, best.hit) == pytest.approx((0, 0, 0, 1), abs=1e-12)
    assert (bad.regret, bad.low, bad.high) == pytest.approx((1, 1, 1), abs=1e-12)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), alpha=st.floats(0, 1))
def test_every_policy_lies_between_worst_and_oracle(seed: int, alpha: float) -> None:
    sets = [*family(12, seed), made([0.1, 0.9], [5, 7])]
    found = regret(sets, random_weights(sets, seed), alpha, draws=20)
    assert -1e-12 <= found.low <= found.high <= 1 + 1e-12
    assert -1e-12 <= found.regret <= 1 + 1e-12
    assert 0 <= found.hit <= 1 + 1e-12


def test_score_and_price_are_means_over_sets_with_a_choice() -> None:
    sets = [made([1.0], [1e9]), made([0.2, 0.6], [100, 300])]
    found = regret(sets, uniform(sets), 0.5)
    assert (found.score, found.price) == pytest.approx((0.4, 200))


def test_ties_are_averaged() -> None:
    one = made([0.5, 0.5, 0.1], [10, 30, 10])
    assert oracle([one], 1.0)[0].tolist() == [0.5, 0.5, 0]
    assert regret([one], oracle([one], 1.0), 1.0).price == pytest.approx(20)
    assert best_of(np.array([0.3, 0.3 + 1e-13, math.nan])).tolist() == [0.5, 0.5, 0]
    assert best_of(np.array([0.3, 0.3 + 1e-9])).tolist() == [0, 1]


def test_unknown_counts_as_lowest() -> None:
    assert best_of(np.array([math.nan, -5.0])).tolist() == [0, 1]
    assert best_of(np.array([math.nan, math.nan])).tolist() == [0.5, 0.5]
    with pytest.raises(ValueError, match="nothing to choose"):
        best_of(np.array([]))


def test_sets_whose_options_are_all_equal_have_nothing_to_lose() -> None:
    sets = [made([0.5, 0.5], [10, 10], f"s{n}", f"g{n}") for n in range(3)]
    found = regret(sets, uniform(sets), 0.5)
    assert (found.regret, found.low, found.high, found.hit) == (0, 0, 0, 1)
    mixed = [*sets, made([0.0, 1.0], [10, 10], "last", "g9")]
    assert regret(mixed, uniform(mixed), 0.5).regret == pytest.approx(0.5)


def test_interval_is_over_groups_not_over_inputs() -> None:
    """Fifty copies of an input in a task say no more than one: the interval of two tasks stays wide."""
    sets = [made([0.0, 1.0], [1, 1], f"{g}{n}", g) for g in "ab" for n in range(50)]
    weights = [np.array([1.0, 0.0]) if one.group == "a" else np.array([0.0, 1.0]) for one in sets]
    found = regret(sets, weights, 1.0)
    assert (found.low, found.regret, found.high) == (0, 0.5, 1)


def test_the_same_seed_gives_the_same_interval() -> None:
    sets = family(40, 5)
    one, two, other = (regret(sets, uniform(sets), 0.8, seed=seed) for seed in (1, 1, 2))
    assert one == two
    assert (one.low, one.high) != (other.low, other.high)
    assert one.regret == other.regret


def test_what_cannot_be_measured_is_refused() -> None:
    good = made([0.1, 0.2], [1, 2])
    with pytest.raises(ValueError, match="option 's-0' of set 's' has the score nan"):
        regret([good.hidden()], uniform([good]), 1.0)
    unpriced = replace(good, options=(good.options[0], replace(good.options[1], price=math.nan)))
    with pytest.raises(ValueError, match="option 's-1' of set 's' has the price nan"):
        regret([good, unpriced], uniform([good, unpriced]), 1.0)
    with pytest.raises(ValueError, match="none of 1 sets"):
        regret([made([0.1], [1])], [np.ones(1)], 0.5)
    with pytest.raises(ValueError, match="no candidate sets"):
        regret([], [], 0.5)
    with pytest.raises(ValueError, match="alpha must be"):
        regret([good], uniform([good]), 1.5)


@pytest.mark.parametrize("bad", [[0.5, 0.6], [1.5, -0.5], [math.nan, 1.0], [0.0, 0.0]])
def test_weights_that_are_no_probabilities_are_refused(bad: list[float]) -> None:
    sets = [made([0.1, 0.2], [1, 2], "first"), made([0.1, 0.2], [1, 2], "second")]
    with pytest.raises(ValueError, match="set 'second': weights must be probabilities"):
        regret(sets, [np.array([0.5, 0.5]), np.array(bad)], 0.5)


def test_weights_of_another_shape_are_refused() -> None:
    sets = [made([0.1, 0.2], [1, 2])]
    with pytest.raises(ValueError, match="has 2 options, its weights have shape"):
        regret(sets, [np.ones(1)], 0.5)
    with pytest.raises(ValueError, match="weights for 0 sets"):
        regret(sets, [], 0.5)
