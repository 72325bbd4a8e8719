"""Masks and slots: what is forbidden never counts, and the order of slots does not matter."""

from typing import Any

import numpy as np
import pytest

from catp.training.critic.algorithms import Learner
from catp.training.critic.batches import Decisions, steps_at
from catp.training.critic.decisions import Space
from catp.training.critic.masked import FORBIDDEN, encoder_factory, masked_policy, masked_q_factory
from tests.training.baselines.pages import pages
from tests.training.critic.making import coder_of, tiny

SETS = pages(20)
CODER = coder_of(SETS, tools=6, slots=5)
SPACE = CODER.space
STATES = np.concatenate([CODER.tree(one).states for one in SETS])
ACTIONS = SPACE.layout.actions
ALLOWED = STATES[:, -ACTIONS:] > 0.5


def slot_width(space: Space, prefix: str) -> int:
    return sum(name.startswith(f"{prefix}0.") for name in space.layout.features)


def permuted(states: np.ndarray, tools: np.ndarray, slots: np.ndarray) -> np.ndarray:
    """Move what is in the slots, with their numbers and their part of the mask."""
    layout = SPACE.layout
    plan = layout.index["slot0.taken"]
    value, tool = slot_width(SPACE, "slot"), slot_width(SPACE, "tool")
    found = states.copy()
    at = plan + layout.slots * value
    found[:, plan:at] = states[:, plan:at].reshape(-1, layout.slots, value)[:, slots].reshape(len(states), -1)
    end = at + layout.tools * tool
    found[:, at:end] = states[:, at:end].reshape(-1, layout.tools, tool)[:, tools].reshape(len(states), -1)
    found[:, end : end + layout.slots] = states[:, end : end + layout.slots][:, slots]
    found[:, end + layout.slots : end + layout.slots + layout.tools] = states[:, end + layout.slots :][:, tools]
    found[:, -ACTIONS:] = states[:, -ACTIONS:][:, order(tools, slots)]
    return found


def order(tools: np.ndarray, slots: np.ndarray) -> np.ndarray:
    """Where the action at each place was before."""
    layout = SPACE.layout
    return np.concatenate([tools, layout.tools + slots, [layout.end, layout.stop]])


def values_of(network: str, states: np.ndarray) -> np.ndarray:
    import torch

    torch.manual_seed(3)
    hidden = (16, 16)
    encoder = encoder_factory(SPACE, hidden, network).create((SPACE.width,))
    q_func, _ = masked_q_factory(SPACE, hidden, network).create_discrete(encoder, 0, ACTIONS)
    with torch.no_grad():
        return np.asarray(q_func(torch.from_numpy(states)).q_value.numpy())


