"""What attention over the paged cache must do; backends differ in how."""

from typing import Protocol

import torch

from catp.serving.model.batch import Batch
from catp.serving.model.kvcache import KVCache

__all__ = ["Attention"]


class Attention(Protocol):
    """Causal attention of the rows of a step over their block tables, grouped queries included.

    `begin` is called once a step, then `attend` once per layer in order.
    """

    name: str

    def begin(self, batch: Batch, cache: KVCache) -> None:
        """Take the rows of a step and prepare what all layers share."""
        ...

    def attend(
        self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, cache: KVCache, *, tail: bool = False
    ) -> torch.Tensor:
        """Write the new keys and values to their slots and return attention.

        Args:
            layer: from 0.
            q: (N, heads, size), rotary positions applied; not scaled.
            k, v: (N, kv heads, size), rotary positions applied to k.
            cache: of all layers.
            tail: `q` is of the tokens of `batch.tail` only (the last layer of a step that has a tail).

        Returns:
            The shape of `q`.
        """
        ...
