"""What the training loop needs to know of an algorithm, and nothing else: examples, batches, a loss, an evaluation.

The loop (`catp.training.caorl.loop`) owns optimiser, schedule, checkpoints and resume; an `Algorithm` owns what is
learned.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import torch

__all__ = ["Algorithm", "Losses"]


@dataclass(frozen=True)
class Losses:
    """The loss of a batch (a scalar tensor with gradient) and its parts as detached scalars, for the record."""

    total: "torch.Tensor"
    parts: Mapping[str, "torch.Tensor"]


class Algorithm(Protocol):
    """Something that can be learned by gradient steps on examples that are drawn by number.

    `digest` is the SHA-256 of all data that went in: a run is only resumed on the same.
    """

    digest: str

    def __len__(self) -> int:
        """How many examples an epoch has."""
        ...

    def length(self, number: int) -> int:
        """Roughly how many tokens an example has: what batches are bucketed by."""
        ...

    def example(self, number: int, random: np.random.Generator) -> Any:
        """Return an example, augmented with `random` (which the loop seeds by seed, epoch and number)."""
        ...

    def batch(self, examples: Sequence[Any]) -> Mapping[str, Any]:
        """Return examples as tensors (on the CPU) under names; the loop moves tensors to the device.

        `tokens` is the number of tokens that count as work, an int.
        """
        ...

    def loss(self, model: Any, batch: Mapping[str, Any]) -> Losses:
        """Return the losses of a batch under a `transformers` causal language model (or a peft model around one)."""
        ...

    def evaluate(self, model: Any) -> Mapping[str, float]:
        """Measure the model on the validation side; `regret` must be among the figures, lower is better."""
        ...
