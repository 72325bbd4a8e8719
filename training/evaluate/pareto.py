"""Score against price over a sweep of alpha: Pareto points, hypervolume, sparsity.

A policy that is told alpha gives one point (mean score, mean price) for each alpha. Its front is what no other of its
points beats in both; the hypervolume is the area that the front dominates, counted from a reference point:

    score ^
          |            o------------      what lies right of and below a point is dominated by it
          |      o-----'           |
          |      |  hypervolume    |
          |      '-----------------x reference (worst score, dearest price)
          +-------------------------> price

The reference is what the worst choices come to: the mean over sets of the lowest score, and of the dearest price.
It depends on the sets only, so hypervolumes of policies on the same sets compare; their ratio to the oracle's does not
depend on units. Sparsity is that of PEDA (Zhu, Dang and Grover, arXiv 2305.00567, section 3): the mean squared gap
between neighbours on the front; lower is an evener front.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from catp.training.evaluate.candidates import CandidateSet, Floats
from catp.training.evaluate.flat import TIE, FlatSets, Weights, flatten, joined

__all__ = [
    "ALPHAS", "Point", "front", "hv_ratio", "hypervolume", "ideal", "oracle_points", "points", "reference", "sparsity"
]  # fmt: skip

ALPHAS = (0.0, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0)
"""The sweep of every table."""


@dataclass(frozen=True, order=True)
class Point:
    """Mean price (nano-USD) and mean score of a policy, and the alpha it was told, if any."""

    price: float
    score: float
    alpha: float | None = None


def points(sets: Sequence[CandidateSet], weights_by_alpha: Mapping[float, Weights]) -> list[Point]:
    """Return a policy's point for each alpha, in order of alpha; means over sets with two or more options.

    Raises:
        ValueError: no set has two options, a score or a price is missing, or weights do not fit.
    """
    usable = _with_choice(sets)
    flat = flatten(usable)
    found = []
    for alpha, weights in sorted(weights_by_alpha.items()):
        if len(weights) != len(sets):
            raise ValueError(f"alpha {alpha}: weights for {len(weights)} sets, but there are {len(sets)}")
        chosen = joined(usable, [mine for one, mine in zip(sets, weights, strict=True) if len(one) >= 2])
        found.append(_point(flat, chosen, alpha))
    return found


def oracle_points(sets: Sequence[CandidateSet], alphas: Iterable[float] = ALPHAS) -> list[Point]:
    """Return the points of the best choice at each alpha."""
    flat = flatten(_with_choice(sets))
    found = []
    for alpha in sorted(alphas):
        utility = flat.utility(alpha)
        best = (utility >= flat.spread(flat.best(utility)) - TIE).astype(np.float64)
        found.append(_point(flat, best / flat.spread(flat.sum(best)), alpha))
    return found


def front(found: Iterable[Point]) -> list[Point]:
    """Return the non-dominated points, cheapest first; of equal points the first."""
    kept: list[Point] = []
    for point in sorted(found, key=lambda p: (p.price, -p.score)):
        if not kept or point.score > kept[-1].score:
            kept.append(point)
    return kept


def hypervolume(found: Iterable[Point], against: Point) -> float:
    """Return the area (score x nano-USD) the points dominate within the reference; 0 if none is within it."""
    inside = front(p for p in found if p.price < against.price and p.score > against.score)
    corners = pairwise([*inside, against])
    return sum(((p.score - against.score) * (after.price - p.price) for p, after in corners), 0.0)


def reference(sets: Sequence[CandidateSet]) -> Point:
    """Return the reference point: the mean lowest score and the mean dearest price.

    They are the lowest mean score and the dearest mean price that the worst choice reaches at any alpha (at 1 and 0).
    """
    flat = flatten(_with_choice(sets))
    return Point(float(flat.best(flat.prices).mean()), float(flat.worst(flat.scores).mean()))


def ideal(sets: Sequence[CandidateSet]) -> Point:
    """Return the point no policy passes: the mean highest score and the mean lowest price."""
    flat = flatten(_with_choice(sets))
    return Point(float(flat.worst(flat.prices).mean()), float(flat.best(flat.scores).mean()))


FEWEST = 2


def hv_ratio(sets: Sequence[CandidateSet], weights_by_alpha: Mapping[float, Weights]) -> float:
    """Return the policy's hypervolume over the oracle's at the same alphas.

    The oracle is the best at each alpha, not in area: over few alphas a policy's area can be larger, so at least two
    are asked for.

    Raises:
        ValueError: as `points`; or there are fewer than two alphas, or the sets leave nothing to choose.
    """
    if len(weights_by_alpha) < FEWEST:
        raise ValueError(f"a ratio of areas needs at least {FEWEST} alphas, got {len(weights_by_alpha)}")
    against = reference(sets)
    best = hypervolume(oracle_points(sets, weights_by_alpha), against)
    if best <= 0:
        raise ValueError("the oracle dominates no area: at least one alpha, and options that differ, are needed")
    return hypervolume(points(sets, weights_by_alpha), against) / best


def sparsity(found: Iterable[Point], worst: Point, best: Point) -> float | None:
    """Return the mean squared gap between neighbours of the front; None if it has one point.

    PEDA leaves objectives in their own units; ours differ by orders of magnitude, so both are scaled to [0, 1] first
    by `worst` (`reference`) and `best` (`ideal`).
    """
    kept = front(found)
    if len(kept) < 2:
        return None
    price = np.array([p.price for p in kept]) / ((worst.price - best.price) or 1.0)
    score = np.array([p.score for p in kept]) / ((best.score - worst.score) or 1.0)
    return float((np.diff(price) ** 2 + np.diff(score) ** 2).sum() / (len(kept) - 1))


def _point(flat: FlatSets, chosen: Floats, alpha: float) -> Point:
    return Point(float(flat.sum(chosen * flat.prices).mean()), float(flat.sum(chosen * flat.scores).mean()), alpha)


def _with_choice(sets: Sequence[CandidateSet]) -> list[CandidateSet]:
    found = [one for one in sets if len(one) >= 2]
    if not found:
        raise ValueError(f"none of {len(sets)} sets has two or more options: there is nothing to choose")
    return found
