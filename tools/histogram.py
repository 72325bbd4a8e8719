"""A compact, mergeable histogram: counts in buckets that each grow by 5 %, so quantiles are right to about 2.5 %.

Old values fade: whenever a histogram would hold more than 2 x `HALF_LIFE` values, all its weights are halved, so that
every `HALF_LIFE` further values halve the weight of the earlier ones. Below that it counts exactly.
"""

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["HALF_LIFE", "Histogram"]

HALF_LIFE = 500
"""Further values after which a value counts half."""

_GROWTH = math.log(1.05)
_SMALLEST = 1e-6
"""Values up to this count as zero, in a bucket of their own."""
_ZERO = -(10**6)
_FORGOTTEN = 0.05
"""Weight below which a value is dropped."""
_ODD = 2.0
"""A single value may lie this far above the next one before it counts as odd."""


class Histogram:
    """Weights of non-negative values, with their sum, least and greatest. `count` is the sum of the weights."""

    def __init__(self) -> None:
        self.count: float = 0
        self.total = 0.0
        self.least = math.inf
        self.greatest = 0.0
        self._buckets: dict[int, float] = {}

    def add(self, value: float) -> None:
        """Count one value; raise `ValueError` if it is negative or not finite."""
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"a histogram holds finite values of at least 0, got {value!r}")
        bucket = _ZERO if value <= _SMALLEST else math.floor(math.log(value) / _GROWTH)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.count += 1
        self.total += value
        self.least = min(self.least, value)
        self.greatest = max(self.greatest, value)
        if self.count > 2 * HALF_LIFE:
            self._fade(0.5)

    def merged(self, newer: "Histogram") -> "Histogram":
        """Return a histogram of both sets of values, those of `newer` being the later ones."""
        result = Histogram()
        result.count = self.count + newer.count
        result.total = self.total + newer.total
        result.least = min(self.least, newer.least)
        result.greatest = max(self.greatest, newer.greatest)
        keys = self._buckets.keys() | newer._buckets.keys()
        result._buckets = {k: self._buckets.get(k, 0) + newer._buckets.get(k, 0) for k in keys}
        if result.count > 2 * HALF_LIFE:
            faded = self.merged(Histogram())
            faded._fade(max(0.0, 2 * HALF_LIFE - newer.count) / self.count)
            return newer.merged(faded)
        return result

    @property
    def mean(self) -> float:
        """The exact mean; 0 if empty."""
        return self.total / self.count if self.count else 0.0

    @property
    def typical(self) -> float:
        """The mean, in which a single odd value (more than twice the next one) counts as twice the next one.

        A second value of its kind is not odd any more, and both count in full.
        """
        if not self.count:
            return 0.0
        weight = self._buckets[max(self._buckets)]
        return (self.total - weight * (self.greatest - self.top)) / self.count

    @property
    def top(self) -> float:
        """The greatest value that is remembered, or twice the next one if it is odd; 0 if empty."""
        ranked = sorted(self._buckets, reverse=True)[:2]
        if len(ranked) == 2 and self._buckets[ranked[0]] <= 1 and (next_one := self._middle(ranked[1])) > 0:
            return min(self.greatest, _ODD * next_one)
        return self.greatest

    def quantile(self, q: float) -> float:
        """Return the value below which a share `q` in [0, 1] of the values lie; 0 if empty."""
        rank, seen = q * self.count, 0.0
        for bucket, count in sorted(self._buckets.items()):
            seen += count
            if seen >= rank:
                return self._middle(bucket)
        return self.greatest

    def _middle(self, bucket: int) -> float:
        middle = 0.0 if bucket == _ZERO else math.exp((bucket + 0.5) * _GROWTH)
        return min(max(middle, self.least), self.greatest)

    def _fade(self, factor: float) -> None:
        self._buckets = {k: v * factor for k, v in self._buckets.items() if v * factor >= _FORGOTTEN}
        self.count = sum(self._buckets.values())
        self.total *= factor
        if self._buckets:
            self.least, self.greatest = self._edge(min(self._buckets), 0), self._edge(max(self._buckets), 1)

    def _edge(self, bucket: int, side: int) -> float:
        """The lower (0) or upper (1) edge of a bucket, if it lies within the values seen so far."""
        edge = 0.0 if bucket == _ZERO else math.exp((bucket + side) * _GROWTH)
        return min(max(edge, self.least), self.greatest)

    def to_json(self) -> dict[str, Any]:
        """Return the histogram as JSON values."""
        if not self.count:
            return {"n": 0}
        return {
            "n": _short(self.count),
            "sum": round(self.total, 6),
            "min": round(self.least, 6),
            "max": round(self.greatest, 6),
            "buckets": {str(k): _short(v) for k, v in sorted(self._buckets.items())},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Histogram":
        """Read what `to_json` wrote; raise `ValueError`, `KeyError` or `TypeError` if it is not consistent."""
        result = cls()
        given = _finite(data["n"])
        if not given:
            return result
        result.total, result.least, result.greatest = (_finite(data[key]) for key in ("sum", "min", "max"))
        result._buckets = {int(key): _finite(value) for key, value in data["buckets"].items()}
        result.count = sum(result._buckets.values())
        if not math.isclose(result.count, given, rel_tol=1e-3) or result.least > result.greatest:
            raise ValueError("counts of a histogram do not add up")
        return result


def _short(weight: float) -> float:
    """A weight as it is written: whole as long as nothing has faded."""
    return int(weight) if weight == int(weight) else round(weight, 4)


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{value!r} is not a finite number of at least 0")
    return value
