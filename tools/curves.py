"""Use against input size: what a call of any size is likely to use, from few measured calls or many.

Each quantity (CPU time, latency, memory, billed units) is fitted with a fixed part and a part per unit of input, both
at least 0, by least squares over the means of the size buckets, weighted by their calls. A bucket of n calls then moves
the line near its own size to (n * its mean + K * line) / (n + K): one odd call cannot move it far. That is the *shape*.

The latest calls, each divided by the shape at its own size, give the level and the spread (`catp.tools.spread`): the
expected use is the shape times their mean, pulled towards 1 as if by K more calls unless the tool has changed, and a
quantile is the shape times theirs. Up to `OWN_SPREAD` of them are helped out by the spread of the histograms.

What cannot be known is taken like this:
- Inputs smaller than any measured use what the smallest do.
- If all measured inputs are of about one size, what a call computes and is billed for grows in proportion beyond them,
  and the time it merely waits stays.
- Memory stays at that of the largest measured inputs: a price per memory tier would multiply two extrapolations.
- As few calls do not bound the next one, the p95 is at least 1 + 1/n times the expected use and the low at most its
  inverse, with n calls of about this size or 1.
"""

import math
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass

from catp.planlang.money import Money
from catp.tools.histogram import Histogram
from catp.tools.spread import Spread
from catp.tools.tool_profile import Profile
from catp.tools.usage import Usage

__all__ = ["OWN_SPREAD", "Curve", "Curves", "K"]

K = 5
"""How many calls what is generally known (the fitted line, a declared forecast) counts for."""
OWN_SPREAD = 20
"""Calls from which on a bucket's own quantiles mean something."""
_UPPER = 0.9
"""Quantiles from here on bound the next call, those up to 1 minus this bound it from below."""

