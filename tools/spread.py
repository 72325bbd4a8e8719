"""How far actual use lies from the usual: quantiles of the ratios `actual / usual` of the latest calls.

Quantiles are those of weighted conformal prediction for data that drift (Barber, Candes, Ramdas, Tibshirani:
"Conformal prediction beyond exchangeability", Annals of Statistics 2023): calls weigh less the older they are, and the
call to come takes part with a weight of 1 and an unknown, possibly infinite ratio. So a p95 from few calls lies at
their top, and one from many calls covers 95 % of the next ones whatever the shape of their distribution.

A tool that changed at a stroke is followed at once: the newest 6, 12, 24, 48 or 96 ratios are compared with the earlier
ones by their ranks (Wilcoxon's rank sum test, in windows of growing length as in ADWIN, Bifet and Gavalda 2007). If
they differ beyond chance (`_BEYOND_CHANCE` standard deviations), only the newest count. Ranks make one odd call
powerless, and six in a row convincing.

One ratio more than twice the next largest counts as twice the next largest: it cannot move a p95 far; a second one of
its kind can.
"""

import math
from collections.abc import Sequence

from catp.tools.recent import HALF_LIFE, WINDOW

__all__ = ["Spread"]

_CUTS = (6, 12, 24, 48, 96)
_BEYOND_CHANCE = 4.0
_WORTH = 1.1
"""Medians that differ by less than a tenth do not make a change."""
_ODD = 2.0
_WEIGHTS = tuple(math.exp2(-age / HALF_LIFE) for age in range(WINDOW - 1, -1, -1))


class Spread:
    """Ratios of actual to usual use, oldest first, as a distribution of the next one; at most `WINDOW`."""

    def __init__(self, ratios: Sequence[float]) -> None:
        kept = _changed_at(ratios)
        self.changed = kept < len(ratios)
        """True if the earlier ratios are of another time and were left out."""
        latest = _tamed(ratios[len(ratios) - kept :])
        self._ranked = sorted(zip(latest, _WEIGHTS[len(_WEIGHTS) - kept :], strict=True))
        self.weight = sum(weight for _, weight in self._ranked)
        """How many calls these count for: fewer than were made, since old ones have faded."""
        self.total = sum(ratio * weight for ratio, weight in self._ranked)
        """The weighted sum of the ratios."""
        self._quantiles: dict[float, float] = {}

    def quantile(self, level: float) -> float:
        """Return the ratio that the next call stays below with probability `level`; 1 if there were no calls."""
        found = self._quantiles.get(level)
        if found is None:
            found = self._quantiles[level] = self._find(level)
        return found

    def _find(self, level: float) -> float:
        rank, seen = level * (self.weight + 1.0), 0.0
        for ratio, weight in self._ranked:
            seen += weight
            if seen >= rank:
                return ratio
        return self._ranked[-1][0] if self._ranked else 1.0


def _tamed(ratios: Sequence[float]) -> list[float]:
    """Take a single odd ratio for twice the next largest."""
    if len(ratios) < 2:
        return list(ratios)
    highest = max(ratios)
    place = ratios.index(highest)
    most = _ODD * max(ratio for other, ratio in enumerate(ratios) if other != place)
    return [min(ratio, most) if most > 0 else ratio for ratio in ratios]


def _changed_at(ratios: Sequence[float]) -> int:
    """Return how many of the newest ratios are of the present kind."""
    count = len(ratios)
    ranks, ties = _ranks(ratios)
    best, kept = _BEYOND_CHANCE, count
    for cut in _CUTS:
        earlier = count - cut
        if earlier < cut:
            break
        variance = cut * earlier / 12 * (count + 1 - ties / (count * (count - 1)))
        off = abs(sum(ranks[earlier:]) - cut * (count + 1) / 2)
        if off > best * math.sqrt(variance) and _apart(_median(ratios[:earlier]), _median(ratios[earlier:])):
            best, kept = off / math.sqrt(variance), cut
    return kept


def _ranks(values: Sequence[float]) -> tuple[list[float], float]:
    """Return the rank of each value, the mean rank for equal ones, and the sum of t^3 - t over groups of t equals."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks, ties, start = [0.0] * len(values), 0.0, 0
    while start < len(order):
        end = start
        while end < len(order) and values[order[end]] == values[order[start]]:
            end += 1
        for place in order[start:end]:
            ranks[place] = (start + end + 1) / 2
        ties += (end - start) ** 3 - (end - start)
        start = end
    return ranks, ties


def _apart(earlier: float, newest: float) -> bool:
    low, high = sorted((earlier, newest))
    return high > _WORTH * low


def _median(values: Sequence[float]) -> float:
    ranked = sorted(values)
    middle = len(ranked) // 2
    return ranked[middle] if len(ranked) % 2 else (ranked[middle - 1] + ranked[middle]) / 2
