"""Fitted Q evaluation of plan construction: what a policy's plans are worth, from logged steps of other plans.

A plan is built step by step (choose a tool, link it, stop); logged plans are episodes of that decision process. FQE
(Le, Voloshin and Yue, arXiv 1903.08738) regresses Q(s, a) on r + gamma Q'(s', a'), a' being what the evaluated policy
does in s'. Nothing else is asked of the policy: run it once over the logged observations, and pass its choices as
`Episodes.policy_actions`. d3rlpy's `DiscreteFQE` does the fitting. It asks an algorithm for a'; the table policy here
answers from a column that is put behind the observations for it, which the networks do not see.

Like `dm`, FQE says nothing about its own error, and it extrapolates where the log has no such step. With one column
per state and every action logged it was within 0.001 of dynamic programming (`tests/training/evaluate/test_fqe.py`).
Where plans are summarised by features it was 2 to 22 % off (`benchmarks/ope.py`, two logs of two pools, 1,500 steps
without scaling), and earlier trials found 5 to 26 %. So give its values to `corrected`, which adds what logged plans
show it missed, and left 0.2 to 4.8 % there: doubly robust at the level of whole plans, with the refusals of
`catp.training.evaluate.ope`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catp.training.evaluate.candidates import Floats
from catp.training.evaluate.flat import Weights
from catp.training.evaluate.logged import Logged
from catp.training.evaluate.ope import Estimate, Refused, estimate

__all__ = ["Episodes", "FittedQ", "corrected", "fit"]

Ints = NDArray[np.intp]


@dataclass(frozen=True)
class Episodes:
    """Logged plans as steps, episode after episode; n steps in all.

    Raises:
        ValueError: arrays do not fit together, an action is out of range, or the last episode is not closed.
    """

    observations: NDArray[np.float32]
    """[n, d]"""
    actions: Ints
    """What was done, [n], each in [0, n_actions)."""
    rewards: Floats
    terminals: NDArray[np.bool_]
    """True at the last step of each episode."""
    policy_actions: Ints
    """What the evaluated policy does in each observation, [n]."""
    n_actions: int

    def __post_init__(self) -> None:
        n = len(self.observations)
        if self.observations.ndim != 2 or n == 0:
            raise ValueError(f"observations must be [steps, features], got shape {self.observations.shape}")
        for name in ("actions", "rewards", "terminals", "policy_actions"):
            if getattr(self, name).shape != (n,):
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, but there are {n} observations")
        for name in ("actions", "policy_actions"):
            wrong = np.flatnonzero((getattr(self, name) < 0) | (getattr(self, name) >= self.n_actions))
            if len(wrong):
                found = getattr(self, name)[wrong[0]]
                raise ValueError(f"{name}[{wrong[0]}] is {found}: actions are 0 to {self.n_actions - 1}")
        if not (np.isfinite(self.observations).all() and np.isfinite(self.rewards).all()):
            raise ValueError("observations and rewards must be numbers, not nan or infinite")
        if not self.terminals[-1]:
            raise ValueError("the last episode is not closed: terminals must be true at its last step")

    @property
    def starts(self) -> Ints:
        """Positions of the first step of each episode."""
        return np.concatenate([[0], np.flatnonzero(self.terminals)[:-1] + 1]).astype(np.intp)


@dataclass(frozen=True)
class FittedQ:
    """Q of the evaluated policy."""

    model: Any
    """The fitted `d3rlpy.ope.DiscreteFQE`."""
    mean: NDArray[np.float32]
    spread: NDArray[np.float32]
    """Mean and standard deviation of each feature where the model was fitted."""

    def q(self, observations: NDArray[np.float32], actions: Ints) -> Floats:
        """Return the value of doing `actions` and following the policy from then on, [n]."""
        scaled = _scaled(observations, self.mean, self.spread)
        found = self.model.predict_value(_with_actions(scaled, actions), actions)
        return np.asarray(found, dtype=np.float64)

    def start_values(self, episodes: Episodes) -> Floats:
        """Return the policy's value from the first observation of each episode; their mean is the plain estimate."""
        first = episodes.starts
        return self.q(episodes.observations[first], episodes.policy_actions[first])


