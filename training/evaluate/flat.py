"""All options of many sets as flat arrays: what the metrics compute on, a hundred thousand sets in a second."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from catp.training.evaluate.candidates import CandidateSet, Floats

__all__ = ["TIE", "FlatSets", "Weights", "flatten", "joined"]

Weights: TypeAlias = Sequence[Floats]
"""One array per set: the probability of choosing each option. Each sums to 1."""

TIE = 1e-12
"""Utilities closer than this are equal."""

_SLACK = 1e-6
"""How far probabilities may be from summing to 1."""


@dataclass(frozen=True)
class FlatSets:
    """Options of all sets, one after another. Set i begins at `starts[i]`; `scale` is per option."""

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    starts: NDArray[np.intp]
    counts: NDArray[np.intp]
    scores: Floats
    prices: Floats
    scale: Floats

    def utility(self, alpha: float) -> Floats:
        """Return the utility of every option; see `CandidateSet.utility`.

        Raises:
            ValueError: alpha is outside [0, 1].
        """
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must be in [0, 1], got {alpha}")
        return alpha * self.scores - (1 - alpha) * self.prices / self.scale

    def sum(self, values: Floats) -> Floats:
        """Sum over the options of each set."""
        return np.add.reduceat(values, self.starts)

    def best(self, values: Floats) -> Floats:
        """Return the highest value of each set."""
        return np.maximum.reduceat(values, self.starts)

    def worst(self, values: Floats) -> Floats:
        """Return the lowest value of each set."""
        return np.minimum.reduceat(values, self.starts)

    def spread(self, per_set: Floats) -> Floats:
        """Repeat a value per set for each of its options."""
        return np.repeat(per_set, self.counts)


def joined(sets: Sequence[CandidateSet], weights: Weights) -> Floats:
    """Join weights into one array, options of all sets one after another.

    Raises:
        ValueError: they are not one probability for each option of each set, summing to 1.
    """
    if len(weights) != len(sets):
        raise ValueError(f"weights for {len(weights)} sets, but there are {len(sets)}")
    for one, mine in zip(sets, weights, strict=True):
        if np.shape(mine) != (len(one),):
            raise ValueError(f"set {one.id!r} has {len(one)} options, its weights have shape {np.shape(mine)}")
    flat = np.concatenate([np.asarray(mine, dtype=np.float64) for mine in weights]) if sets else np.zeros(0)
    owner = np.repeat(np.arange(len(sets)), [len(one) for one in sets])
    sums = np.bincount(owner, flat, minlength=len(sets))
    bad = [*np.flatnonzero(~(np.abs(sums - 1) <= _SLACK)), *owner[flat < 0]]  # a nan is off by more than any slack
    if bad:
        place = int(bad[0])
        raise ValueError(
            f"set {sets[place].id!r}: weights must be probabilities that sum to 1, got {np.asarray(weights[place])}"
        )
    return flat


def flatten(sets: Sequence[CandidateSet]) -> FlatSets:
    """Lay the options of sets out in flat arrays.

    Raises:
        ValueError: there are no sets, or a set has no options, or an option no score or price.
    """
    if not sets:
        raise ValueError("no candidate sets: is the file empty, or has nothing been measured?")
    empty = next((one.id for one in sets if not len(one)), None)
    if empty is not None:
        raise ValueError(f"set {empty!r} has no options")
    counts = np.array([len(one) for one in sets], dtype=np.intp)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.intp)
    scores = np.array([option.score for one in sets for option in one.options], dtype=np.float64)
    prices = np.array([option.price for one in sets for option in one.options], dtype=np.float64)
    for what, values in (("score", scores), ("price", prices)):
        if not np.isfinite(values).all():
            place = int(np.flatnonzero(~np.isfinite(values))[0])
            owner = int(np.searchsorted(starts, place, side="right")) - 1
            option = sets[owner].options[place - int(starts[owner])]
            raise ValueError(
                f"option {option.id!r} of set {sets[owner].id!r} has the {what} {values[place]}: leave options without "
                f"a measured {what} out (were these sets hidden from a chooser?)"
            )
    scale = np.repeat(np.array([one.price_scale for one in sets], dtype=np.float64), counts)
    return FlatSets(
        tuple(one.id for one in sets), tuple(one.group for one in sets), starts, counts, scores, prices, scale
    )
