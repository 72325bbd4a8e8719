import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.serving.sim.synthetic import plans
from catp.serving.sim.workload import CLASSES, PREDICTORS, error_sigma, tasks

TRACE = plans(5, 4000)
PREMIUM, STANDARD = CLASSES


@settings(derandomize=True, deadline=None, max_examples=15)
@given(st.floats(0.01, 1.5))
def test_the_factor_is_as_far_from_one_as_asked(error: float) -> None:
    sigma = error_sigma(error)
    draws = np.exp(sigma * np.random.default_rng(0).standard_normal(50_000))
    spread = draws.std() / math.sqrt(len(draws))
    assert np.abs(draws - 1).mean() == pytest.approx(error, abs=5 * spread)


def test_errors_do_not_change_classes_and_seeds_do() -> None:
    right, wrong, other = tasks(TRACE, 1), tasks(TRACE, 1, error=0.4), tasks(TRACE, 2)
    assert [one.slo for one in right] == [one.slo for one in wrong]
    assert [one.slo for one in right] != [one.slo for one in other]
    assert wrong == tasks(TRACE, 1, error=0.4)
    share = sum(one.slo is PREMIUM for one in right) / len(right)
    assert share == pytest.approx(0.3, abs=0.03)
    off = [abs(one.length / one.arrival.output - 1) for one in wrong]
    assert sum(off) / len(off) == pytest.approx(0.4, abs=0.03)


def test_broken_predictors() -> None:
    seen = {name: [one.length for one in tasks(TRACE, 1, predictor=name)] for name in PREDICTORS}
    truth = [float(one.output) for one in TRACE.arrivals]
    assert seen["true"] == truth
    assert sorted(seen["shuffled"]) == sorted(truth)
    assert abs(np.corrcoef(seen["shuffled"], truth)[0, 1]) < 0.1
    assert sorted(seen["inverted"]) == sorted(truth)
    assert np.corrcoef(seen["inverted"], truth)[0, 1] < -0.9
    assert len(set(seen["constant"])) == 1
    assert seen["low"] == [max(one / 4, 1.0) for one in truth]


@pytest.mark.parametrize(
    ("ttft", "e2e", "output", "premium", "standard"),
    [
        (0.5, 0.5 + 0.1 * 9, 10, True, True),
        (0.51, 1.0, 10, False, True),  # late to begin
        (0.4, 0.4 + 0.11 * 9, 10, False, True),  # slow to go on
        (0.4, 0.4, 1, True, True),  # a single token has no time between tokens
        (0.5, 10.7, 10, False, False),
        (9.0, 10.6, 10, False, True),
    ],
)
def test_what_classes_expect(ttft: float, e2e: float, output: int, premium: bool, standard: bool) -> None:
    assert (PREMIUM.met(ttft, e2e, output), STANDARD.met(ttft, e2e, output)) == (premium, standard)


def test_due_times_rest_on_the_prediction() -> None:
    task = next(one for one in tasks(TRACE, 1, predictor="low") if one.slo is STANDARD)
    request = task.request(3.0, drop_late=True)
    assert request.slo.e2e == pytest.approx(10 + 0.06 * max(task.arrival.output / 4, 1))
    assert request.bound == 80
    assert request.drop_late
