"""Use against input size: what a call of any size is likely to use, from few measured calls or many.

Each quantity (CPU time, latency, memory, billed units) is fitted with a fixed part and a part per unit of input, both
at least 0, by least squares over the means of the size buckets, weighted by their calls. A bucket of n calls then moves
the line near its own size to (n * its mean + K * line) / (n + K): one odd call cannot move it far.

What cannot be known is taken like this:
- Inputs smaller than any measured use what the smallest do.
- If all measured inputs are of about one size, what a call computes and is billed for grows in proportion beyond them,
  and the time it merely waits stays.
- Memory stays at that of the largest measured inputs: a price per memory tier would multiply two extrapolations.
- The spread is that of the bucket from `OWN_SPREAD` calls on, before that of all calls. As few calls do not bound the
  next one, the p95 is at least 1 + 1/n means and the low at most its inverse, with n calls of about this size or 1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from catp.planlang.money import Money
from catp.tools.histogram import Histogram
from catp.tools.profile import Bucket, Profile
from catp.tools.usage import Usage

__all__ = ["OWN_SPREAD", "Band", "Curve", "Curves", "K"]

K = 5
"""How many calls what is generally known (the fitted line, a declared forecast) counts for."""
OWN_SPREAD = 20
"""Calls from which on a bucket's own quantiles mean something."""


@dataclass(frozen=True, slots=True)
class Band:
    """A quantity at the low end, expected, and at the 95th percentile: always in this order."""

    low: float = 0.0
    expected: float = 0.0
    p95: float = 0.0


@dataclass(frozen=True, slots=True)
class _Point:
    """One bucket: mean input size, mean use, calls, and the 5th and 95th percentile of use over its mean."""

    size: float
    mean: float
    count: int
    low: float
    high: float


class Curve:
    """One quantity of one tool against input size."""

    def __init__(
        self, samples: Sequence[tuple[float, Histogram]], *, growing: float = 1.0, steady: bool = False
    ) -> None:
        """Fit the (mean input size, values) of each bucket.

        Args:
            samples: The buckets; empty histograms are ignored.
            growing: The share that grows with the input where the measured sizes cannot tell.
            steady: Neither few calls nor inputs larger than any measured move it: no least spread, no extrapolation.
        """
        self._points = [_point(size, values) for size, values in samples if values.count]
        self._steady = steady
        self._fixed, self._per_unit = _fit(self._points, growing)
        self._smallest = min((point.size for point in self._points), default=0.0)
        self._largest = max((point.size for point in self._points), default=0.0) if steady else math.inf
        calls = sum(point.count for point in self._points) or 1
        self._low = sum(point.low * point.count for point in self._points) / calls
        self._high = sum(point.high * point.count for point in self._points) / calls

    def __bool__(self) -> bool:
        return bool(self._points)

    def at(self, size: float) -> Band:
        """Return the quantity for an input of `size` units."""
        expected, near = self._line(size), self._near(size)
        count = near.count if near else 0
        if near:
            line = self._line(near.size)
            expected *= (count * near.mean / line + K) / (count + K) if line > 0 else 1.0
        low, high = (near.low, near.high) if near and count >= OWN_SPREAD else (self._low, self._high)
        least = 1.0 if self._steady else 1.0 + 1.0 / max(count, 1)
        return Band(expected * min(low, 1.0 / least), expected, expected * max(high, least))

    def calls_near(self, size: float) -> int:
        """Return how many calls of about this size were measured."""
        near = self._near(size)
        return near.count if near else 0

    def _line(self, size: float) -> float:
        return self._fixed + self._per_unit * min(max(size, self._smallest), self._largest)

    def _near(self, size: float) -> _Point | None:
        """The bucket nearest to a size, if it is at most a factor of two away."""
        size = max(size, 1.0)
        best = min(self._points, key=lambda point: abs(math.log(point.size / size)), default=None)
        return best if best is not None and 0.5 <= best.size / size <= 2.0 else None


class Curves:
    """Every quantity of one tool, fitted from its profile."""

    def __init__(self, profile: Profile) -> None:
        buckets = list(profile.buckets.values())
        cpu, wall = _total([b.cpu_ms for b in buckets]), _total([b.wall_ms for b in buckets])
        self._cpu = _curve(buckets, "cpu_ms")
        self._wall = _curve(buckets, "wall_ms", growing=min(1.0, cpu.mean / wall.mean) if wall.mean else 0.0)
        self._peak = _curve(buckets, "peak_mb", growing=0.0, steady=True)
        names = dict.fromkeys(name for bucket in buckets for name in bucket.other)
        empty = Histogram()
        self._other = {name: Curve([(b.units_in.mean, b.other.get(name, empty)) for b in buckets]) for name in names}
        self._dearest_start = profile.cold_ms.greatest

    def __bool__(self) -> bool:
        return bool(self._cpu)

    def calls_near(self, size: int) -> int:
        """Return how many successful calls of about this size were measured."""
        return self._cpu.calls_near(size)

    def at(self, size: int) -> tuple[Usage, Usage, Usage]:
        """Return low, expected and p95 use of a call with an input of `size` units; the p95 includes a cold start.

        A tool of which only cold starts were timed is taken to need the time it computes.
        """
        cpu, peak = self._cpu.at(size), self._peak.at(size)
        wall = self._wall.at(size) if self._wall else cpu
        other = {name: curve.at(size) for name, curve in self._other.items()}

        def usage(end: str, cold_ms: float) -> Usage:
            amounts = {name: float(getattr(band, end)) for name, band in other.items()}
            reported = amounts.pop("reported", None)
            return Usage(
                wall_ms=getattr(wall, end),
                cpu_ms=getattr(cpu, end),
                cold_cpu_ms=cold_ms,
                peak_mb=getattr(peak, end),
                units=amounts,
                reported=None if reported is None else Money(round(reported)),
            )

        return usage("low", 0.0), usage("expected", 0.0), usage("p95", self._dearest_start)


def _point(size: float, values: Histogram) -> _Point:
    mean = values.mean
    if mean <= 0:
        return _Point(size, 0.0, values.count, 1.0, 1.0)
    return _Point(size, mean, values.count, values.quantile(0.05) / mean, values.quantile(0.95) / mean)


def _curve(buckets: Sequence[Bucket], name: str, *, growing: float = 1.0, steady: bool = False) -> Curve:
    return Curve([(b.units_in.mean, getattr(b, name)) for b in buckets], growing=growing, steady=steady)


def _total(parts: Sequence[Histogram]) -> Histogram:
    found = Histogram()
    for part in parts:
        found = found.merged(part)
    return found


def _fit(points: Sequence[_Point], growing: float) -> tuple[float, float]:
    """Return the fixed part and the part per unit, neither below 0."""
    if not points:
        return 0.0, 0.0
    calls = sum(p.count for p in points)
    size = sum(p.size * p.count for p in points) / calls
    mean = sum(p.mean * p.count for p in points) / calls
    sizes = [p.size for p in points]
    if max(sizes) < 2 * min(sizes):
        return mean * (1.0 - growing), mean * growing / size
    slope = sum(p.count * (p.size - size) * (p.mean - mean) for p in points)
    slope = max(0.0, slope / sum(p.count * (p.size - size) ** 2 for p in points))
    fixed = mean - slope * size
    if fixed < 0:  # steeper than proportional: the line through the origin that fits best
        slope = sum(p.count * p.size * p.mean for p in points) / sum(p.count * p.size**2 for p in points)
        fixed = 0.0
    return fixed, slope
