"""Step times: fitted to a log, learned step by step, and turned into a token budget."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.serving.policies.budget import BudgetController, StepTimes
from catp.serving.policies.costmodel import CostModel, Load
from catp.serving.policies.fitting import fit
from catp.serving.policies.protocol import Context, View
from tests.serving.policies.queues import context, contexts, view

TRUE = CostModel(fixed=4e-3, token=1.2e-4, attend=3e-8, sequence=2e-4, kv=5e-8)


def loads(count: int, seed: int = 0) -> list[Load]:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        chunk, decodes, keys = int(rng.integers(0, 600)), int(rng.integers(0, 64)), int(rng.integers(50, 3000))
        found.append(Load(chunk + decodes, chunk * (keys + chunk / 2), decodes, decodes * keys))
    return found


def steps(costs: CostModel, count: int, noise: float, seed: int = 0) -> list[tuple[Load, float]]:
    rng = np.random.default_rng([seed, 1])
    return [(load, costs.step(load) * float(np.exp(noise * rng.standard_normal()))) for load in loads(count, seed)]


def values(costs: CostModel) -> list[float]:
    return [costs.fixed, costs.token, costs.attend, costs.sequence, costs.kv]


def test_a_fit_finds_the_coefficients_and_its_error() -> None:
    exact = fit(steps(TRUE, 100, 0.0))
    assert values(exact.costs) == pytest.approx(values(TRUE), rel=1e-6)
    assert exact.mape < 1e-9
    noisy = fit(steps(TRUE, 1000, 0.05))
    assert values(noisy.costs) == pytest.approx(values(TRUE), rel=0.1)
    assert noisy.mape == pytest.approx(0.05 * np.sqrt(2 / np.pi), rel=0.15)  # the mean size of the noise
    assert noisy.held_out == 200


def test_predictions_add_up_to_the_time_measured_however_much_it_varies() -> None:
    log = steps(TRUE, 2000, 0.3)
    found = fit(log).costs
    assert sum(found.step(load) for load, _ in log) == pytest.approx(sum(seconds for _, seconds in log))
    mean = float(np.exp(0.3**2 / 2))  # of the noise
    assert sum(found.step(load) for load, _ in log) == pytest.approx(
        mean * sum(TRUE.step(load) for load, _ in log), rel=0.03
    )


def test_the_error_is_of_steps_that_were_not_fitted() -> None:
    log = steps(TRUE, 100, 0.0)
    doubled = [(load, seconds * (2 if number % 5 == 4 else 1)) for number, (load, seconds) in enumerate(log)]
    assert fit(doubled).mape == pytest.approx(0.5)


def test_no_coefficient_is_below_zero() -> None:
    rng = np.random.default_rng(3)
    log = [(load, 0.02 - 1e-5 * load.tokens + 1e-3 * float(rng.random())) for load in loads(200)]
    found = fit(log).costs
    assert min(values(found)) >= 0
    assert found.token == 0


@pytest.mark.parametrize(
    ("log", "said"),
    [([(Load(1), 0.1)] * 9, "9 steps are too few"), ([(Load(1), 0.1)] * 11 + [(Load(1), 0.0)], "step 11 took 0.0 s"),
     ([(Load(1), float("nan"))] * 12, "step 0 took nan s")],
)  # fmt: skip
def test_logs_that_cannot_be_fitted(log: list[tuple[Load, float]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fit(log)


def test_step_times_are_learned_and_learned_anew() -> None:
    times = StepTimes()
    for load, seconds in steps(TRUE, 600, 0.02):
        times.observe(load, seconds)
    assert values(times.costs) == pytest.approx(values(TRUE), rel=0.15)
    slower = CostModel(*(3 * value for value in values(TRUE)))
    for load, seconds in steps(slower, 1500, 0.02, seed=1):
        times.observe(load, seconds)
    assert values(times.costs) == pytest.approx(values(slower), rel=0.15)


def test_learning_survives_steps_that_are_all_alike_and_times_that_are_none() -> None:
    times = StepTimes()
    same = Load(8, 0.0, 8, 4000)
    for _ in range(20_000):
        times.observe(same, 0.01)
    for bad in (0.0, -1.0, float("nan"), float("inf")):
        times.observe(same, bad)
    assert times.costs.step(same) == pytest.approx(0.01, rel=1e-3)
    for load, seconds in steps(TRUE, 1500, 0.0):
        times.observe(load, seconds)
    assert max(abs(times.costs.step(load) / seconds - 1) for load, seconds in steps(TRUE, 50, 0.0, seed=2)) < 0.05


def load_of(tokens: int, running: tuple[View, ...]) -> Load:
    return Load(tokens, 0.0, len(running), sum(one.context + one.generated for one in running))


@settings(derandomize=True, deadline=None, max_examples=80)
@given(contexts(), st.floats(1e-3, 0.5), st.floats(1.0, 4.0))
def test_a_longer_target_never_makes_a_smaller_budget(around: Context, target: float, factor: float) -> None:
    small = BudgetController(target, costs=TRUE).budget(around)
    assert small <= BudgetController(target * factor, costs=TRUE).budget(around)
    assert max(64, len(around.running) + 1) <= small <= 8192


@pytest.mark.parametrize("target", [0.02, 0.05, 0.1])
def test_a_step_as_large_as_the_budget_is_within_the_target_and_a_tile_more_is_not(target: float) -> None:
    running = tuple(view(number, prompt=0, context=900) for number in range(12))
    budget = BudgetController(target, costs=TRUE, floor=1).budget(context(*running))
    assert TRUE.step(load_of(budget, running)) <= target
    assert TRUE.step(load_of(budget + 128, running)) > target


def test_bounds_hold_and_those_that_run_always_get_their_token() -> None:
    many = tuple(view(number, prompt=0) for number in range(100))
    assert BudgetController(1e-6, floor=32).budget(context()) == 32
    assert BudgetController(1e-6, floor=32).budget(context(*many)) == 101
    assert BudgetController(1e3, ceiling=700).budget(context()) <= 700
    assert BudgetController(1.0, costs=CostModel(0.0, 0.0, 0.0, 0.0, 0.0), ceiling=700).budget(context()) <= 700
    for wrong in ({"target": 0.0}, {"target": -1.0}, {"floor": 0}, {"floor": 9, "ceiling": 8}):
        with pytest.raises(ValueError, match="budget: "):
            BudgetController(**wrong)


def driven(controller: BudgetController, truth: CostModel, count: int, spike: float = 1.0) -> list[float]:
    """Steps as large as the controller says, every eighth of them slower by a factor that no model explains."""
    running, times = tuple(view(number, prompt=0, context=500) for number in range(8)), []
    for number in range(count):
        load = load_of(controller.budget(context(*running)), running)
        times.append(truth.step(load) * (spike if number % 8 == 7 else 1.0))
        controller.observe(load, times[-1])
    return times


def test_a_wrong_model_is_learned_in_a_few_steps() -> None:
    times = driven(BudgetController(0.05, costs=CostModel(fixed=1e-4, token=1e-6)), TRUE, 200)
    assert times[0] > 0.5
    assert max(times[20:]) <= 0.055
    assert np.mean(times[100:]) > 0.03  # a tile below the target at most


def test_what_the_model_cannot_explain_is_corrected_and_forgiven() -> None:
    controller = BudgetController(0.06, costs=TRUE)
    times = driven(controller, TRUE, 2000, spike=1.6)
    assert np.quantile(times[-300:], 0.95) <= 0.06 * 1.35
    assert controller.correction < 0.9
    driven(controller, TRUE, 3000)
    assert controller.correction > 0.99


def test_with_no_setting_most_of_a_step_goes_into_tokens_unless_requests_want_it_short() -> None:
    patient = BudgetController(costs=TRUE).budget(context(view(prompt=0, context=500)))
    step = TRUE.step(Load(patient, 0.0, 1, 500))
    assert 0.6 < TRUE.token * patient / step < 0.8
    hurried = BudgetController(costs=TRUE).budget(context(view(prompt=0, context=500, tpot=0.02)))
    assert TRUE.step(Load(hurried, 0.0, 1, 500)) <= 0.012
    assert hurried < patient


def test_slow_steps_change_nothing_where_nobody_asked_for_fast_ones_or_smaller_ones_would_not_help() -> None:
    for controller in (BudgetController(costs=TRUE), BudgetController(1e-3, costs=TRUE)):
        driven(controller, TRUE, 500, spike=3.0)
        assert controller.correction == 1.0
