"""Logged choices: one plan per row, how likely the logging policy was to choose it, and what came of it.

This is all that off-policy estimates (`catp.training.evaluate.ope`) may look at. A row's set names the plans the policy
could have chosen; outcomes of options that were not chosen are never read, so they may be hidden.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catp.training.evaluate.candidates import CandidateSet, Floats
from catp.training.evaluate.flat import Weights, joined

__all__ = ["SMALLEST_PROPENSITY", "Logged", "draw_log", "from_records"]

SMALLEST_PROPENSITY = 1e-6
"""A row less likely than this would count for a million others; such a propensity is a mistake or of no use."""


@dataclass(frozen=True)
class Logged:
    """Logged choices, one row each: `sets[i]` is what row i chose from (a set may occur in many rows).

    Raises:
        ValueError: a propensity is outside [`SMALLEST_PROPENSITY`, 1], a reward missing, or an option not there.
    """

    sets: tuple[CandidateSet, ...]
    chosen: NDArray[np.intp]
    """Position of the chosen option in its set."""
    propensity: Floats
    """Probability of the chosen option under the policy that chose it, before it was drawn."""
    reward: Floats
    """Utility of the chosen option at the row's alpha."""
    price: Floats
    """Price of the chosen option, nano-USD; nan if unknown."""
    alpha: Floats
    behaviour: Weights | None = None
    """The whole logging policy, if it is known: then options it never chooses are known, too."""

    def __post_init__(self) -> None:
        for name in ("chosen", "propensity", "reward", "price", "alpha"):
            if getattr(self, name).shape != (len(self.sets),):
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, but there are {len(self.sets)} rows")
        if not self.sets:
            raise ValueError("no logged rows")
        for row, (one, place) in enumerate(zip(self.sets, self.chosen, strict=True)):
            if not 0 <= place < len(one):
                raise ValueError(f"row {row}: set {one.id!r} has no option {place}")
        self._refuse(~(self.propensity > 0), "propensity", "must be above 0: log the probability of every choice")
        self._refuse(self.propensity > 1, "propensity", "must be at most 1")
        self._refuse(
            self.propensity < SMALLEST_PROPENSITY, "propensity",
            f"is below {SMALLEST_PROPENSITY}: log with a policy that explores, or leave such rows out",
        )  # fmt: skip
        self._refuse(~np.isfinite(self.reward), "reward", "must be a number: leave rows without a measured outcome out")

    def __len__(self) -> int:
        return len(self.sets)

    def _refuse(self, bad: NDArray[np.bool_], name: str, why: str) -> None:
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            one = self.sets[row]
            option = one.options[self.chosen[row]].id
            value = getattr(self, name)[row]
            raise ValueError(f"row {row} (option {option!r} of set {one.id!r}): {name} {value} {why}")


def draw_log(sets: Sequence[CandidateSet], behaviour: Weights, alpha: float, rng: np.random.Generator) -> Logged:
    """Draw one option per set from a behaviour policy: a log whose truth is known.

    Raises:
        ValueError: weights do not fit, or a drawn option has no score or price.
    """
    joined(sets, behaviour)
    chosen = []
    for mine, u in zip(behaviour, rng.random(len(sets)), strict=True):
        heights = np.cumsum(mine)
        chosen.append(int(np.searchsorted(heights, u * heights[-1], side="right")))
    drawn = [one.options[place] for one, place in zip(sets, chosen, strict=True)]
    scale = np.array([one.price_scale for one in sets], dtype=np.float64)
    score = np.array([option.score for option in drawn])
    price = np.array([option.price for option in drawn])
    return Logged(
        sets=tuple(sets),
        chosen=np.array(chosen, dtype=np.intp),
        propensity=np.array([mine[place] for mine, place in zip(behaviour, chosen, strict=True)]),
        reward=alpha * score - (1 - alpha) * price / scale,
        price=price,
        alpha=np.full(len(sets), float(alpha)),
        behaviour=behaviour,
    )


def from_records(sets: Sequence[CandidateSet], alpha: float, *, policy: str | None = None) -> Logged:
    """Take as rows the options that carry a propensity (and were chosen by `policy`, if one is named).

    Each such record must be one independent draw: a file in which every plan of a set was executed and carries the
    probability with which it *would* have been chosen is no log. Options without a propensity, or without a score or
    a price, only say what else could have been chosen.

    Raises:
        ValueError: no option carries a propensity, or one is outside the allowed range.
    """
    rows = [
        (one, place, option)
        for one in sets
        for place, option in enumerate(one.options)
        if option.propensity is not None
        and (policy is None or option.policy == policy)
        and np.isfinite(option.score)
        and np.isfinite(option.price)
    ]
    if not rows:
        whose = "" if policy is None else f" of policy {policy!r}"
        raise ValueError(
            f"none of the records{whose} in {len(sets)} sets carries a propensity: off-policy estimates need "
            "policy.propensity, the probability of the plan under the policy that chose it"
        )
    reward = np.array([alpha * option.score - (1 - alpha) * option.price / one.price_scale for one, _, option in rows])
    return Logged(
        sets=tuple(one for one, _, _ in rows),
        chosen=np.array([place for _, place, _ in rows], dtype=np.intp),
        propensity=np.array([option.propensity for _, _, option in rows], dtype=np.float64),
        reward=reward,
        price=np.array([option.price for _, _, option in rows]),
        alpha=np.full(len(rows), float(alpha)),
    )
