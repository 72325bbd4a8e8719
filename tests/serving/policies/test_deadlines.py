"""Policies that know due times, against all orders of small queues."""

from collections.abc import Sequence
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.serving.policies.annealing import Annealing, anneal
from catp.serving.policies.costmodel import CostModel, Load
from catp.serving.policies.moore_hodgson import on_time
from catp.serving.policies.protocol import Context, View
from catp.serving.policies.registry import policy
from tests.serving.policies.queues import NOW, context, contexts, queues, view

Jobs = list[tuple[float, float]]
JOBS = st.lists(st.tuples(st.integers(0, 40).map(float), st.integers(1, 12).map(float)), max_size=7)


def met(jobs: Jobs, order: Sequence[int], start: float = 0.0) -> int:
    clock, count = start, 0
    for number in order:
        clock += jobs[number][1]
        count += clock <= jobs[number][0]
    return count


def latency(jobs: Jobs, order: Sequence[int]) -> float:
    clock = total = 0.0
    for number in order:
        clock += jobs[number][1]
        total += clock
    return total


@settings(derandomize=True, deadline=None, max_examples=60)
@given(JOBS, st.integers(0, 10).map(float))
def test_no_order_has_fewer_late_jobs_than_moore_hodgson(jobs: Jobs, start: float) -> None:
    punctual, late = on_time(jobs, start)
    assert sorted(punctual + late) == list(range(len(jobs)))
    best = max(met(jobs, order, start) for order in permutations(range(len(jobs))))
    assert met(jobs, punctual, start) == len(punctual) == best
    assert [jobs[number][1] for number in late] == sorted(jobs[number][1] for number in late)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(queues(most=6), contexts())
def test_edf_meets_all_due_times_if_any_order_does(waiting: list[View], around: Context) -> None:
    outlook = around.costs.outlook(around, waiting)
    jobs = outlook.jobs(waiting)
    start = around.now + outlook.backlog
    number = {request.id: index for index, request in enumerate(waiting)}
    order = [number[name] for name in policy("edf").order(waiting, around)]
    if any(met(jobs, each, start) == len(jobs) for each in permutations(range(len(jobs)))):
        assert met(jobs, order, start) == len(jobs)
    best = policy("moore-hodgson").order(waiting, around)
    assert met(jobs, [number[name] for name in best], start) >= met(jobs, order, start)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(JOBS, st.randoms(use_true_random=False), st.integers(0, 5))
def test_annealing_is_never_worse_than_where_it_starts(jobs: Jobs, random: object, seed: int) -> None:
    begin = list(range(len(jobs)))
    random.shuffle(begin)  # type: ignore[attr-defined]
    found = anneal(jobs, begin, 0.0, 0.0, moves=64, seed=seed)
    assert sorted(found) == sorted(begin)
    assert met(jobs, found) >= met(jobs, begin)
    if met(jobs, found) == met(jobs, begin):
        assert latency(jobs, found) <= latency(jobs, begin) + 1e-9
    better = anneal(jobs, begin, 0.0, 0.0, goal="G", moves=64, seed=seed)
    if jobs:
        assert met(jobs, better) / latency(jobs, better) >= met(jobs, begin) / latency(jobs, begin) - 1e-12
    assert anneal(jobs, begin, 0.0, 0.0, moves=64, seed=seed) == found


def test_annealing_finds_what_a_bad_start_hides() -> None:
    jobs = [(40.0, 30.0), (3.0, 1.0), (4.0, 2.0), (50.0, 5.0), (9.0, 4.0)]
    best = max(met(jobs, order) for order in permutations(range(5)))
    assert met(jobs, range(5)) < best
    assert met(jobs, anneal(jobs, list(range(5)), 0.0, 0.0, moves=400)) == best
    top = max(met(jobs, order) / latency(jobs, order) for order in permutations(range(5)))
    found = anneal(jobs, list(range(5)), 0.0, 0.0, goal="G", moves=400)
    assert met(jobs, found) / latency(jobs, found) == pytest.approx(top)


def test_annealing_leaves_orders_that_no_single_move_improves() -> None:
    jobs = [
        (57.0, 8.0), (50.0, 7.0), (49.0, 1.0), (47.0, 8.0), (8.0, 4.0), (27.0, 9.0), (28.0, 2.0),
        (37.0, 1.0), (14.0, 2.0), (7.0, 8.0), (6.0, 5.0), (36.0, 5.0), (19.0, 10.0), (28.0, 6.0),
    ]  # fmt: skip
    best = len(on_time(jobs)[0])  # only taking improvements ends one below, with each of these seeds
    assert [met(jobs, anneal(jobs, range(14), 0.0, 0.0, moves=1500, seed=seed)) for seed in range(3)] == [best] * 3


