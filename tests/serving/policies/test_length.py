"""Predicted output lengths, and when they are not believed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.serving.engine.request import Request
from catp.serving.policies.drift import DriftGuard
from catp.serving.policies.length import LengthPredictor
from catp.serving.policies.protocol import Interval

Traffic = list[tuple[Request, int]]


def asked(bound: int = 500, prompt: int = 100, kind: str = "text") -> Request:
    return Request("r", (0,) * prompt, bound, kind=kind)


def taught(lengths: list[int], request: Request | None = None) -> LengthPredictor:
    one = LengthPredictor()
    for length in lengths:
        one.observe(request or asked(), length)
    return one


@settings(derandomize=True, deadline=None, max_examples=80)
@given(st.lists(st.integers(0, 400), min_size=16, max_size=60), st.integers(1, 500), st.integers(0, 300))
def test_a_prediction_is_the_distribution_so_far_cut_off_at_the_bound(
    lengths: list[int], bound: int, generated: int
) -> None:
    longer = sorted(min(length, bound) for length in lengths if length > generated)
    found = taught(lengths).predict(asked(bound), generated)
    assert found.low <= found.high <= max(bound, generated)
    if len(longer) < 16:  # too few to speak of: something in between, up to the bound
        assert generated <= found.low <= found.expected <= max(bound, generated)
        return
    assert found.expected == pytest.approx(np.mean(longer))
    assert found.tail == pytest.approx(np.mean(longer[int(0.9 * len(longer)) :]))
    inside = sum(found.low <= length <= found.high for length in longer) / len(longer)
    assert inside >= 0.8


def test_kinds_and_sizes_are_kept_apart_and_lend_to_each_other() -> None:
    one = taught([20] * 20, asked(kind="plan", prompt=1000))
    for _ in range(20):
        one.observe(asked(kind="chat", prompt=50), 200)
    assert one.predict(asked(kind="plan", prompt=900)).expected == 20
    assert one.predict(asked(kind="plan", prompt=20)).expected == 20  # nobody of its size: its kind
    assert one.predict(asked(kind="other")).expected == 110  # nobody of its kind: all
    assert one.predict(asked(kind="chat", bound=30)).expected == 30


def test_before_anything_was_seen_the_bound_is_all_there_is() -> None:
    found = LengthPredictor().predict(asked(bound=100))
    assert 0 < found.low < found.expected < found.high <= 100
    small = LengthPredictor().predict(asked(bound=1))
    assert small.high <= 1


def test_what_is_old_is_forgotten() -> None:
    one = LengthPredictor(memory=50)
    for length in [300] * 200 + [10] * 50:
        one.observe(asked(), length)
    assert one.predict(asked()) == Interval(10, 10, 10, 10)


def test_intervals_cover_what_comes(azure: dict[str, Traffic]) -> None:
    for traffic in azure.values():
        one, inside = LengthPredictor(), []
        for number, (request, output) in enumerate(traffic):
            found = one.predict(request)
            if number >= 200:
                inside.append(found.low <= output <= found.high)
            one.observe(request, output)
        assert 0.77 <= np.mean(inside) <= 0.87  # 0.8 is claimed; ties in the lengths make it a little more


def alarms(traffic: Traffic) -> list[int]:
    guard, found = DriftGuard(), []
    one = LengthPredictor(guard)
    for number, (request, output) in enumerate(traffic):
        before = guard.alarms
        one.observe(request, output)
        if guard.alarms > before:
            found.append(number)
    return found


def test_a_new_workload_is_noticed_within_30_requests(azure: dict[str, Traffic]) -> None:
    conv, code = azure["conv"], azure["code"]
    for begin in (0, 3000):
        assert 0 <= alarms(conv[begin : begin + 1500] + code[:40])[0] - 1500 <= 30
        assert 0 <= alarms(code[begin : begin + 1500] + conv[:40])[0] - 1500 <= 30


def test_there_are_few_false_alarms(azure: dict[str, Traffic]) -> None:
    rng = np.random.default_rng(0)
    assert len(alarms(azure["conv"][:10_000])) <= 2
    assert len(alarms([azure["code"][place] for place in rng.integers(0, len(azure["code"]), 10_000)])) <= 2


def test_after_an_alarm_everybody_counts_the_same_until_predictions_are_good_again() -> None:
    guard = DriftGuard(good=50)
    one = LengthPredictor(guard)
    rng = np.random.default_rng(1)
    for _ in range(300):
        one.observe(asked(prompt=50), int(rng.integers(90, 110)))
        one.observe(asked(prompt=900), int(rng.integers(190, 210)))
    assert one.predict(asked(prompt=900)).expected > 180
    for _ in range(30):
        one.observe(asked(prompt=50), 5)
    assert guard.alarms == 1
    short, long = one.predict(asked(prompt=50)), one.predict(asked(prompt=900))
    assert short == long
    assert (short.low, short.high) == (1, 500)
    assert one.predict(asked(bound=3)).expected <= 3
    assert one.predict(asked(), 60).expected > 60
    for _ in range(100):
        one.observe(asked(prompt=50), int(rng.integers(4, 8)))
    assert guard.trusted
    assert 4 <= one.predict(asked(prompt=50)).expected <= 8


def test_bad_predictions_are_not_believed_again() -> None:
    guard = DriftGuard(good=20)
    for _ in range(50):
        assert not guard.observe(Interval(10, 8, 12), 10)
    for _ in range(200):
        guard.observe(Interval(10, 8, 12), 300)
    assert not guard.trusted
    assert guard.alarms == 1
