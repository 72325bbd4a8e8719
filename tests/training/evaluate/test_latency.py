import math
from dataclasses import replace

import numpy as np
import pytest

from catp.training.evaluate.candidates import CandidateSet
from catp.training.evaluate.latency import latency
from tests.training.evaluate.making import made


def timed(times: list[tuple[float, float]], id: str = "s") -> CandidateSet:
    one = made([0.5] * len(times), [1] * len(times), id)
    options = tuple(
        replace(option, latency_ms=short, serial_ms=long)
        for option, (short, long) in zip(one.options, times, strict=True)
    )
    return replace(one, options=options)


def pick(one: CandidateSet, place: int) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    weights = np.zeros(len(one))
    weights[place] = 1
    return weights


def test_latency_is_that_of_the_chosen_plans() -> None:
    sets = [timed([(1e9, 1e9), (10.0 * n, 25.0 * n)], f"s{n}") for n in range(1, 21)]
    found = latency(sets, [pick(one, 1) for one in sets])
    assert found.critical is not None
    assert found.serial is not None
    assert (found.critical.mean, found.critical.median, found.critical.p95) == pytest.approx((105, 100, 190))
    assert (found.serial.mean, found.serial.median, found.serial.p95) == pytest.approx((262.5, 250, 475))
    assert (found.speedup, found.timed) == pytest.approx((2.5, 1))


def test_a_mixed_choice_counts_by_its_weights() -> None:
    found = latency([timed([(10, 10), (30, 90)])], [np.array([0.75, 0.25])])
    assert found.critical is not None
    assert (found.critical.mean, found.critical.median, found.critical.p95) == pytest.approx((15, 10, 30))
    assert found.speedup == pytest.approx(30 / 15)


def test_choices_that_were_not_timed_are_left_out_and_counted() -> None:
    sets = [timed([(10, 20)], "a"), timed([(math.nan, 5.0)], "b"), timed([(7.0, math.nan)], "c")]
    found = latency(sets, [np.ones(1)] * 3)
    assert found.timed == pytest.approx(1 / 3)
    assert found.critical is not None
    assert found.critical.mean == 10
    nothing = latency(sets[1:], [np.ones(1)] * 2)
    assert (nothing.timed, nothing.critical, nothing.serial, nothing.speedup) == (0, None, None, None)
    assert latency([], []).timed == 0


def test_plans_that_take_no_time_have_no_speedup() -> None:
    assert latency([timed([(0, 0)])], [np.ones(1)]).speedup is None
