"""Device seconds: a step's seconds are shared out whole, by predicted work, and by what they were for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.serving.engine.request import Branch, Job, Request
from catp.serving.engine.step import Row, Step
from catp.serving.metering.account import Account
from catp.serving.metering.attribution import attribute, work
from catp.serving.metering.prices import DevicePrice
from catp.serving.policies.costmodel import CostModel, Load
from catp.serving.server.events import Seconds

COSTS = CostModel(fixed=0.0, token=1e-4, attend=1e-6, sequence=2e-4, kv=3e-6)


def job(id: str, prompt: int, *, shared: int = 0, more: int = 0) -> tuple[Job, Branch]:
    found = Job(Request(id, tuple(range(prompt)), 1000), program=None)  # type: ignore[arg-type]
    branch = Branch(found, 0, list(range(prompt + more)), computed=shared, shared=shared)
    return found, branch


@pytest.mark.parametrize(("begin", "count", "shared"), [(0, 40, 0), (16, 24, 16), (0, 50, 0), (39, 1, 16), (45, 1, 0)])
def test_work_is_what_the_cost_model_predicts(begin: int, count: int, shared: int) -> None:
    _, branch = job("a", 40, shared=shared, more=10)
    decodes = int(count == 1)
    load = Load(count, 0.0 if decodes else count * (begin + count / 2), decodes, begin if decodes else 0)
    assert work(Row(branch, begin, count), COSTS).total == pytest.approx(COSTS.step(load))


def test_what_seconds_were_for() -> None:
    _, fresh = job("a", 40)
    assert work(Row(fresh, 0, 40), COSTS).fresh == work(Row(fresh, 0, 40), COSTS).total
    _, cached = job("b", 40, shared=16)
    part = work(Row(cached, 16, 24), COSTS)
    assert part.cached == pytest.approx(1e-6 * 24 * 16)
    assert part.output == 0.0
    _, writing = job("c", 40, more=10)
    assert work(Row(writing, 44, 1), COSTS).fresh == 0.0
    mixed = work(Row(writing, 38, 6), COSTS)  # two of the prompt, four forced ones after it
    assert mixed.fresh == pytest.approx(1e-4 * 2 + 1e-6 * 2 * 39)
    assert mixed.output == pytest.approx(1e-4 * 4 + 1e-6 * 4 * 42)


@settings(derandomize=True, deadline=None, max_examples=80)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_jobs_add_up_to_the_busy_time(seed: int, blind: bool) -> None:
    rng = np.random.default_rng([seed])
    costs = CostModel(0.0, 0.0, 0.0, 0.0, 0.0) if blind else COSTS
    account, busy = Account(costs), 0.0
    jobs = [job(f"j{number}", int(rng.integers(1, 60)), more=40) for number in range(int(rng.integers(1, 8)))]
    for _ in range(int(rng.integers(1, 12))):
        rows = []
        for _, branch in jobs:
            count = int(rng.integers(0, branch.pending + 1)) if branch.pending else 0
            if count:
                rows.append(Row(branch, branch.computed, count))
                branch.computed += count
        seconds = float(rng.uniform(1e-4, 1e-1))
        if rows:
            account.stepped(Step(tuple(rows)), seconds)
            busy += seconds
    assert account.busy == pytest.approx(busy)
    assert sum(account.of(one).total for one, _ in jobs) == pytest.approx(busy, rel=1e-9, abs=1e-12)
    assert [one.seconds for one, _ in jobs] == pytest.approx([account.of(one).total for one, _ in jobs])


def test_two_branches_of_a_job_are_one_bill() -> None:
    found, branch = job("a", 4, more=4)
    other = Branch(found, 1, list(branch.tokens), computed=4)
    shares = attribute(Step((Row(branch, 5, 1), Row(other, 6, 1))), 1.0, COSTS)
    assert set(shares) == {found}
    assert shares[found].total == pytest.approx(1.0)


def test_prices_are_those_of_local_tools() -> None:
    one = DevicePrice.of("cpu", 1)
    assert one.spent(Seconds(1.0, 0.5, 2.5)) is not None
    spent = one.spent(Seconds(1.0, 0.5, 2.5))
    assert spent is not None
    assert (spent.fresh, spent.cached, spent.output, spent.total) == (2100, 1050, 5250, 8400)
    three = DevicePrice.of("cpu", 3).spent(Seconds(output=1.0))
    assert three is not None
    assert three.total == 6300  # three threads are three CPU seconds
    gpu = DevicePrice.of("cuda").spent(Seconds(output=1.0))
    assert gpu is not None
    assert gpu.total == 700_000
    assert DevicePrice(None).spent(Seconds(output=1.0)) is None
    assert DevicePrice.parse("0.5").nano_per_second == 500_000_000
    for wrong in ("-1", "free", "1/0"):
        with pytest.raises(ValueError, match=r"device second|amount in US dollars"):
            DevicePrice.parse(wrong)


@settings(derandomize=True, deadline=None)
@given(st.floats(0, 1e3), st.floats(0, 1e3), st.floats(0, 1e3))
def test_parts_of_a_price_add_up(fresh: float, cached: float, output: float) -> None:
    spent = DevicePrice.of("cpu").spent(Seconds(fresh, cached, output))
    assert spent is not None
    assert min(spent.fresh, spent.cached, spent.output) >= 0
    assert abs(spent.total - (fresh + cached + output) * 2100) <= 1
