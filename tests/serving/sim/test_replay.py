"""The event core against a plain loop, and its jumps against its own single steps."""

from dataclasses import replace
from pathlib import Path

import pytest

from catp.serving.sim.replay import Replica, simulate
from catp.serving.sim.report import Outcomes, report
from catp.serving.sim.synthetic import plans
from catp.serving.sim.traces import MOONCAKE_BLOCK, Arrival, Trace, read_trace
from catp.serving.sim.workload import tasks
from tests.serving.sim.reference import served_one_by_one


def unique(trace: Trace) -> Trace:
    """The same lengths, but no two prompts have a common prefix."""
    arrivals = (replace(one, runs=((number, one.prompt_tokens),)) for number, one in enumerate(trace.arrivals))
    return replace(trace, arrivals=tuple(arrivals))


def conversations(count: int) -> Trace:
    """Prompts that grow by a block from turn to turn, as in Mooncake's trace."""
    arrivals = [
        Arrival(0.4 * number, tuple((1000 * (number % 5) + turn, MOONCAKE_BLOCK) for turn in range(1 + number // 5)),
                20 + number % 30, 60, "chat")
        for number in range(count)
    ]  # fmt: skip
    return Trace("conversations", tuple(arrivals))


def counted(outcomes: Outcomes) -> list[int]:
    return [one.number for one in outcomes.requests]


@pytest.mark.parametrize(("rate", "budget", "sequences"), [(2.0, 512, 128), (20.0, 512, 128), (30.0, 200, 16)])
def test_the_same_as_a_plain_loop_over_steps(a100: Replica, rate: float, budget: int, sequences: int) -> None:
    work = tasks(unique(plans(1, 120, rate=rate)), 0)
    roomy = replace(a100, kv_tokens=10**6, budget=budget, sequences=sequences)
    found = simulate(work, roomy, "fcfs")
    expected = served_one_by_one(work, a100.times, budget, sequences)
    assert {one.number: (one.first, one.ended) for one in found.requests} == expected


@pytest.mark.parametrize("policy", ["fcfs", "moore-hodgson", "spf+demote"])
@pytest.mark.parametrize("overcommit", [True, False])
@pytest.mark.parametrize("kv_tokens", [111_000, 8_000])
def test_jumps_change_nothing(a100: Replica, policy: str, overcommit: bool, kv_tokens: int) -> None:
    work = tasks(plans(2, 150, rate=5.0, burst=4.0), 0, error=0.4)
    replica = replace(a100, kv_tokens=kv_tokens, overcommit=overcommit)
    jumped, stepped = (simulate(work, replica, policy, jumps=jumps) for jumps in (True, False))
    assert jumped.requests == stepped.requests
    assert (jumped.steps, jumped.span) == (stepped.steps, stepped.span)
    assert len(jumped.decisions) < len(stepped.decisions) == stepped.steps
    assert report(jumped).kv_mean == pytest.approx(report(stepped).kv_mean, rel=0.05)


def test_jumps_change_nothing_where_prefixes_are_cached(a100: Replica) -> None:
    work = tasks(conversations(60), 0)
    jumped, stepped = (simulate(work, a100, "fcfs", jumps=jumps) for jumps in (True, False))
    assert jumped.requests == stepped.requests
    assert jumped.requests[-1].cached >= 10 * MOONCAKE_BLOCK, "the last turn finds the turns before it"


def test_shared_prefixes_are_computed_once(a100: Replica) -> None:
    shared = report(simulate(tasks(plans(1, 200, rate=30.0), 0), a100, "fcfs"))
    apart = report(simulate(tasks(unique(plans(1, 200, rate=30.0)), 0), a100, "fcfs"))
    assert shared.cached > 150 * 960
    assert apart.cached == 0
    assert shared.busy < 0.6 * apart.busy


def test_every_request_ends_once_and_within_its_bound(a100: Replica) -> None:
    work = tasks(plans(4, 150, rate=60.0), 0, predictor="low")
    tight = simulate(work, replace(a100, kv_tokens=6_000), "moore-hodgson")
    assert counted(tight) == list(range(150))
    assert all(one.served and one.output == task.arrival.output for one, task in zip(tight.requests, work, strict=True))
    assert report(tight).kv_peak <= 1.0


def test_lengths_predicted_too_short_cost_preemptions_not_requests(a100: Replica) -> None:
    long = plans(4, 30, rate=20.0, catalogue=16, task=64, outputs=(100, 200))
    work = tasks(unique(long), 0, predictor="low")
    tight = replace(a100, kv_tokens=2_000)
    hasty, careful = (report(simulate(work, replace(tight, overcommit=over), "fcfs")) for over in (True, False))
    assert hasty.preemptions > 0
    assert careful.preemptions == 0
    assert hasty.served == careful.served == 30


def test_what_can_never_fit_is_refused_and_the_rest_served(a100: Replica) -> None:
    trace = plans(4, 20, rate=5.0)
    huge = replace(trace.arrivals[3], runs=((9, 200_000),))
    found = simulate(tasks(replace(trace, arrivals=(*trace.arrivals[:3], huge, *trace.arrivals[4:])), 0), a100, "fcfs")
    assert [one.finish for one in found.requests if one.number != 3] == ["length"] * 19
    assert found.requests[3].finish is None
    assert report(found).refused == 1


def test_shedding_ends_hopeless_requests_and_helps_the_others(a100: Replica) -> None:
    work = tasks(unique(plans(6, 200, rate=40.0)), 0)
    patient, strict = (report(simulate(work, a100, "fcfs", shed=shed)) for shed in (False, True))
    assert patient.served == 200
    assert strict.served + strict.refused == 200
    assert strict.refused > 0
    assert strict.attainment > patient.attainment + 0.1


def test_shedding_gives_up_nobody_whose_answer_began_in_time(a100: Replica) -> None:
    slow = tasks(
        unique(plans(6, 200, rate=25.0, outputs=(60, 80))), 0
    )  # answers take longer than premium waits for one
    found = simulate(slow, a100, "moore-hodgson", shed=True)
    given_up = [one for one in found.requests if one.finish == "deadline"]
    assert given_up
    assert not [one for one in given_up if one.slo.ttft is not None and one.first is not None and one.ttft <= 0.5]


def test_the_same_seed_gives_the_same_figures(a100: Replica) -> None:
    first, second = (simulate(tasks(plans(7, 100), 3), a100, "moore-hodgson") for _ in range(2))
    assert first.requests == second.requests


def test_the_controller_sets_the_budget(a100: Replica) -> None:
    work = tasks(unique(plans(8, 150, rate=6.0)), 0)
    tuned = simulate(work, replace(a100, budget=None), "moore-hodgson")
    assert counted(tuned) == list(range(150))
    assert max(one.tpot for one in tuned.requests) < 0.1


def test_memory_for_keys_limits_who_runs_at_once(a100: Replica) -> None:
    work = tasks(unique(plans(9, 60, rate=1000.0)), 0)
    wide, narrow = (simulate(work, replace(a100, kv_tokens=tokens), "fcfs") for tokens in (111_000, 4_000))
    assert report(narrow).throughput < 0.8 * report(wide).throughput


def test_azure_at_low_load_is_served_in_time(shared_traces: Path, a100: Replica) -> None:
    trace = read_trace(shared_traces).first(300)
    found = report(simulate(tasks(trace.at_rate(1.0), 0), a100, "moore-hodgson"))
    assert found.attainment > 0.95
