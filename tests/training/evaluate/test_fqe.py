import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from catp.training.evaluate.fqe import Episodes, corrected, fit
from catp.training.evaluate.logged import Logged, draw_log
from catp.training.evaluate.ope import Estimate, Refused
from catp.training.evaluate.regret import oracle
from tests.training.evaluate.making import leaning, pool

# A tiny plan language: at most three tools, each cheap or good, then stop. Quality rises with what was used; the price
# is charged with each tool. A state is the pair (cheap, good) of what is placed.
CHEAP, GOOD, STOP = 0, 1, 2
MOST = 3
STATES = [(c, g) for c in range(MOST + 1) for g in range(MOST + 1) if c + g <= MOST]
PRICE = {CHEAP: 0.05, GOOD: 0.2}

State = tuple[int, int]


def worth(state: State) -> float:
    return 1 - math.pow(0.6, state[0] + 2.5 * state[1])


def step(state: State, action: int) -> tuple[float, State | None]:
    """Reward, and the next state (None at the end)."""
    if action == STOP:
        return worth(state), None
    return -PRICE[action], (state[0] + (action == CHEAP), state[1] + (action == GOOD))


def allowed(state: State) -> list[int]:
    return [CHEAP, GOOD, STOP] if sum(state) < MOST else [STOP]


def policy(state: State) -> int:
    """The evaluated policy: one good tool, then one cheap one, then stop."""
    return GOOD if state[1] == 0 and sum(state) < MOST else CHEAP if state[0] == 0 and sum(state) < MOST else STOP


@cache
def exact(state: State, action: int) -> float:
    """Q of the policy by dynamic programming."""
    reward, after = step(state, action)
    return reward if after is None else reward + exact(after, policy(after))


def logged_plans(count: int, seed: int) -> tuple[Episodes, list[State]]:
    """Plans built at random, and the state of each step."""
    rng = np.random.default_rng([seed, count])
    states: list[State] = []
    actions, rewards, terminals = [], [], []
    for _ in range(count):
        state: State | None = (0, 0)
        while state is not None:
            action = int(rng.choice(allowed(state)))
            states.append(state)
            reward, state = step(state, action)
            actions.append(action)
            rewards.append(reward)
            terminals.append(state is None)
    observations = np.eye(len(STATES), dtype=np.float32)[[STATES.index(state) for state in states]]
    chosen = np.array([policy(state) for state in states])
    return Episodes(observations, np.array(actions), np.array(rewards), np.array(terminals), chosen, 3), states


@pytest.fixture(autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def test_fqe_finds_what_dynamic_programming_finds() -> None:
    """Largest error over all logged (state, action) pairs: measured 0.0002 in values up to 0.9, for seeds 0 to 2."""
    episodes, states = logged_plans(400, 1)
    fitted = fit(episodes, steps=800, hidden=(64,), seed=0)
    found = fitted.q(episodes.observations, episodes.actions)
    true = np.array([exact(state, int(action)) for state, action in zip(states, episodes.actions, strict=True)])
    assert np.abs(found - true).max() < 0.002
    value = fitted.start_values(episodes)
    assert len(value) == 400
    assert value.mean() == pytest.approx(exact((0, 0), policy((0, 0))), abs=0.002)
    assert abs(value.mean() - episodes.rewards.sum() / 400) > 0.2  # not merely what the logged plans earned


def test_equal_seeds_give_equal_fits_and_the_global_state_is_left_alone() -> None:
    import torch

    episodes, _ = logged_plans(30, 2)
    before = torch.random.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"].copy()
    one, two, other = (fit(episodes, steps=20, hidden=(8,), seed=seed).start_values(episodes) for seed in (1, 1, 2))
    assert (one == two).all()
    assert (one != other).any()
    assert (torch.random.get_rng_state() == before[0]).all()
    assert (np.random.get_state(legacy=False)["state"]["key"] == before[1]).all()


def test_networks_do_not_see_the_column_that_carries_the_policy() -> None:
    episodes, _ = logged_plans(30, 3)
    fitted = fit(episodes, steps=20, hidden=(8,))
    stop = np.full(len(episodes.actions), STOP)
    columns = [np.column_stack([episodes.observations, np.full(len(stop), n)]).astype(np.float32) for n in (0, 2)]
    first, second = (fitted.model.predict_value(column, stop) for column in columns)
    assert (first == second).all()


def test_episodes_begin_where_the_last_one_ended() -> None:
    episodes, states = logged_plans(50, 4)
    assert len(episodes.starts) == 50
    assert {states[place] for place in episodes.starts} == {(0, 0)}


def test_arrays_that_do_not_fit_are_refused() -> None:
    episodes, _ = logged_plans(5, 5)
    with pytest.raises(ValueError, match="rewards has shape"):
        replace(episodes, rewards=episodes.rewards[1:])
    with pytest.raises(ValueError, match=r"policy_actions\[0\] is 3: actions are 0 to 2"):
        replace(episodes, policy_actions=np.full(len(episodes.actions), 3))
    with pytest.raises(ValueError, match="last episode is not closed"):
        replace(episodes, terminals=np.zeros(len(episodes.actions), dtype=bool))
    with pytest.raises(ValueError, match="must be numbers"):
        replace(episodes, rewards=episodes.rewards * np.nan)
    with pytest.raises(ValueError, match=r"must be \[steps, features\]"):
        replace(episodes, observations=episodes.observations[:, 0])


def test_correction_by_whole_plans_removes_the_bias_of_values() -> None:
    """Values a quarter too low: the mean of 150 corrected estimates is within 4 standard errors of the truth."""
    sets = pool(600, 6)
    target, behaviour = oracle(sets, 0.5), leaning(sets, 0.3)
    true = np.array([weights @ one.utility(0.5) for one, weights in zip(sets, target, strict=True)])
    values = 0.75 * true
    found = []
    for n in range(150):
        estimate = corrected(values, draw_log(sets, behaviour, 0.5, np.random.default_rng([7, n])), target)
        assert isinstance(estimate, Estimate)
        found.append(estimate.value)
    assert abs(values.mean() - true.mean()) > 0.05
    assert abs(np.mean(found) - true.mean()) < 4 * np.std(found, ddof=1) / np.sqrt(len(found))


def test_correction_needs_enough_effective_rows_and_one_value_per_row() -> None:
    sets = pool(30, 8)
    log: Logged = draw_log(sets, leaning(sets), 0.5, np.random.default_rng(9))
    assert isinstance(corrected(np.zeros(30), log, oracle(sets, 0.5)), Refused)
    with pytest.raises(ValueError, match="there are 30 rows"):
        corrected(np.zeros(29), log, oracle(sets, 0.5))
