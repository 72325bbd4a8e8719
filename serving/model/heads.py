"""Output layers: of the whole vocabulary for text, and of the few rows that plans are written with.

A plan has some hundred tokens to choose from, and a vocabulary has 32,000 to 152,000 rows: for a small model those are
most of its weights (serving.md 3.2). So the rows of plan tokens are kept apart, and plans never touch the others.
"""

from collections.abc import Sequence

import torch

from catp.serving.model.linear import Linear, packs
from catp.serving.model.weights import Weights

__all__ = ["Heads"]


class Heads:
    """Both output layers of a model.

    Args:
        weights: of the model.
        plan_ids: token ids of the plan rows, in the order in which programs read them; none: no plans.
    """

    def __init__(self, weights: Weights, plan_ids: Sequence[int] = ()) -> None:
        if plan_ids and not 0 <= min(plan_ids) <= max(plan_ids) < weights.config.vocabulary:
            raise ValueError(
                f"plan ids must be in [0, {weights.config.vocabulary}), the model's vocabulary; the tokenizer is of "
                "another model"
            )
        self.plan_ids = tuple(plan_ids)
        self._text = Linear(weights.head, packed=packs(weights))
        self._plan = weights.head[torch.tensor(self.plan_ids, dtype=torch.int64, device=weights.device)]

    def plan(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return logits (R, plan rows) of hidden states (R, hidden)."""
        return hidden @ self._plan.T

    def text(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return logits (R, vocabulary) of hidden states (R, hidden)."""
        return self._text(hidden)
