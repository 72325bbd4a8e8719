"""Oracles: what one could reach if outcomes were known beforehand. They mark the scale, they compete with nobody."""

from collections.abc import Sequence
from typing import Literal

from catp.training.baselines.chooser import LISTED, Prices
from catp.training.evaluate.candidates import CandidateSet, Floats
from catp.training.evaluate.regret import best_of

__all__ = ["Oracle"]


class Oracle:
    """Chooses by measured outcomes: the `utility`, the `price` alone, the `score` alone, or the `worst` utility."""

    sees_outcomes = True

    def __init__(self, by: Literal["utility", "price", "score", "worst"] = "utility") -> None:
        self.by = by
        self.name = {"utility": "oracle", "worst": "worst"}.get(by, f"oracle-{by}")

    def fit(self, sets: Sequence[CandidateSet]) -> None:
        """Nothing to learn."""

    def choose(self, set: CandidateSet, alpha: float, prices: Prices = LISTED) -> Floats:
        """Return the best (or worst) measured option."""
        if self.by == "price":
            return best_of(-set.prices)
        if self.by == "score":
            return best_of(set.scores)
        return best_of(set.utility(alpha) * (-1 if self.by == "worst" else 1))

    def predict(self, set: CandidateSet) -> Floats | None:
        """Predict nothing: it knows."""
        return None
