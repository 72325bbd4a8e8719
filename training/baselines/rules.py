"""Rules: choosers that look at prices, lengths or how often a plan was seen, and predict no quality.

`cheapest` is the one to beat: on OpenCATP's pool it is the best plan in most sets at alpha 0.5.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np

from catp.training.baselines.chooser import LISTED, Prices
from catp.training.baselines.prices import StepPrices
from catp.training.evaluate.candidates import CandidateSet, Floats, Option
from catp.training.evaluate.regret import best_of

__all__ = ["ByLength", "Cheapest", "MostFrequent", "RandomValid", "multiset"]


class RandomValid:
    """Every offered plan with the same probability: the mean over all draws, without the noise of drawing."""

    name = "random"

    def fit(self, sets: Sequence[CandidateSet]) -> None:
        """Nothing to learn."""

    def choose(self, set: CandidateSet, alpha: float, prices: Prices = LISTED) -> Floats:
        """Return equal weights."""
        return np.full(len(set), 1 / len(set))

    def predict(self, set: CandidateSet) -> None:
        """Predict nothing."""


class Cheapest:
    """The plan with the lowest estimated price, at every alpha; see `StepPrices` for `by`."""

    def __init__(self, by: Literal["size", "mean"] = "size") -> None:
        self.name = "cheapest" if by == "size" else "cheapest-mean"
        self._prices = StepPrices(by)

    def fit(self, sets: Sequence[CandidateSet]) -> None:
        """Estimate step prices."""
        self._prices.fit(sets)

    def choose(self, set: CandidateSet, alpha: float, prices: Prices = LISTED) -> Floats:
        """Return the cheapest by estimate."""
        return best_of(-self._prices.price(set, prices))

    def predict(self, set: CandidateSet) -> None:
        """Predict nothing."""


class ByLength:
    """The plan with the fewest or the most steps; evenly among equals."""

    def __init__(self, which: Literal["shortest", "longest"]) -> None:
        self.name: str = which
        self._sign = -1 if which == "shortest" else 1

    def fit(self, sets: Sequence[CandidateSet]) -> None:
        """Nothing to learn."""

    def choose(self, set: CandidateSet, alpha: float, prices: Prices = LISTED) -> Floats:
        """Return the shortest or longest."""
        return best_of(np.array([self._sign * len(option.steps) for option in set.options], dtype=np.float64))

    def predict(self, set: CandidateSet) -> None:
        """Predict nothing."""


class MostFrequent:
    """The plan that most training sets offer; of those never seen, the one whose tools were most often combined."""

    name = "frequent"

    def __init__(self) -> None:
        self._plans: Counter[str] = Counter()
        self._tools: Counter[tuple[str, ...]] = Counter()

    def fit(self, sets: Sequence[CandidateSet]) -> None:
        """Count plans and multisets of tools."""
        self._plans = Counter(option.plan for one in sets for option in one.options)
        self._tools = Counter(multiset(option) for one in sets for option in one.options)

    def choose(self, set: CandidateSet, alpha: float, prices: Prices = LISTED) -> Floats:
        """Return the most frequent."""
        more = 1 + max((self._tools[multiset(option)] for option in set.options), default=0)
        counts = [self._plans[option.plan] * more + self._tools[multiset(option)] for option in set.options]
        return best_of(np.array(counts, dtype=np.float64))

    def predict(self, set: CandidateSet) -> None:
        """Predict nothing."""


def multiset(option: Option) -> tuple[str, ...]:
    """Return the tools of a plan, sorted: what it is but for the order."""
    return tuple(sorted(option.tools))
