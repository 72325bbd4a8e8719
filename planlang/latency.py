"""Arithmetic of uncertain times: a latency is its mean and its 95th percentile, read as a lognormal distribution.

Tools' latencies are skewed and positive, and a lognormal is fixed by exactly the two figures a profile has. Where
distributions must be combined (the slowest of n, hedged alternatives) they are cut into `POINTS` equally likely values.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from catp.planlang.registry_view import Latency

__all__ = ["POINTS", "Tail", "after_timeout", "at_least", "binomial_p95", "hedged", "in_sequence", "slowest_of"]

POINTS = 20

_Z95 = 1.6448536269514722
_SQRT2 = math.sqrt(2.0)
_NORMAL = NormalDist()
_NEVER = 1e-4
"""Tries less likely than this change no figure."""


@dataclass(frozen=True, slots=True)
class Tail:
    """A lognormal distribution of times in milliseconds; `sigma` 0 is a fixed time, `mean` 0 no time at all."""

    mean: float
    mu: float
    sigma: float

    @classmethod
    def fit(cls, latency: Latency) -> "Tail":
        """Return the lognormal with this mean and 95th percentile.

        A p95 above 3.87 means does not exist for any lognormal; the widest one is taken then.
        """
        mean = latency.expected_ms
        if mean <= 0:
            return cls(0.0, 0.0, 0.0)
        # ln(p95/mean) = z * sigma - sigma^2 / 2
        spread = math.log(max(latency.p95_ms / mean, 1.0))
        sigma = _Z95 - math.sqrt(max(_Z95 * _Z95 - 2 * spread, 0.0))
        return cls(mean, math.log(mean) - sigma * sigma / 2, sigma)

    @classmethod
    def of(cls, mean: float, variance: float) -> "Tail":
        """Return the lognormal with this mean and variance."""
        if mean <= 0:
            return cls(0.0, 0.0, 0.0)
        square = math.log1p(variance / mean**2)
        return cls(mean, math.log(mean) - square / 2, math.sqrt(square))

    def within(self, ms: float) -> float:
        """The probability of taking at most `ms`."""
        if self.mean <= 0:
            return 1.0
        if ms <= 0:
            return 0.0
        if self.sigma == 0:
            return 1.0 if self.mean <= ms else 0.0
        return 0.5 * math.erfc((self.mu - math.log(ms)) / (self.sigma * _SQRT2))

    def quantile(self, share: float) -> float:
        """The time that a `share` of calls takes at most."""
        if self.mean <= 0 or self.sigma == 0:
            return self.mean
        return math.exp(self.mu + self.sigma * _NORMAL.inv_cdf(share))

    def points(self) -> list[float]:
        """`POINTS` equally likely times, scaled to keep the mean."""
        raw = [self.quantile((k + 0.5) / POINTS) for k in range(POINTS)]
        total = sum(raw)
        return [value * self.mean * POINTS / total for value in raw] if total > 0 else raw


def after_timeout(latency: Latency, timeout_ms: float) -> tuple[Latency, float]:
    """Cut calls off at `timeout_ms`; return the new latency and the share of calls cut off."""
    tail = Tail.fit(latency)
    within = tail.within(timeout_ms)
    if within >= 1.0:
        return latency, 0.0
    below = 0.0
    if tail.sigma > 0:  # mean of the part of a lognormal below the cut
        below = tail.mean * _NORMAL.cdf((math.log(timeout_ms) - tail.mu) / tail.sigma - tail.sigma)
    expected = below + timeout_ms * (1.0 - within)
    return Latency(expected, min(latency.p95_ms, timeout_ms)), 1.0 - within


def in_sequence(tries: Sequence[tuple[float, Latency]]) -> Latency:
    """The time of calls made one after the other, each only if those before it did not do.

    Each try is the probability of making it, given that the first is made, and its latency. Sums of lognormal times are
    taken as lognormal with the same mean and variance; how many are summed is a matter of chance.
    """
    tries = [one for one in tries if one[0] > _NEVER]
    if len(tries) == 1:
        return tries[0][1]
    ends: list[tuple[float, Tail]] = []  # the probability of ending after so many tries, and the time that takes
    mean = variance = 0.0
    for position, (share, latency) in enumerate(tries):
        tail = Tail.fit(latency)
        mean += tail.mean
        variance += tail.mean**2 * math.expm1(tail.sigma**2)
        ends.append((share - (tries[position + 1][0] if position + 1 < len(tries) else 0.0), Tail.of(mean, variance)))
    expected = sum(share * latency.expected_ms for share, latency in tries)
    # no run is faster than its first try, none slower than the longest sequence
    low, high = ends[0][1].quantile(0.95), max(tail.quantile(0.95) for _, tail in ends)
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        if sum(share * tail.within(middle) for share, tail in ends) < 0.95 * tries[0][0]:
            low = middle
        else:
            high = middle
    return Latency(expected, high)


def slowest_of(latency: Latency, count: int) -> Latency:
    """The time of the slowest of `count` independent calls that all start at once."""
    tail = Tail.fit(latency)
    if count <= 1 or tail.sigma == 0:
        return latency
    mean = sum(tail.quantile(((k + 0.5) / POINTS) ** (1 / count)) for k in range(POINTS)) / POINTS
    return Latency(mean, tail.quantile(0.95 ** (1 / count)))


def hedged(attempts: Sequence[tuple[Latency, float]], delay_ms: float) -> Latency:
    """The time until a hedged step has an answer.

    Each attempt is its latency and the probability that its answer is accepted. The next one starts when an answer is
    rejected or when `delay_ms` have passed without one; the first accepted answer wins, or the last rejection ends it.
    """
    *before, (last, _) = attempts
    if not before:
        return last
    times = Tail.fit(last).points()
    weighted: list[tuple[float, float]] = []
    for latency, accepted in reversed(before):
        times = _equal_parts(weighted) if weighted else times
        weighted = _race(Tail.fit(latency).points(), accepted, times, delay_ms)
    total = sum(weight for _, weight in weighted)
    mean = sum(value * weight for value, weight in weighted) / total
    above = 0.0
    for value, weight in reversed(weighted):
        above += weight
        if above >= 0.05 * total:
            return Latency(mean, value)
    raise AssertionError("the weights above cannot fall short of their own sum")


def _race(own: list[float], accepted: float, rest: list[float], delay_ms: float) -> list[tuple[float, float]]:
    """The sorted times, with weights, of one attempt followed or overtaken by the `rest`."""
    weighted: list[tuple[float, float]] = []
    for first in own:
        begin = min(first, delay_ms)
        for then in rest:
            weighted.append((first if first <= delay_ms else min(first, delay_ms + then), accepted))
            weighted.append((begin + then, 1.0 - accepted))
    weighted.sort()
    return weighted


def _equal_parts(weighted: list[tuple[float, float]]) -> list[float]:
    """Cut sorted weighted values into `POINTS` parts of equal weight; return the mean of each."""
    share = sum(weight for _, weight in weighted) / POINTS
    points: list[float] = []
    total = filled = 0.0
    for value, weight in weighted:
        while weight > 1e-12:
            part = min(weight, share - filled)
            total += value * part
            filled += part
            weight -= part
            if filled >= share - 1e-9 and len(points) < POINTS:
                points.append(total / filled)
                total = filled = 0.0
    if len(points) < POINTS:
        points.append(total / filled if filled > 0 else points[-1])
    return points


def binomial_p95(count: int, share: float) -> int:
    """The number of `count` independent events of probability `share` that is not exceeded in 95 of 100 cases."""
    if share <= 0 or count <= 0:
        return 0
    if share >= 1:
        return count
    if count > 50:
        spread = math.sqrt(count * share * (1 - share))
        return min(count, math.ceil(count * share + _Z95 * spread))
    term = (1 - share) ** count
    total, k = term, 0
    while total < 0.95 and k < count:
        term *= (count - k) / (k + 1) * share / (1 - share)
        k += 1
        total += term
    return k


def at_least(needed: int, count: int, share: float) -> float:
    """The probability that `needed` or more of `count` independent events of probability `share` happen."""
    if needed <= 0 or share >= 1:
        return 1.0
    if needed >= count:
        return share**count
    if share <= 0:
        return 0.0
    if count > 50:
        spread = math.sqrt(count * share * (1 - share))
        return _NORMAL.cdf((count * share - needed + 0.5) / spread)
    return sum(math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(needed, count + 1))