@pytest.mark.parametrize("seed", range(4))
def test_permuting_slots_permutes_values(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tools, slots = rng.permutation(SPACE.layout.tools), rng.permutation(SPACE.layout.slots)
    before, after = values_of("slots", STATES), values_of("slots", permuted(STATES, tools, slots))
    np.testing.assert_allclose(after, before[:, order(tools, slots)], atol=1e-5)
    assert before[ALLOWED].std() > 1e-3  # not simply all alike


def test_a_flat_network_minds_the_order() -> None:
    tools, slots = np.array([1, 2, 0, 3, 4, 5]), np.arange(5)
    before, after = values_of("flat", STATES), values_of("flat", permuted(STATES, tools, slots))
    allowed = ALLOWED[:, order(tools, slots)]
    assert np.abs(after - before[:, order(tools, slots)])[allowed].max() > 1e-3


@pytest.mark.parametrize("network", ["slots", "flat"])
def test_what_the_mask_forbids_is_out_of_reach(network: str) -> None:
    values = values_of(network, STATES)
    assert (values[~ALLOWED] == FORBIDDEN).all()
    assert np.abs(values[ALLOWED]).max() < 10


def test_a_policy_gives_forbidden_actions_no_probability() -> None:
    import torch

    policy = masked_policy(SPACE, (16,), "slots")
    with torch.no_grad():
        probability = policy(torch.from_numpy(STATES)).probs.numpy()
    assert probability[~ALLOWED].max() < 1e-6
    assert probability.sum(axis=1) == pytest.approx(np.ones(len(STATES)), abs=1e-5)


def learner(algorithm: Any, **changed: Any) -> tuple[Learner, Any]:
    config = tiny(algorithm=algorithm, tools=6, n_critics=1, **changed)
    made = Learner(config, SPACE)
    batch = steps_at(Decisions.of(map(CODER.tree, SETS)), config, 0)
    from d3rlpy.torch_utility import TorchMiniBatch

    return made, TorchMiniBatch.from_batch(batch, gamma=1.0, compute_returns_to_go=False, device="cpu")


def test_the_penalty_of_cql_is_over_allowed_actions_only() -> None:
    """Against a log-sum-exp in numpy over what the mask allows."""
    made, batch = learner("cql")
    found = float(made.algo.impl._compute_conservative_loss(batch.observations, batch.actions.long()).detach())
    values = made.values(batch.observations.numpy())[0]
    expected = []
    for row, seen in enumerate(batch.observations.numpy()):
        allowed = seen[-ACTIONS:] > 0.5
        logged = values[row, int(batch.actions[row, 0])]
        expected.append(np.log(np.exp(values[row, allowed]).sum()) - logged)
    assert found == pytest.approx(np.mean(expected), abs=1e-5)


@pytest.mark.parametrize("algorithm", ["cql", "dqn", "bcq"])
def test_targets_are_values_of_allowed_actions(algorithm: str) -> None:
    made, batch = learner(algorithm)
    target = made.algo.impl.compute_target(batch).numpy().ravel()
    over = batch.terminals.numpy().ravel() > 0.5
    assert (target[~over] > -5).all()  # never the value of something forbidden
    assert (~over).any()


@pytest.mark.parametrize("algorithm", ["cql", "dqn", "bcq", "bc"])
def test_greedy_actions_are_allowed(algorithm: str) -> None:
    made, _ = learner(algorithm)
    wanted = made.scores(STATES).argmax(axis=1)
    assert ALLOWED[np.arange(len(STATES)), wanted].all()
    if algorithm != "bcq":
        assert (made.algo.predict(STATES) == wanted).all()


def test_bcq_leaves_out_what_is_seldom_done() -> None:
    """Of d3rlpy's own greedy action and ours: the same, and likely under the imitator."""
    import torch

    made, _ = learner("bcq", flexibility=0.9)
    wanted = made.scores(STATES).argmax(axis=1)
    assert (made.algo.predict(STATES) == wanted).all()
    with torch.no_grad():
        likely = made.algo.impl.modules.imitator(torch.from_numpy(STATES)).probs.numpy()
    share = likely[np.arange(len(STATES)), wanted] / likely.max(axis=1)
    assert share.min() >= 0.9 - 1e-5
    assert (made.values(STATES)[0].argmax(axis=1) != wanted).any()


def test_the_transformer_sees_neither_what_follows_nor_forbidden_actions() -> None:
    config = tiny(algorithm="dt", tools=6)
    made = Learner(config, SPACE)
    tree = CODER.tree(SETS[0])
    plans = []
    for path in tree.paths:
        assert path is not None
        plans.append((tree.states[path.states], path.actions, np.full(len(path.actions), 0.5)))
    whole = made.along(plans)
    for (states, actions, to_go), scores in zip(plans, whole, strict=True):
        assert (scores[states[:, -ACTIONS:] < 0.5] < -10).all()
        (begun,) = made.along([(states[:4], actions[:4], to_go[:4])])
        np.testing.assert_allclose(begun, scores[:4], atol=1e-4)  # alone, and beside longer plans
        (asked,) = made.along([(states, actions, to_go + 1)])
        assert np.abs(asked - scores).max() > 1e-6


def test_values_need_an_algorithm_that_learns_them() -> None:
    with pytest.raises(ValueError, match="bc learns no values"):
        learner("bc")[0].values(STATES)
