"""How long the chosen plans take: along the critical path (run concurrently) and one call after another."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from catp.training.evaluate.candidates import CandidateSet, Floats
from catp.training.evaluate.flat import Weights, joined

__all__ = ["Latency", "Spread", "latency"]


@dataclass(frozen=True)
class Spread:
    """Milliseconds: mean, median and 95th percentile."""

    mean: float
    median: float
    p95: float


@dataclass(frozen=True)
class Latency:
    """Latency of what a policy chooses, over all sets. None if nothing it chooses was timed both ways."""

    timed: float
    """Share of choices whose two latencies are known; the rest is left out."""
    critical: Spread | None
    """The longest chain of each plan: what it takes when everything that can runs at once."""
    serial: Spread | None
    """The sum of all calls of each plan."""
    speedup: float | None
    """Mean serial over mean critical: what concurrency saves. 1 for chains."""


def latency(sets: Sequence[CandidateSet], weights: Weights) -> Latency:
    """Measure the latency of a policy's choices.

    Raises:
        ValueError: weights are not one probability for each option of each set.
    """
    chosen = joined(sets, weights)
    critical = np.array([option.latency_ms for one in sets for option in one.options], dtype=np.float64)
    serial = np.array([option.serial_ms for one in sets for option in one.options], dtype=np.float64)
    known = np.isfinite(critical) & np.isfinite(serial) & (chosen > 0)
    if not known.any():
        return Latency(0.0, None, None, None)
    share = chosen[known]
    long, short = _spread(serial[known], share), _spread(critical[known], share)
    speedup = long.mean / short.mean if short.mean > 0 else None
    return Latency(float(share.sum() / chosen.sum()), short, long, speedup)


def _spread(values: Floats, weights: Floats) -> Spread:
    median, p95 = np.quantile(values, [0.5, 0.95], weights=weights, method="inverted_cdf")
    return Spread(float(np.average(values, weights=weights)), float(median), float(p95))
