"""Confidence intervals by resampling whole groups (tasks): inputs of one task are not independent.

The cluster bootstrap (Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8): draw as many
groups as there are, with replacement, and compute the statistic from the sums over what was drawn. All draws at once:
a draw is a row of counts per group, and its sums are one matrix product.

Percentile intervals from few groups are too narrow. On a family with a known mean (that of
`tests/training/evaluate/test_bootstrap.py`, 1,500 trials), intervals of 95 % held it in 93 % of trials with 40 groups,
in 89 % with 12, in 81 % with 5.
"""

from collections.abc import Callable, Sequence

import numpy as np

from catp.training.evaluate.candidates import Floats

__all__ = ["interval", "over_groups"]

_CELLS = 2_000_000
"""Counts held at a time (16 MB); the draws do not depend on it."""


def over_groups(
    group_ids: Sequence[str], columns: Floats, statistic: Callable[[Floats], Floats], draws: int = 1000, seed: int = 0
) -> Floats:
    """Return the statistic of each draw, shape [draws].

    Args:
        group_ids: the group of each row, [n].
        columns: what is summed, [n, k].
        statistic: maps sums over rows, [draws, k], to values, [draws]; ratios of sums are the usual case.
        draws: how many; 1,000 give the ends of a 95 % interval to about 2 % of its width.
        seed: equal seeds give equal draws for equal groups, so that differences of two policies can be paired.

    Raises:
        ValueError: no rows, or not one group for each row.
    """
    if len(group_ids) == 0 or columns.ndim != 2 or len(columns) != len(group_ids):
        raise ValueError(f"one group per row is needed: {len(group_ids)} groups for columns of shape {columns.shape}")
    names, place = np.unique(np.asarray(group_ids), return_inverse=True)
    sums = np.zeros((len(names), columns.shape[1]))
    np.add.at(sums, place, columns)
    rng = np.random.default_rng([seed, len(names)])
    evenly = np.full(len(names), 1 / len(names))
    at_once = max(1, _CELLS // len(names))
    parts = [
        statistic(rng.multinomial(len(names), evenly, size=min(at_once, draws - start)) @ sums)
        for start in range(0, draws, at_once)
    ]
    return np.concatenate(parts)


def interval(values: Floats, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of the draws; (nan, nan) if a draw is nan."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
