import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.training.evaluate.calibration import calibration
from tests.training.evaluate.making import family, made


def test_perfect_predictions() -> None:
    sets = family(50, 1)
    found = calibration(sets, [one.scores for one in sets])
    assert (found.bias, found.mse, found.ece) == pytest.approx((0, 0, 0), abs=1e-12)
    assert found.spearman == pytest.approx(1)
    assert found.n == sum(len(one) for one in sets) == sum(one.n for one in found.bins)
    assert 0 < found.ranked < 50


def test_a_shift_is_bias_and_does_not_change_the_ranking() -> None:
    sets = family(50, 2)
    found = calibration(sets, [one.scores * 0.5 + 0.3 for one in sets])
    every = np.concatenate([one.scores for one in sets])
    assert found.bias == pytest.approx((0.3 - 0.5 * every).mean())
    assert found.mse == pytest.approx(((0.3 - 0.5 * every) ** 2).mean())
    assert found.spearman == pytest.approx(1)


def test_ece_of_a_known_family() -> None:
    """Says 0.25 for what is 0 or 1 with even odds, and 0.75 for what is always 1."""
    sets = [made([0, 1, 1, 1], [1, 1, 1, 1])]
    found = calibration(sets, [np.array([0.25, 0.25, 0.75, 0.75])])
    assert found.ece == pytest.approx(0.5 * 0.25 + 0.5 * 0.25)
    assert [(b.low, b.n, b.predicted, b.measured) for b in found.bins] == [(0.2, 2, 0.25, 0.5), (0.7, 2, 0.75, 1.0)]


@settings(derandomize=True, max_examples=100, deadline=None)
@given(
    guess=st.lists(st.integers(0, 5), min_size=2, max_size=7).map(np.array),
    seed=st.integers(0, 1000),
)
def test_spearman_is_scipys(guess: "np.ndarray[tuple[int], np.dtype[np.int64]]", seed: int) -> None:
    from scipy.stats import spearmanr

    true = np.random.default_rng(seed).integers(0, 4, len(guess))
    found = calibration([made((true / 4).tolist(), [1] * len(true))], [guess / 5])
    if np.ptp(true) == 0:
        assert found.spearman is None
    elif np.ptp(guess) == 0:
        assert found.spearman == 0
    else:
        assert found.spearman == pytest.approx(float(spearmanr(guess, true).statistic))


def test_nothing_to_compare() -> None:
    for sets, guess in ([], []), ([made([0.5], [1])], [np.array([math.nan])]):
        found = calibration(sets, guess)
        assert (found.n, found.bias, found.ece, found.spearman, found.bins) == (0, None, None, None, ())


def test_unknown_predictions_are_left_out_and_wild_ones_are_not() -> None:
    found = calibration([made([0.5, 0.5, 1.0], [1, 1, 1])], [np.array([math.nan, -3.0, 7.0])])
    assert found.n == 2
    assert found.spearman == pytest.approx(1)
    assert [b.low for b in found.bins] == [0, 0.9]
    assert found.ece == pytest.approx((3.5 + 6) / 2)


def test_predictions_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="set 's' has 2 options"):
        calibration([made([0.5, 0.5], [1, 1])], [np.zeros(3)])
    with pytest.raises(ValueError, match="predictions for 0 sets"):
        calibration([made([0.5], [1])], [])
