"""A compact, mergeable histogram: counts in buckets that each grow by 5 %, so quantiles are right to about 2.5 %."""

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["Histogram"]

_GROWTH = math.log(1.05)
_SMALLEST = 1e-6
"""Values up to this count as zero, in a bucket of their own."""
_ZERO = -(10**6)


class Histogram:
    """Counts of non-negative values, with their exact sum, least and greatest."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.least = math.inf
        self.greatest = 0.0
        self._buckets: dict[int, int] = {}

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

    def merged(self, other: "Histogram") -> "Histogram":
        """Return a histogram of both sets of values."""
        result = Histogram()
        result.count = self.count + other.count
        result.total = self.total + other.total
        result.least = min(self.least, other.least)
        result.greatest = max(self.greatest, other.greatest)
        keys = self._buckets.keys() | other._buckets.keys()
        result._buckets = {k: self._buckets.get(k, 0) + other._buckets.get(k, 0) for k in keys}
        return result

    @property
    def mean(self) -> float:
        """The exact mean; 0 if empty."""
        return self.total / self.count if self.count else 0.0

    def quantile(self, q: float) -> float:
        """Return the value below which a share `q` in [0, 1] of the values lie; 0 if empty."""
        rank, seen = q * self.count, 0
        for bucket, count in sorted(self._buckets.items()):
            seen += count
            if seen >= rank:
                middle = 0.0 if bucket == _ZERO else math.exp((bucket + 0.5) * _GROWTH)
                return min(max(middle, self.least), self.greatest)
        return self.greatest

    def to_json(self) -> dict[str, Any]:
        """Return the histogram as JSON values."""
        if not self.count:
            return {"n": 0}
        return {
            "n": self.count,
            "sum": round(self.total, 6),
            "min": round(self.least, 6),
            "max": round(self.greatest, 6),
            "buckets": {str(k): v for k, v in sorted(self._buckets.items())},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Histogram":
        """Read what `to_json` wrote; raise `ValueError`, `KeyError` or `TypeError` if it is not consistent."""
        result = cls()
        result.count = _count(data["n"])
        if not result.count:
            return result
        result.total, result.least, result.greatest = (_finite(data[key]) for key in ("sum", "min", "max"))
        result._buckets = {int(key): _count(value) for key, value in data["buckets"].items()}
        if sum(result._buckets.values()) != result.count or result.least > result.greatest:
            raise ValueError("counts of a histogram do not add up")
        return result


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{value!r} is not a finite number of at least 0")
    return float(value)
