"""Tables: what each plan came to on average elsewhere. They never look at the input, only at the plan (and its task).

An advantage is a plan's score minus the mean score of its set, so that plans of easy tasks do not look good.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from catp.training.baselines.chooser import LISTED, Prices
from catp.training.baselines.prices import CrossFittedPrices, StepPrices
from catp.training.baselines.rules import multiset
from catp.training.evaluate.candidates import CandidateSet, Floats
from catp.training.evaluate.regret import best_of

__all__ = ["BestFixed", "MostAccurate", "PlanTable", "TaskTable"]

_PRIOR = 3.0
"""How many observations the next wider estimate counts as."""


class _Sums:
    """Running sums by key, from which one set's share can be taken out again."""

    def __init__(self) -> None:
        self._total: dict[Hashable, Floats] = defaultdict(lambda: np.zeros(3))
        self._own: dict[tuple[str, Hashable], Floats] = defaultdict(lambda: np.zeros(3))

    def add(self, owner: str, key: Hashable, score: float, advantage: float) -> None:
        row = np.array([1.0, score, advantage])
        self._total[key] += row
        self._own[owner, key] += row

    def without(self, owner: str, key: Hashable) -> tuple[float, float, float]:
        """Return count, summed score and summed advantage over all other sets."""
        if key not in self._total:
            return 0.0, 0.0, 0.0
        count, score, advantage = self._total[key] - self._own.get((owner, key), np.zeros(3))
        return float(round(count)), float(score), float(advantage)


def _advantages(sets: Iterable[CandidateSet]) -> Iterable[tuple[CandidateSet, Floats]]:
    for one in sets:
        if len(one) >= 2:
            yield one, one.scores - one.scores.mean()


class PlanTable:
    """Mean score and advantage of each plan within its task, over the other inputs of the task."""

    def __init__(self) -> None:
        self._sums = _Sums()

    def fit(self, sets: Sequence[CandidateSet]) -> "PlanTable":
        """Add up and return itself."""
        self._sums = _Sums()
        for one, advantages in _advantages(sets):
            for option, score, advantage in zip(one.options, one.scores, advantages, strict=True):
                self._sums.add(one.id, (one.group, option.plan), score, advantage)
        return self

    def advantage(self, set: CandidateSet) -> Floats:
        """Return each option's mean advantage over other inputs, nan where its task never ran it."""
        return self._mean(set, 2)

    def score(self, set: CandidateSet) -> Floats:
        """Return each option's mean score over other inputs, nan where its task never ran it."""
        return self._mean(set, 1)

    def _mean(self, set: CandidateSet, column: int) -> Floats:
        rows = [self._sums.without(set.id, (set.group, option.plan)) for option in set.options]
        return np.array([row[column] / row[0] if row[0] else np.nan for row in rows])


class TaskTable:
    """Known tasks: the plan with the best mean advantage on the task's other inputs, minus its estimated price.

    Plans the task never ran count as average. Of a task without a table, only the price is known: the cheapest.
    """

    name = "table"
    leaves_own_out = True

    def __init__(self) -> None:
        self._table = PlanTable()
        self._prices = CrossFittedPrices()

    def fit(self, sets: Sequence[CandidateSet]) -> None:
        """Add up advantages per task, estimate prices."""
        self._table.fit(sets)
        self._prices.fit(sets)

    def choose(self, set: CandidateSet, alpha: float, prices: Prices = LISTED) -> Floats:
        """Return the best by table and price."""
        estimated = self._prices.price(set, prices)
        quality = np.nan_to_num(self._table.advantage(set))
        if alpha == 1 and not quality.any():
            return best_of(-estimated)
        return best_of(alpha * quality - (1 - alpha) * estimated / set.price_scale)

    def predict(self, set: CandidateSet) -> Floats:
        """Return the mean score of each plan on the task's other inputs."""
        return self._table.score(set)


class BestFixed:
    """One plan per task: the best on average over the training inputs of the task, whatever this input looks like.

    Where a set does not offer it, the next best. An input that does not offer a plan counts as average for it, so that
    a plan that was measured once by luck is not the favourite. Of an unknown task, the cheapest by estimate.
    With `hindsight` the averages are over the very inputs it is judged on: no fixed choice can be better.
    """

    def __init__(self, *, hindsight: bool = False) -> None:
        self.name = "fixed-hindsight" if hindsight else "fixed"
        self.sees_outcomes = hindsight
        self._prices = StepPrices()
        self._sums: dict[tuple[str, str], Floats] = {}

    def fit(self, sets: Sequence[CandidateSet]) -> None:
        """Sum the advantages in score and price of each plan of each task."""
        sums: dict[tuple[str, str], Floats] = defaultdict(lambda: np.zeros(2))
        self._prices.fit(sets)
        for one, scores in _advantages(sets):
            prices = (one.prices - one.prices.mean()) / one.price_scale
            for option, score, price in zip(one.options, scores, prices, strict=True):
                sums[one.group, option.plan] += (score, price)
        self._sums = dict(sums)

    def choose(self, set: CandidateSet, alpha: float, prices: Prices = LISTED) -> Floats:
        """Return the highest-ranked plan of the task that is offered."""
        rows = [self._sums.get((set.group, option.plan)) for option in set.options]
        if not any(row is not None for row in rows):
            return best_of(-self._prices.price(set, prices))
        return best_of(np.array([alpha * row[0] - (1 - alpha) * row[1] if row is not None else np.nan for row in rows]))

    def predict(self, set: CandidateSet) -> None:
        """Predict nothing."""


class MostAccurate:
    """The plan that was most accurate in training, whatever it costs and whatever the input looks like.

    Accuracy is the mean advantage of the plan; drawn (by three observations' worth) towards that of plans with the same
    tools, and that towards the mean of its single tools. Among equals, the dearest by estimate: what a caller takes who
    trusts that quality has its price.
    """

    name = "accurate"

    def __init__(self) -> None:
        self._prices = StepPrices()
        self._means: dict[Hashable, Floats] = {}

    def fit(self, sets: Sequence[CandidateSet]) -> None:
        """Average advantages by plan, by multiset of tools and by tool."""
        sums: dict[Hashable, Floats] = defaultdict(lambda: np.zeros(2))
        self._prices.fit(sets)
        for one, advantages in _advantages(sets):
            for option, advantage in zip(one.options, advantages, strict=True):
                keys: list[Hashable] = [("plan", option.plan), ("tools", multiset(option))]
                for key in [*keys, *(("tool", tool) for tool in option.tools)]:
                    sums[key] += (1.0, advantage)
        self._means = dict(sums)

    def choose(self, set: CandidateSet, alpha: float, prices: Prices = LISTED) -> Floats:
        """Return the most accurate, of equals the dearest."""
        accuracy = np.array([self._accuracy(option.plan, multiset(option)) for option in set.options])
        dearest = self._prices.price(set, prices)
        dearest[accuracy < accuracy.max() - 1e-9] = np.nan
        return best_of(dearest)

    def predict(self, set: CandidateSet) -> None:
        """Predict nothing: an advantage is not a quality."""

    def _accuracy(self, plan: str, tools: tuple[str, ...]) -> float:
        single = float(np.mean([self._drawn(("tool", tool), 0.0) for tool in tools])) if tools else 0.0
        return self._drawn(("plan", plan), self._drawn(("tools", tools), single))

    def _drawn(self, key: Hashable, prior: float) -> float:
        count, total = self._means.get(key, (0.0, 0.0))
        return float((total + _PRIOR * prior) / (count + _PRIOR))