def fit(
    episodes: Episodes,
    *,
    steps: int = 4000,
    gamma: float = 1.0,
    learning_rate: float = 1e-3,
    batch_size: int = 128,
    hidden: Sequence[int] = (128, 128),
    seed: int = 0,
) -> FittedQ:
    """Fit Q of the evaluated policy to logged steps, on the CPU. Equal seeds give equal fits.

    Features are scaled to mean 0 and standard deviation 1: what tells two plans apart may be a price in one corner of
    a wide observation. On plans of seven decisions worth 0.34 (`catp.training.data.mdp`), 4,000 steps gave 0.32 and
    0.33 with scaling, 0.17 and 0.22 without; 1,000 steps were too few (0.16 to 0.27). Fit longer for longer plans, and
    see that the value no longer moves.

    Raises:
        ImportError: torch or d3rlpy is not installed.
    """
    torch, d3rlpy = _libraries()
    rng = np.random.default_rng([seed, len(episodes.actions)])
    mean, spread = episodes.observations.mean(axis=0), episodes.observations.std(axis=0)
    batches = _batches(episodes, _scaled(episodes.observations, mean, spread))
    config = d3rlpy.ope.FQEConfig(
        learning_rate=learning_rate,
        batch_size=batch_size,
        gamma=gamma,
        encoder_factory=_encoder(list(hidden)),
        target_update_interval=100,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = d3rlpy.ope.DiscreteFQE(algo=_TablePolicy(), config=config)
        model.create_impl((episodes.observations.shape[1] + 1,), episodes.n_actions)
        for _ in range(steps):
            model.update(batches(rng.integers(0, len(episodes.actions), batch_size)))
    return FittedQ(model, mean, spread)


def corrected(values: Floats, log: Logged, target: Weights) -> Estimate | Refused:
    """Correct values by what the logged plans earned: the mean of V + w (r - V), w as in `ope`.

    `values` are V for each row's input (`FittedQ.start_values`, one episode per row). As V does not depend on which
    plan was logged and w has the mean 1, the estimate is unbiased whatever V is; fit V on rows of other groups.

    Raises:
        ValueError: values or weights do not fit the rows.
    """
    if values.shape != (len(log),):
        raise ValueError(f"values have shape {values.shape}, but there are {len(log)} rows")
    return estimate("dr", log, target, [np.full(len(one), value) for one, value in zip(log.sets, values, strict=True)])


class _TablePolicy:
    """Stands where d3rlpy expects an algorithm: the best action is the last column of the observation."""

    @property
    def impl(self) -> "_TablePolicy":
        return self

    @property
    def _impl(self) -> "_TablePolicy":  # d3rlpy looks here when it builds the networks
        return self

    def predict_best_action(self, observations: Any) -> Any:
        return observations[:, -1].long()


def _with_actions(observations: NDArray[np.float32], actions: Ints) -> NDArray[np.float32]:
    return np.column_stack([observations, actions]).astype(np.float32)


def _scaled(
    observations: NDArray[np.float32], mean: NDArray[np.float32], spread: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Scale features; those that never varied become 0, so that a new value of theirs is not magnified."""
    varied = spread > 1e-6
    scaled: NDArray[np.float32] = np.where(varied, (observations - mean) / np.where(varied, spread, 1), 0)
    return scaled.astype(np.float32)


def _batches(episodes: Episodes, observations: NDArray[np.float32]) -> Any:
    """Return a function from positions to d3rlpy's mini-batch of those transitions."""
    _, d3rlpy = _libraries()
    seen = _with_actions(observations, episodes.policy_actions)
    after = np.vstack([seen[1:], np.zeros_like(seen[:1])])  # what follows a last step is never looked at
    columns = {
        "actions": episodes.actions,
        "rewards": episodes.rewards,
        "next_actions": np.append(episodes.actions[1:], 0),
        "terminals": episodes.terminals,
        "intervals": np.ones(len(seen)),
    }
    ready = {name: values.astype(np.float32)[:, None] for name, values in columns.items()}

    def batch(places: Ints) -> Any:
        parts = {name: values[places] for name, values in ready.items()}
        return d3rlpy.dataset.TransitionMiniBatch(
            observations=seen[places], next_observations=after[places], transitions=[], **parts
        )

    return batch


def _encoder(hidden: list[int]) -> Any:
    """Return a factory of perceptrons that do not see the last column."""
    torch, d3rlpy = _libraries()

    class Blind(torch.nn.Module):  # type: ignore[misc, name-defined]  # torch is imported late
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, observations: Any) -> Any:
            return self.inner(observations[:, :-1])

    class BlindFactory(d3rlpy.models.encoders.VectorEncoderFactory):  # type: ignore[misc, name-defined]
        def create(self, observation_shape: Sequence[int]) -> Any:
            return Blind(super().create([observation_shape[0] - 1]))

    return BlindFactory(hidden_units=hidden)


def _libraries() -> tuple[Any, Any]:
    try:
        import gym_notices.notices  # type: ignore[import-untyped]  # comes with gym

        gym_notices.notices.notices.clear()  # or importing d3rlpy prints that gym is unmaintained
        import d3rlpy
        import d3rlpy.ope
        import torch
    except ImportError as error:
        raise ImportError("fitted Q evaluation needs torch and d3rlpy: pip install 'catp[train]'") from error
    return torch, d3rlpy