def test_annealing_stops_in_time_and_asks_for_it() -> None:
    waiting = [view(number, prompt=300 + 7 * number, e2e_due=NOW + 1 + 0.01 * number) for number in range(40)]
    readings = iter(range(1000))
    one = Annealing(moves=10_000, seconds=5.0, clock=lambda: float(next(readings)))
    assert sorted(one.order(waiting, context())) == sorted(request.id for request in waiting)
    assert next(readings) < 10
    over = Annealing(moves=10_000, seconds=0.0, clock=lambda: 0.0)
    assert over.order(waiting, context()) == policy("moore-hodgson").order(waiting, context())
    with pytest.raises(ValueError, match="'met' or 'G'"):
        Annealing("best")  # type: ignore[arg-type]


def test_requests_without_a_due_time_go_behind_those_that_have_one_and_are_never_late() -> None:
    waiting = [view(1, wait=50), view(2, e2e_due=NOW + 30), view(3, ttft_due=NOW + 5), view(4, e2e_due=NOW - 1)]
    for name in ("edf", "slack"):
        assert policy(name).order(waiting, context()) == ["r004", "r003", "r002", "r001"]
    for name in ("edf+demote", "moore-hodgson"):
        assert policy(name).order(waiting, context()) == ["r003", "r002", "r001", "r004"]


def test_due_at_the_first_token_no_longer_counts_once_it_came() -> None:
    behind = view(1, ttft_due=NOW - 1, generated=3)
    assert not context().costs.outlook(context()).hopeless(behind)
    assert context().costs.outlook(context()).hopeless(view(2, ttft_due=NOW - 1))


def test_what_becomes_of_the_hopeless() -> None:
    late = NOW - 1.0
    waiting = [view(1, wait=90, e2e_due=late), view(2, wait=80, e2e_due=late), view(3, wait=2, e2e_due=late)]
    waiting.append(view(4, e2e_due=NOW + 60))
    assert policy("fcfs+demote").order(waiting, context()) == ["r004", "r001", "r002", "r003"]
    assert policy("fcfs+demote").shed(waiting, context()) == []
    shed = policy("fcfs+shed")
    assert shed.order(waiting, context()) == ["r004", "r001", "r002", "r003"]
    assert shed.shed([*waiting, view(5, generated=2, e2e_due=late)], context()) == ["r001", "r002", "r003"]
    age = policy("fcfs+age")
    assert age.order(waiting, context()) == ["r001", "r004", "r002", "r003"]
    assert age.order(waiting[1:], context(waiting[0])) == ["r004", "r002", "r003"]  # its lane is taken
    assert age.order(waiting[2:], context()) == ["r004", "r003"]  # nobody has waited for a minute


@settings(derandomize=True, deadline=None, max_examples=100)
@given(queues(most=4), contexts())
def test_the_fast_path_of_predictions_is_the_formula(waiting: list[View], around: Context) -> None:
    outlook = around.costs.outlook(around, waiting)
    for request, (due, work) in zip(waiting, outlook.jobs(waiting), strict=True):
        assert work == pytest.approx(outlook.work(request))
        assert due == pytest.approx(outlook.latest(request) + outlook.work(request))


@pytest.mark.parametrize(("prompt", "cached", "output"), [(700, 0, 1), (700, 600, 30), (1, 0, 90), (1300, 40, 7)])
@pytest.mark.parametrize("others", [0, 5])
def test_service_is_what_the_steps_take(prompt: int, cached: int, output: int, others: int) -> None:
    costs = CostModel(fixed=3e-3, token=2e-4, attend=3e-7, sequence=4e-4, kv=2e-7)
    running = [view(100 + number, prompt=0, context=400, blocks=1) for number in range(others)]
    around = context(*running, budget=256, costs=costs)
    seconds, done = 0.0, cached
    beside = Load(others, 0.0, others, 400 * others)
    while done < prompt:
        chunk = min(prompt - done, 256 - others)
        seconds += costs.step(Load(others + chunk, chunk * (done + chunk / 2), beside.decodes, beside.kv_tokens))
        done += chunk
    first = seconds
    for number in range(1, output):
        seconds += costs.step(Load(others + 1, 0.0, others + 1, beside.kv_tokens + prompt + number))
    request = view(1, prompt=prompt - cached, context=prompt, output=output)
    assert costs.outlook(around).first(request) == pytest.approx(first)
    assert costs.remaining(request, around) == pytest.approx(seconds, rel=1e-3)
