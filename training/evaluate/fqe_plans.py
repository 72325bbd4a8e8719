"""Logged plans as episodes for fitted Q evaluation, in the MDP of `catp.training.data.mdp`.

    encoder, plans = encode(records, toolset)                   the logged plans, one per row
    episodes = of_plans(list(plans), encoder.layout, 0.5, policy)
    values = fit(episodes).start_values(episodes)

The evaluated policy is asked once about every logged observation. `choosing` makes one of a choice among measured
plans; a model that builds plans itself answers with its own next action.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from catp.training.data.mdp import Episode
from catp.training.data.mdp_layout import Layout
from catp.training.evaluate.fqe import Episodes

__all__ = ["StepPolicy", "choosing", "of_plans"]

StepPolicy: TypeAlias = Callable[[Episode, NDArray[np.float32]], NDArray[np.int64]]
"""Maps a logged plan and its observations, [T, D], to what the policy would do in each, [T]."""


def of_plans(plans: Sequence[Episode], layout: Layout, alpha: float, policy: StepPolicy) -> Episodes:
    """Join logged plans into one array of steps, with rewards at this alpha; returns are utilities.

    Raises:
        ValueError: there are no plans, or the policy does what the mask forbids.
    """
    if not plans:
        raise ValueError("no logged plans: see Encoder.left_out for why records cannot be told as decisions")
    observations, rewards, chosen = [], [], []
    for plan in plans:
        seen, earned = plan.at(alpha)
        mine = np.asarray(policy(plan, seen))
        _check(plan, mine, seen[:, -layout.actions :])
        observations.append(seen)
        rewards.append(earned)
        chosen.append(mine)
    ends = np.cumsum([len(plan.actions) for plan in plans]) - 1
    terminals = np.zeros(ends[-1] + 1, dtype=bool)
    terminals[ends] = True
    return Episodes(
        observations=np.concatenate(observations),
        actions=np.concatenate([plan.actions for plan in plans]).astype(np.intp),
        rewards=np.concatenate(rewards).astype(np.float64),
        terminals=terminals,
        policy_actions=np.concatenate(chosen).astype(np.intp),
        n_actions=layout.actions,
    )


def choosing(measured: Iterable[Episode], weights: Mapping[str, float]) -> StepPolicy:
    """Return the policy that builds the measured plan of largest weight, step by step.

    After steps of a logged plan it goes on as the heaviest measured plan that begins so: with those it would build
    itself it agrees to the end, elsewhere it is only a completion, on which its own value does not depend.

    Args:
        measured: all measured plans of the sets that will be asked about.
        weights: how much the policy wants each, by record id; what is absent counts as 0.
    """
    heaviest: dict[tuple[str, tuple[int, ...]], tuple[float, int]] = {}
    for plan in measured:
        weight, actions = weights.get(plan.id, 0.0), tuple(int(action) for action in plan.actions)
        for at, action in enumerate(actions):
            key = (plan.candidate_set, actions[:at])
            if key not in heaviest or weight > heaviest[key][0]:
                heaviest[key] = weight, action

    def policy(plan: Episode, _: NDArray[np.float32]) -> NDArray[np.int64]:
        actions = tuple(int(action) for action in plan.actions)
        try:
            return np.array([heaviest[plan.candidate_set, actions[:at]][1] for at in range(len(actions))])
        except KeyError:
            raise ValueError(f"plan {plan.id!r} of set {plan.candidate_set!r} is not among the measured ones") from None

    return policy


def _check(plan: Episode, chosen: NDArray[np.int64], mask: NDArray[np.float32]) -> None:
    if chosen.shape != plan.actions.shape:
        raise ValueError(f"plan {plan.id!r}: {len(plan.actions)} steps, but the policy answered {chosen.shape}")
    for at, action in enumerate(chosen):
        if not (0 <= action < mask.shape[1] and mask[at, action]):
            raise ValueError(f"plan {plan.id!r}, step {at}: the policy does {action}, which the mask forbids")
