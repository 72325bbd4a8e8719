"""Learned quality with estimated prices: gradient boosting and ridge regression on features of plan and request.

Every one of them chooses by `alpha * predicted quality - (1 - alpha) * estimated price / price_scale`; only quality is
learned, because prices add up. scikit-learn is imported when the first model is fitted.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, Literal, Protocol

import numpy as np

from catp.training.baselines.chooser import LISTED, Prices
from catp.training.baselines.features import FeatureSpace
from catp.training.baselines.prices import StepPrices
from catp.training.baselines.tables import PlanTable
from catp.training.evaluate.candidates import CandidateSet, Floats
from catp.training.evaluate.regret import best_of

__all__ = ["QualityModel"]


class _Regressor(Protocol):
    def fit(self, x: Floats, y: Floats) -> Any: ...
    def predict(self, x: Floats) -> Floats: ...


class QualityModel:
    """A chooser with a learned quality.

    Args:
        model: `gbm` (histogram gradient boosting, 150 trees of 15 leaves) or `ridge` (standardised columns, crossed).
        target: `score`, or `advantage`: the score minus the mean of its set, which is all that choosing needs.
        known_tasks: also show the model each plan's mean advantage on the other inputs of the task (`PlanTable`).
        seed: of the model.
    """

    def __init__(
        self,
        name: str,
        model: Literal["gbm", "ridge"] = "gbm",
        *,
        target: Literal["score", "advantage"] = "score",
        known_tasks: bool = False,
        seed: int = 0,
    ) -> None:
        self.name = name
        self.model, self.target, self.known_tasks, self.seed = model, target, known_tasks, seed
        self._prices = StepPrices()
        self._space = FeatureSpace(self._prices, crossed=model == "ridge")
        self._table = PlanTable()
        self._fitted: _Regressor | None = None
        self._latest: tuple[CandidateSet, Floats] | None = None

    def fit(self, sets: Sequence[CandidateSet]) -> None:
        """Fit prices, columns and the model."""
        used = [one for one in sets if len(one) >= (2 if self.target == "advantage" else 1)]
        if not used:
            raise ValueError(f"{self.name}: no candidate set to learn from")
        self._prices.fit(sets)
        self._table.fit(sets)
        x = self._space.fit(used)
        if self.known_tasks:
            x = np.column_stack([x, *self._columns(used)])
        y = np.concatenate([one.scores - one.scores.mean() * (self.target == "advantage") for one in used])
        self._fitted = _regressor(self.model, self.seed)  # before `_threads` looks which libraries are loaded
        with _one_thread():
            self._fitted.fit(x, y)
        self._latest = None

    def choose(self, set: CandidateSet, alpha: float, prices: Prices = LISTED) -> Floats:
        """Return the best by predicted quality and estimated price."""
        price = self._prices.price(set, prices) / set.price_scale
        return best_of(alpha * self._quality(set) - (1 - alpha) * price)

    def predict(self, set: CandidateSet) -> Floats | None:
        """Return the predicted scores; None of a model of advantages."""
        return np.clip(self._quality(set), 0.0, 1.0) if self.target == "score" else None

    def _quality(self, set: CandidateSet) -> Floats:
        if self._fitted is None:
            raise RuntimeError(f"{self.name} must be fitted before it can choose")
        if self._latest is None or self._latest[0] is not set:  # a sweep of alpha asks for the same set many times
            x = self._space.matrix(set)
            if self.known_tasks:
                x = np.column_stack([x, *self._columns([set])])
            with _one_thread():
                self._latest = set, np.asarray(self._fitted.predict(x), dtype=np.float64)
        return self._latest[1]

    def _columns(self, sets: Sequence[CandidateSet]) -> list[Floats]:
        """The table's mean score and advantage of each option; nan where the task never ran the plan."""
        tables = (self._table.score, self._table.advantage)
        return [np.concatenate([table(one) for one in sets]) for table in tables]


@cache
def _threads() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _one_thread() -> AbstractContextManager[Any]:
    """A dozen rows are no work for several threads: on a busy machine they wait for each other fifty times as long."""
    found: AbstractContextManager[Any] = _threads().limit(limits=1)
    return found


def _regressor(model: Literal["gbm", "ridge"], seed: int) -> _Regressor:
    try:
        from sklearn.ensemble import HistGradientBoostingRegressor
        from sklearn.linear_model import Ridge
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise ImportError(f"{model} needs scikit-learn; run: pip install 'catp[train]'") from error
    found: _Regressor
    if model == "ridge":
        found = make_pipeline(StandardScaler(), Ridge(alpha=100.0))
    else:
        found = HistGradientBoostingRegressor(
            max_iter=150, learning_rate=0.06, max_leaf_nodes=15, min_samples_leaf=10, l2_regularization=1.0,
            early_stopping=False, random_state=seed,
        )  # fmt: skip
    return found
