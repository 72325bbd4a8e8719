"""Regret: how much utility a choice among measured plans leaves on the table.

    regret of a set        utility of its best option - mean utility under the weights
    normalised regret      sum of regrets / sum of (best - worst): 0 is the oracle, 1 the worst choice everywhere

Only sets with two or more options count: with one, there is nothing to choose. The oracle is a maximum over noisy
single measurements, so 0 is not within reach of a planner that sees only the input. A policy is given by `Weights`:
for each set, the probability of choosing each option; ties are an even choice among equals.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from catp.training.evaluate.bootstrap import interval, over_groups
from catp.training.evaluate.candidates import CandidateSet, Floats
from catp.training.evaluate.flat import TIE, Weights, flatten, joined

__all__ = ["Regret", "Weights", "best_of", "oracle", "regret", "uniform", "worst"]


@dataclass(frozen=True)
class Regret:
    """What a policy reaches at one alpha. Means are over sets with two or more options, except where it says all.

    `regret` is normalised, `low` and `high` are its 95 % interval by bootstrap over groups; `price` is in nano-USD.
    """

    sets: int
    """Sets with two or more options."""
    inputs_all: int
    """All sets."""
    utility: float
    score: float
    price: float
    regret: float
    low: float
    high: float
    hit: float
    """How often the choice is a best option."""
    utility_all: float
    """Mean utility over all sets."""


def best_of(values: Floats) -> Floats:
    """Return the weights that choose evenly among the highest values. nan counts as lowest of all.

    Raises:
        ValueError: there are no values.
    """
    if not len(values):
        raise ValueError("nothing to choose from")
    known = np.where(np.isnan(values), -np.inf, values)
    best = known >= known.max() - TIE
    weights: Floats = best / best.sum()
    return weights


def oracle(sets: Sequence[CandidateSet], alpha: float) -> list[Floats]:
    """Return the weights of the best measured options."""
    return [best_of(one.utility(alpha)) for one in sets]


def worst(sets: Sequence[CandidateSet], alpha: float) -> list[Floats]:
    """Return the weights of the worst measured options."""
    return [best_of(-one.utility(alpha)) for one in sets]


def uniform(sets: Sequence[CandidateSet]) -> list[Floats]:
    """Return the weights of an even choice."""
    return [np.full(len(one), 1 / len(one)) for one in sets]


def regret(sets: Sequence[CandidateSet], weights: Weights, alpha: float, *, draws: int = 1000, seed: int = 0) -> Regret:
    """Measure a policy at one alpha. If no set has anything to lose, the regret is 0.

    Raises:
        ValueError: no set has two options, a score or a price is missing, weights do not fit, or alpha is off [0, 1].
    """
    flat = flatten(sets)
    chosen, utility = joined(sets, weights), flat.utility(alpha)
    count = flat.counts >= 2
    if not count.any():
        raise ValueError(f"none of {len(sets)} sets has two or more options: there is nothing to choose")
    best = flat.best(utility)
    got = flat.sum(chosen * utility)
    hit = flat.sum(chosen * (utility >= flat.spread(best) - TIE))
    lost = np.column_stack([best - got, best - flat.worst(utility)])[count]
    groups = [group for group, counts in zip(flat.groups, count, strict=True) if counts]
    low, high = interval(over_groups(groups, lost, _share, draws, seed))
    return Regret(
        sets=int(count.sum()),
        inputs_all=len(sets),
        utility=float(got[count].mean()),
        score=float(flat.sum(chosen * flat.scores)[count].mean()),
        price=float(flat.sum(chosen * flat.prices)[count].mean()),
        regret=float(_share(lost.sum(axis=0)[None])[0]),
        low=low,
        high=high,
        hit=float(hit[count].mean()),
        utility_all=float(got.mean()),
    )


def _share(sums: Floats) -> Floats:
    """Lost / could be lost, of sums [draws, 2]; 0 where nothing could be lost."""
    lost, spread = sums[:, 0], sums[:, 1]
    return np.divide(lost, spread, out=np.zeros_like(lost), where=spread > 0)
