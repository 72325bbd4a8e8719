"""The decisions of many plans as arrays, and mini-batches of them for d3rlpy.

States are stored once with alpha 0; a batch draws a weight of quality for each of its rows and writes it, and the
rewards that go with it, when it is made. So more weights cost no memory. A batch depends on the seed and on the number
of the gradient step only: a run that is resumed sees the batches it would have seen.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catp.training.critic.config import CriticConfig
from catp.training.critic.decisions import Ints, Tree
from catp.training.critic.libraries import libraries
from catp.training.evaluate.candidates import Floats

__all__ = ["Decisions", "plans_at", "steps_at", "targets_of"]

Floats32 = NDArray[np.float32]

_WORST = -10.0
"""A return below this would come near the value of what the mask forbids."""


@dataclass(frozen=True)
class Decisions:
    """Plans one after another; n decisions in all. The last row of `states` stands for the end."""

    states: Floats32
    """[S + 1, D], alpha 0"""
    state: Ints
    """Row of each decision, [n]."""
    action: Ints
    price: Floats
    """What each decision cost, in shares of the price scale, [n]."""
    score: Floats
    """Score of the plan that each decision belongs to, [n]."""
    start: Ints
    """First decision of each plan, [plans]."""
    length: Ints
    """Decisions of each plan, [plans]."""

    @classmethod
    def of(cls, trees: Iterable[Tree]) -> "Decisions":
        """Join the plans of measured sets.

        Raises:
            ValueError: no plan can be told as decisions, or a price is so high that values would be useless.
        """
        states, state, action, price, score, length = [], [], [], [], [], []
        rows = 0
        for tree in trees:
            for path, earned in zip(tree.paths, tree.scores, strict=True):
                if path is None:
                    continue
                state.append(path.states + rows)
                action.append(path.actions)
                price.append(path.prices)
                score.append(np.full(len(path.actions), earned))
                length.append(len(path.actions))
                if not path.prices.sum() < -_WORST:
                    raise ValueError(
                        f"set {tree.id!r}: a plan costs {path.prices.sum():.3g} times the price scale; values are "
                        f"learned up to {-_WORST:g} times. Is price_scale in USD?"
                    )
            if any(path is not None for path in tree.paths):
                states.append(tree.states)
                rows += len(tree.states)
        if not length:
            raise ValueError("none of the plans can be told as decisions: see Coder.left_out for why")
        states.append(np.zeros_like(states[0][:1]))
        lengths = np.array(length, dtype=np.intp)
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.intp)
        return cls(
            np.concatenate(states), np.concatenate(state), np.concatenate(action), np.concatenate(price),
            np.concatenate(score), starts, lengths,
        )  # fmt: skip

    def rewards(self, alpha: Floats | float) -> Floats:
        """Return the reward of each decision, [n]; over a plan they add up to its utility."""
        earned = -(1 - np.asarray(alpha)) * self.price
        last = self.start + self.length - 1
        earned[last] += (np.asarray(alpha) * self.score)[last]
        return np.asarray(earned, dtype=np.float64)


def steps_at(data: Decisions, config: CriticConfig, step: int) -> Any:
    """Return d3rlpy's mini-batch of single decisions for a gradient step, looking `n_steps` ahead."""
    _, d3rlpy = libraries()
    rng = np.random.default_rng([config.seed, 1, step])
    at = rng.integers(0, len(data.action), config.batch)
    last = round(config.ends * config.batch)
    closing = rng.integers(0, len(data.start), last)
    at[:last] = (data.start + data.length - 1)[closing]
    alpha = rng.choice(config.alphas, config.batch)
    plan = np.searchsorted(data.start, at, side="right") - 1
    end = data.start[plan] + data.length[plan]
    after = np.minimum(at + config.n_steps, end)
    paid = np.concatenate([[0.0], np.cumsum(data.price)])
    over = after == end
    reward = -(1 - alpha) * (paid[after] - paid[at]) + np.where(over, alpha * data.score[at], 0.0)
    following = np.where(over, 0, np.minimum(after, len(data.action) - 1))
    rows = np.where(over, len(data.states) - 1, data.state[following])
    columns = {
        "actions": data.action[at], "rewards": reward, "next_actions": np.where(over, 0, data.action[following]),
        "terminals": over, "intervals": after - at,
    }  # fmt: skip
    return d3rlpy.dataset.TransitionMiniBatch(
        observations=_at_alpha(data.states[data.state[at]], alpha),
        next_observations=_at_alpha(data.states[rows], np.where(over, 0.0, alpha)),
        transitions=[], **{name: values.astype(np.float32)[:, None] for name, values in columns.items()},
    )  # fmt: skip


def plans_at(data: Decisions, config: CriticConfig, step: int) -> Any:
    """Return d3rlpy's mini-batch of whole plans, padded in front, with what each still returns."""
    _, d3rlpy = libraries()
    rng = np.random.default_rng([config.seed, 2, step])
    count = max(1, config.batch // 16)
    plans, alphas = rng.integers(0, len(data.start), count), rng.choice(config.alphas, count)
    context, width = int(data.length[plans].max()), data.states.shape[1]
    observations = np.zeros((count, context, width), dtype=np.float32)
    columns = np.zeros((5, count, context), dtype=np.float32)  # action, reward, return to go, timestep, is there
    for row, (plan, alpha) in enumerate(zip(plans, alphas, strict=True)):
        first = data.start[plan]
        at = np.arange(first, first + data.length[plan])
        n = len(at)
        reward = -(1 - alpha) * data.price[at]
        reward[-1] += alpha * data.score[at[-1]]
        observations[row, context - n :] = _at_alpha(data.states[data.state[at]], np.full(n, alpha))
        to_go = np.cumsum(reward[::-1])[::-1]
        columns[:, row, context - n :] = (data.action[at], reward, to_go, np.arange(n) + 1, np.ones(n))
    action, rewards, returns, timesteps, there = columns
    return d3rlpy.dataset.TrajectoryMiniBatch(
        observations=observations, actions=action[..., None], rewards=rewards[..., None],
        returns_to_go=returns[..., None], terminals=np.zeros((count, context, 1), dtype=np.float32),
        timesteps=timesteps, masks=there, length=context,
    )  # fmt: skip


def targets_of(data: Decisions, alphas: Iterable[float]) -> dict[float, float]:
    """Return, for each weight, the utility that nine in ten logged plans stay below: what a policy is asked for."""
    cost = np.add.reduceat(data.price, data.start)
    return {alpha: float(np.quantile(alpha * data.score[data.start] - (1 - alpha) * cost, 0.9)) for alpha in alphas}


def _at_alpha(states: Floats32, alpha: Floats) -> Floats32:
    found = states.copy()
    found[:, 0] = alpha
    return found
