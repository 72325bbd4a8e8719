"""What is true of every order: it is a permutation, the same each time, and victims hold blocks."""

from collections.abc import Sequence
from time import sleep

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.serving.policies.base import QueuePolicy
from catp.serving.policies.bins import Bins
from catp.serving.policies.fcfs import Fcfs
from catp.serving.policies.protocol import Context, Interval, View
from catp.serving.policies.registry import guarded, names, policy
from tests.serving.policies.queues import context, contexts, queues, view

SUFFIXES = ["", "+demote", "+shed", "+age", "+fair", "+demote+fair"]
ALL = [name + suffix for name in names() for suffix in SUFFIXES]


def made(name: str) -> QueuePolicy:
    """The policy; annealing with a clock that stands, so that its time limit never strikes."""
    return policy(name, clock=lambda: 0.0) if name.startswith("annealing") else policy(name)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(queues(), contexts())
def test_an_order_has_everybody_once_whatever_came_before(waiting: list[View], around: Context) -> None:
    expected = sorted(request.id for request in waiting)
    half = waiting[: len(waiting) // 2]
    for name in ALL:
        one = made(name)
        first = one.order(waiting, around)
        assert sorted(first) == expected, name
        assert made(name).order(waiting[::-1], around) == first, name
        assert sorted(one.order(half, around)) == sorted(request.id for request in half), name
        assert set(one.shed(waiting, around)) <= set(expected), name


@settings(derandomize=True, deadline=None, max_examples=30)
@given(queues(), contexts())
def test_a_victim_holds_blocks(running: list[View], around: Context) -> None:
    holding = {request.id for request in running if request.blocks}
    for name in ALL:
        victim = made(name).victim(running, around)
        assert victim in holding if holding else victim is None, name


def test_first_come_first_served_and_priorities() -> None:
    waiting = [view(1, wait=1), view(2, wait=3, priority=-1), view(3, wait=2, priority=1), view(4, wait=0, priority=1)]
    assert policy("fcfs").order(waiting, context()) == ["r002", "r003", "r001", "r004"]
    assert policy("priority").order(waiting, context()) == ["r003", "r004", "r001", "r002"]


def test_shortest_first_counts_prompt_and_output_and_the_cache() -> None:
    waiting = [
        view(1, prompt=2000, output=10), view(2, prompt=50, output=400), view(3, prompt=50, output=10),
        view(4, prompt=10, context=2000, output=11),
    ]  # fmt: skip
    assert policy("spf").order(waiting, context()) == ["r004", "r003", "r001", "r002"]


def test_uncertainty_prefers_the_sure_and_a_bound_makes_sure() -> None:
    sure, risky = view(1, length=Interval(50, 45, 55, 56)), view(2, length=Interval(48, 5, 150, 300))
    bounded = view(3, length=Interval(48, 5, 150, 300), bound=50)
    assert policy("spf").order([sure, risky], context()) == ["r002", "r001"]
    assert policy("uncertainty").order([sure, risky], context()) == ["r001", "r002"]
    assert policy("uncertainty", tail=0.0).order([sure, risky], context()) == ["r002", "r001"]
    assert policy("uncertainty").order([sure, risky, bounded], context()) == ["r003", "r001", "r002"]


def test_lower_bounds_rise_with_what_was_generated() -> None:
    narrow, wide = view(1, length=Interval(50, 40, 60)), view(2, length=Interval(60, 10, 200))
    passed = view(5, length=Interval(60, 10, 200), generated=70)  # one token more at least, and nobody knows of another
    assert policy("spf").order([narrow, wide], context()) == ["r001", "r002"]
    assert policy("lower-bound").order([narrow, wide, passed], context()) == ["r005", "r002", "r001"]
    running = [view(3, generated=60, blocks=2), view(4, generated=5, length=Interval(50, 40, 60), blocks=2)]
    assert policy("lower-bound").victim(running, context()) == "r004"


def test_bins_are_for_batches_of_like_length() -> None:
    lengths = [10, 130, 45, 60, 99, 49]
    waiting = [view(number, output=length, wait=-number) for number, length in enumerate(lengths)]
    assert policy("bins").order(waiting, context()) == ["r000", "r002", "r005", "r003", "r004", "r001"]
    assert Bins().batches(waiting, 2) == [["r000", "r002"], ["r005"], ["r003", "r004"], ["r001"]]


@pytest.mark.parametrize(
    ("name", "nearest"), [("moore-hodgeson", "moore-hodgson"), ("prority", "priority"), ("spf+demoted", "demote")]
)
def test_an_unknown_name_gets_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(KeyError, match=f"did you mean '{nearest}'"):
        policy(name)
    with pytest.raises(KeyError, match="late requests 'drop'"):
        policy("spf", late="drop")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", names())
def test_every_policy_declares_its_limit_and_a_fallback_that_exists(name: str) -> None:
    one = policy(name)
    assert 0 < one.limit <= 1e-3
    assert one.fallback is None or policy(one.fallback).name == one.fallback
    assert (one.fallback is None) == (name == "fcfs")


class Slow:
    """A clock of which every second reading is later by what a decision takes."""

    def __init__(self, took: list[float]) -> None:
        self.now, self.took, self.readings = 0.0, took, 0

    def __call__(self) -> float:
        self.readings += 1
        if self.readings % 2 == 0:
            self.now += self.took[0] if len(self.took) == 1 else self.took.pop(0)
        return self.now


def test_a_policy_of_20_ms_is_cut_off() -> None:
    waiting = [view(1, wait=9, prompt=900), view(2, wait=1, prompt=10)]
    one = guarded(policy("spf"), clock=Slow([20e-3]))
    answers = [one.order(waiting, context()) for _ in range(1000)]
    assert answers[:3] == [["r002", "r001"]] * 3
    assert answers[3] == ["r001", "r002"]
    assert one.cut_off
    assert one.overruns < 12
    assert one.seconds < 0.25


def test_single_time_slices_do_not_cut_a_policy_off() -> None:
    waiting = [view(1, wait=9, prompt=900), view(2, wait=1, prompt=10)]
    one = guarded(policy("spf"), clock=Slow([5e-3, 1e-4, 5e-3] * 333 + [1e-4]))
    assert all(one.order(waiting, context()) == ["r002", "r001"] for _ in range(1000))
    assert one.overruns == 666
    assert one.limit > 1e9


def test_a_long_queue_may_take_longer_in_proportion() -> None:
    waiting = [view(number) for number in range(1024)]
    for seconds, cut_off in ((3.9e-3, False), (4.1e-3, True)):
        one = guarded(policy("moore-hodgson"), clock=Slow([seconds]))
        for _ in range(4):
            one.order(waiting, context())
        assert one.cut_off == cut_off


def test_time_that_other_processes_take_is_not_the_policys() -> None:
    class Sleepy(Fcfs):
        def order(self, waiting: Sequence[View], context: Context) -> list[str]:
            sleep(0.005)
            return super().order(waiting, context)

    one = guarded(Sleepy())
    for _ in range(10):
        one.order([view(1)], context())
    assert not one.cut_off


@settings(derandomize=True, deadline=None)
@given(st.lists(st.floats(1e-5, 3e-3), min_size=50, max_size=50))
def test_time_beyond_the_limit_stays_bounded(took: list[float]) -> None:
    one = guarded(policy("fcfs"), clock=Slow([*took, 1e-5]))
    for _ in range(50):
        one.order([view(1)], context())
    assert one.overruns <= sum(seconds > 1e-3 for seconds in took)