_NEAR = math.log(2.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Point:
    """One bucket: mean input size, mean use and the calls behind them."""

    size: float
    mean: float
    count: float
    values: Histogram

    def relative(self, level: float) -> float:
        """The quantile of use over its mean; a single odd value does not make one."""
        return min(self.values.quantile(level), self.values.top) / self.mean if self.mean > 0 else 1.0


class Curve:
    """One quantity of one tool against input size."""

    def __init__(
        self, samples: Sequence[tuple[float, Histogram]], recent: Sequence[tuple[int, float]] = (), *,
        growing: float = 1.0, steady: bool = False,
    ) -> None:  # fmt: skip
        """Fit the (mean input size, values) of each bucket, then the (input size, value) of the latest calls.

        `growing` is the share of the mean that grows with the input where only one size was measured. A `steady`
        quantity does not grow beyond the measured sizes and needs no margin for few calls.
        """
        points = [_Point(size, values.typical, values.count, values) for size, values in samples if values.count]
        self._points = sorted(points, key=lambda point: point.size)
        self._logs = [math.log(point.size) for point in self._points]
        self._relatives: dict[tuple[_Point | None, float], float] = {}
        self._steady = steady
        self._fixed, self._per_unit = _fit(self._points, growing)
        self._smallest = self._points[0].size if points else 0.0
        self._largest = math.inf if not steady else self._points[-1].size if points else 0.0
        usual = [(self._shape(size)[0], value) for size, value in recent]
        self._spread = Spread([value / shape for shape, value in usual if shape > 0])
        self._own = min(1.0, self._spread.weight / OWN_SPREAD)
        trusted = 0 if self._spread.changed else K
        weight = self._spread.weight + trusted
        self._level = (self._spread.total + trusted) / weight if weight else 1.0

    def __bool__(self) -> bool:
        return bool(self._points)

    def expected(self, size: float) -> float:
        """Return the mean use of an input of `size` units."""
        return self._shape(size)[0] * self._level

    def quantile(self, size: float, level: float) -> float:
        """Return the use that the next call with an input of `size` units stays below with probability `level`."""
        shape, near = self._shape(size)
        expected = shape * self._level
        found = shape * self._own * self._spread.quantile(level)
        if self._own < 1.0:
            found += (1.0 - self._own) * self._relative(near, level) * expected
        least = 1.0 if self._steady else 1.0 + 1.0 / max(near.count if near else 0, 1)
        if level >= _UPPER:
            return max(found, expected * least)
        return min(found, expected / least) if level <= 1.0 - _UPPER else found

    def calls_near(self, size: float) -> float:
        """Return how many calls of about this size were measured, old ones counting less."""
        near = self._near(size)
        return near.count if near else 0

    def _shape(self, size: float) -> tuple[float, _Point | None]:
        """The usual use of an input of this size, and the bucket near it."""
        usual, near = self._line(size), self._near(size)
        if near:
            line = self._line(near.size)
            usual *= (near.count * near.mean / line + K) / (near.count + K) if line > 0 else 1.0
        return usual, near

    def _relative(self, near: _Point | None, level: float) -> float:
        """The quantile over the mean, from the histograms: of the bucket from `OWN_SPREAD` calls on, else of all."""
        own = near if near and near.count >= OWN_SPREAD else None
        known = self._relatives.get((own, level))
        if known is None:
            points = [own] if own else self._points
            calls = sum(point.count for point in points) or 1
            known = sum(point.relative(level) * point.count for point in points) / calls
            self._relatives[own, level] = known
        return known

    def _line(self, size: float) -> float:
        return self._fixed + self._per_unit * min(max(size, self._smallest), self._largest)

    def _near(self, size: float) -> _Point | None:
        """The bucket nearest to a size, if it is at most a factor of two away."""
        if not self._points:
            return None
        log = math.log(max(size, 1.0))
        place = bisect(self._logs, log)
        if place == len(self._logs) or (place and log - self._logs[place - 1] <= self._logs[place] - log):
            place -= 1
        return self._points[place] if abs(self._logs[place] - log) <= _NEAR else None


class Curves:
    """Every quantity of one tool, fitted from its profile."""

    def __init__(self, profile: Profile) -> None:
        buckets, recent = list(profile.buckets.values()), profile.recent
        cpu, wall = _total([b.cpu_ms for b in buckets]), _total([b.wall_ms for b in buckets])
        growing = min(1.0, cpu.typical / wall.typical) if wall.typical else 0.0

        def curve(name: str, *, growing: float = 1.0, steady: bool = False) -> Curve:
            samples = [(bucket.units_in.mean, bucket.of(name)) for bucket in buckets]
            return Curve(samples, recent.of(name), growing=growing, steady=steady)

        self._cpu = curve("cpu_ms")
        self._wall = curve("wall_ms", growing=growing)
        self._peak = curve("peak_mb", growing=0.0, steady=True)
        self._units = {name: curve(f"unit:{name}") for name in dict.fromkeys(n for b in buckets for n in b.units)}
        self._reported = curve("reported")

    def __bool__(self) -> bool:
        return bool(self._cpu)

    @property
    def timed_warm(self) -> bool:
        """True if a call that had nothing to start was timed."""
        return bool(self._wall)

    def calls_near(self, size: int) -> float:
        """Return how many successful calls of about this size were measured, old ones counting less."""
        return self._cpu.calls_near(size)

    def expected(self, size: int) -> Usage:
        """Return the mean use of a warm call with an input of `size` units.

        A tool of which only cold starts were timed is taken to need the time it computes.
        """
        return self._usage(size, None, None)

    def quantile(self, size: int, price: float, latency: float) -> Usage:
        """Return the use of a warm call: billed quantities at the level `price`, the time at the level `latency`."""
        return self._usage(size, price, latency)

    def _usage(self, size: int, price: float | None, latency: float | None) -> Usage:
        def at(curve: Curve, level: float | None) -> float:
            return curve.expected(size) if level is None else curve.quantile(size, level)

        return Usage(
            wall_ms=at(self._wall or self._cpu, latency),
            cpu_ms=at(self._cpu, price),
            peak_mb=at(self._peak, price),
            units={name: at(curve, price) for name, curve in self._units.items()},
            reported=Money(round(at(self._reported, price))) if self._reported else None,
        )


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
