"""Queue policies on bursts of chat: the order among them is what the engine's default policy rests on."""

import numpy as np
import pytest

from catp.serving.sim.replay import Replica, simulate
from catp.serving.sim.report import Report, report
from catp.serving.sim.static import static_batches
from catp.serving.sim.sweep import saturated
from catp.serving.sim.synthetic import plans
from catp.serving.sim.traces import Arrival, Trace
from catp.serving.sim.workload import tasks

pytestmark = pytest.mark.xdist_group("sim-orders")


def chat(count: int) -> Trace:
    """Bursty, with prompts and outputs as uneven as people's: log-normal, 1,400 and 150 tokens in the mean."""
    rng = np.random.default_rng(1)
    prompts = np.clip(rng.lognormal(6.9, 0.9, count), 16, 6000).astype(int).tolist()
    outputs = np.clip(rng.lognormal(4.6, 0.9, count), 2, 800).astype(int).tolist()
    times = [one.at for one in plans(1, count, rate=8.0, burst=6.0, phase=20.0).arrivals]
    arrivals = (
        Arrival(at, ((number, prompt),), output, 800, "chat")
        for number, (at, prompt, output) in enumerate(zip(times, prompts, outputs, strict=True))
    )
    return Trace("chat", tuple(arrivals))


CHAT = chat(300)


@pytest.fixture(scope="module")
def served(a100: Replica) -> dict[str, Report]:
    policies = ("fcfs", "spf", "edf", "moore-hodgson")
    return {policy: report(simulate(tasks(CHAT, 0), a100, policy)) for policy in policies}


def test_fcfs_below_shortest_first_below_moore_hodgson(served: dict[str, Report]) -> None:
    fcfs, spf, mh = (served[policy].attainment for policy in ("fcfs", "spf", "moore-hodgson"))
    assert fcfs + 0.2 < spf
    assert spf + 0.03 < mh
    assert mh > 0.8


def test_due_times_alone_do_not_help(served: dict[str, Report]) -> None:
    assert served["edf"].attainment < served["moore-hodgson"].attainment - 0.2


def test_the_tail_pays_for_it(served: dict[str, Report]) -> None:
    assert served["moore-hodgson"].e2e[2] > served["fcfs"].e2e[2]
    assert served["moore-hodgson"].late < served["fcfs"].late


@pytest.mark.parametrize(
    ("error", "predictor", "kept"), [(0.4, "true", 0.95), (0.0, "constant", 0.95), (0.0, "low", 0.85)]
)
def test_moore_hodgson_bears_wrong_lengths(
    a100: Replica, served: dict[str, Report], error: float, predictor: str, kept: float
) -> None:
    wrong = report(simulate(tasks(CHAT, 0, error=error, predictor=predictor), a100, "moore-hodgson"))
    assert wrong.attainment > kept * served["moore-hodgson"].attainment
    assert wrong.attainment > served["fcfs"].attainment + 0.2


def test_continuous_batching_serves_more_than_static_batches(a100: Replica) -> None:
    static = static_batches(CHAT.arrivals, a100.times)
    assert saturated(CHAT, a100) > 2 * static.throughput
    assert 0.15 < static.effective < 0.5


def test_capacity_does_not_depend_on_when_requests_came(a100: Replica) -> None:
    trace = CHAT.first(100)
    assert saturated(trace, a100) == saturated(trace.at_rate(0.01), a100)
