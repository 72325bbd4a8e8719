"""Pareto fronts: what is left when everything beaten on all counts is gone.

A point is a tuple of numbers of which each is better when smaller. Of equal points the first one is kept.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

__all__ = ["Front", "dominates", "pareto", "spread"]

T = TypeVar("T")


def dominates(left: Sequence[float], right: Sequence[float]) -> bool:
    """True if `left` is no worse than `right` on every count (equal points dominate each other)."""
    # the innermost loop of the search: a plain loop is four times as fast as `all` over a generator
    for a, b in zip(left, right):  # noqa: B905, SIM110
        if a > b:
            return False
    return True


def pareto(items: Iterable[T], point: Callable[[T], Sequence[float]]) -> list[T]:
    """Return the items that no other beats, sorted by their points; of items with equal points the first."""
    kept: list[tuple[Sequence[float], T]] = []
    for candidate, item in sorted(((tuple(point(item)), item) for item in items), key=lambda pair: pair[0]):
        for other, _ in reversed(kept):
            if dominates(other, candidate):
                break
        else:
            kept.append((candidate, item))
    return [item for _, item in kept]


def spread(ranked: Sequence[T], point: Callable[[T], Sequence[float]], count: int) -> list[T]:
    """Return the front of the items, in the order of the items; a longer one than `count` is thinned to that.

    What stays is the first item of the front, its two ends by the first count, the best by each other count, and then
    others about evenly between the ends.
    """
    front = pareto(ranked, point)
    order = {id(item): place for place, item in enumerate(ranked)}
    if len(front) > count:
        last = len(front) - 1
        first = min(range(len(front)), key=lambda place: order[id(front[place])])
        evenly = (round(k * last / max(1, count - 1)) for k in range(count))
        points = [point(item) for item in front]
        best = (min(zip(column, range(len(front)), strict=True))[1] for column in zip(*points, strict=True))
        kept = list(dict.fromkeys([first, 0, last, *best, *evenly]))[:count]
        front = [front[place] for place in kept]
    return sorted(front, key=lambda item: order[id(item)])


class Front:
    """A growing front of points, for asking fast and often whether a point is already beaten."""

    def __init__(self) -> None:
        self._points: list[tuple[float, ...]] = []

    def __len__(self) -> int:
        return len(self._points)

    def beats(self, point: tuple[float, ...]) -> bool:
        """True if a point of the front is no worse than `point` on every count."""
        end = bisect_right(self._points, (point[0], *(float("inf"),) * (len(point) - 1)))
        for position in range(end - 1, -1, -1):  # noqa: SIM110 - the dearest that still fit are the likeliest to win
            if dominates(self._points[position], point):
                return True
        return False

    def add(self, point: tuple[float, ...]) -> None:
        """Add a point unless it is beaten, and drop the points that it beats."""
        if self.beats(point):
            return
        self._points = sorted([other for other in self._points if not dominates(point, other)] + [point])
