"""How many tokens a request will generate: what others of its kind did, cut off at its bound.

Requests are kept by kind (an endpoint, or that and a catalogue) and by the size of their prompt (powers of two). A
prediction is the distribution of the last few hundred outputs of the same key, each at most the request's bound (from
its grammar, or max_tokens), given what it has generated already. Keys with few requests borrow from their kind, kinds
from all requests, and before there are any a prior stands in. No output is ever predicted beyond the bound: that much a
grammar guarantees.
"""

from bisect import bisect_right, insort
from collections import deque
from itertools import accumulate
from typing import TYPE_CHECKING, TypeAlias

from catp.serving.policies.drift import DriftGuard
from catp.serving.policies.protocol import Interval

if TYPE_CHECKING:
    from catp.serving.engine.request import Request

__all__ = ["LengthPredictor"]

Key: TypeAlias = tuple[str, int] | str

_ALL = ""
_MEMORY = 512
_ENOUGH = 16
_LOW, _HIGH, _TAIL = 0.1, 0.9, 0.9
_PRIOR = (0.1, 0.3, 0.9, 0.9)
"""Low end, expectation, high end and tail as shares of the bound, before anything was seen."""


class LengthPredictor:
    """Predicts output lengths and learns from each finished request.

    Args:
        guard: stops belief after a drift; None: always believe.
        memory: outputs kept for each key; what is older is forgotten.
    """

    def __init__(self, guard: DriftGuard | None = None, *, memory: int = _MEMORY) -> None:
        self.guard = guard
        self._memory = memory
        self._histories: dict[Key, _History] = {}
        self._recent = _History(32)

    def predict(self, request: "Request", generated: int = 0) -> Interval:
        """Return the interval of a request's whole output, of which `generated` tokens are there already."""
        if self.guard is not None and not self.guard.trusted:
            return self._constant(request.bound, generated)
        return self._learned(request, generated) or _prior(request.bound, generated)

    def observe(self, request: "Request", actual: int) -> None:
        """Learn the output length of a finished request; those that were cancelled or failed teach nothing."""
        learned = self._learned(request, 0)
        if self.guard is not None and learned is not None and self.guard.observe(learned, actual):
            self._histories.clear()
        self._recent.add(actual)
        for key in _keys(request):
            history = self._histories.get(key)
            if history is None:
                history = self._histories[key] = _History(self._memory)
            history.add(actual)

    def _learned(self, request: "Request", generated: int) -> Interval | None:
        """Return the prediction of the closest history that is long enough."""
        for key in _keys(request):
            history = self._histories.get(key)
            if history is not None and history.above(generated) >= _ENOUGH:
                return history.interval(request.bound, generated)
        return None

    def _constant(self, bound: int, generated: int) -> Interval:
        """Return what is left when predictions are not believed: the median of the last requests of any kind."""
        expected = max(min(self._recent.median(), bound), min(generated + 1, bound))
        return Interval(float(expected), float(min(generated + 1, bound)), float(bound), float(bound))


def _prior(bound: int, generated: int) -> Interval:
    rest = max(bound - generated, 0)
    low, expected, high, tail = (generated + share * rest for share in _PRIOR)
    return Interval(expected, low, high, tail)


class _History:
    """The last outputs of one key, sorted, with their sums."""

    def __init__(self, memory: int) -> None:
        self._order: deque[int] = deque()
        self._sorted: list[int] = []
        self._sums: list[int] | None = None
        self._memory = memory

    def add(self, length: int) -> None:
        """Take in an output, and forget the oldest if there are too many."""
        if len(self._order) == self._memory:
            del self._sorted[bisect_right(self._sorted, self._order.popleft()) - 1]
        self._order.append(length)
        insort(self._sorted, length)
        self._sums = None

    def above(self, generated: int) -> int:
        """Return how many outputs were longer than that."""
        return len(self._sorted) - bisect_right(self._sorted, generated)

    def median(self) -> int:
        """Return the median output, 1 if there is none."""
        return self._sorted[len(self._sorted) // 2] if self._sorted else 1

    def interval(self, bound: int, generated: int) -> Interval:
        """Return the distribution of min(L, bound) given L > generated; at least one output is longer than that."""
        if self._sums is None:
            self._sums = [0, *accumulate(self._sorted)]
        first, total = bisect_right(self._sorted, generated), len(self._sorted)
        count = total - first
        worst = max(count - int(_TAIL * count), 1)
        return Interval(
            self._mean(first, total, bound),
            float(min(self._sorted[first + int(_LOW * (count - 1))], bound)),
            float(min(self._sorted[first + -int(-_HIGH * (count - 1) // 1)], bound)),
            self._mean(total - worst, total, bound),
        )

    def _mean(self, first: int, last: int, bound: int) -> float:
        """Return the mean of min(L, bound) over sorted outputs first to last."""
        assert self._sums is not None
        cut = max(min(bisect_right(self._sorted, bound), last), first)
        return (self._sums[cut] - self._sums[first] + (last - cut) * bound) / (last - first)


def _keys(request: "Request") -> tuple[Key, Key, Key]:
    """Return where a request's output is kept, closest first."""
    return (request.kind, len(request.prompt).bit_length()), request.kind, _ALL
