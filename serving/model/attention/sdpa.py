"""The plain way, on any device: gather a row's keys and values, then torch's scaled dot-product attention.

It copies every prefix in every step, so it is slow (serving.md 3.2: 50 times the shared prefix on a CPU); it is what
the others are compared with, and what runs where they cannot.
"""

import torch
import torch.nn.functional as F

from catp.serving.model.batch import Batch
from catp.serving.model.kvcache import KVCache

__all__ = ["GatherAttention"]


class GatherAttention:
    """Row by row over gathered keys and values."""

    name = "sdpa"

    def __init__(self) -> None:
        self._slots: torch.Tensor
        self._rows: list[_Row] = []
        self._tail: list[_Row] = []

    def begin(self, batch: Batch, cache: KVCache) -> None:
        """Prepare slots and masks of the rows."""
        self._slots = batch.slots
        self._rows = _rows(batch)
        self._tail = _rows(batch.tail) if batch.tail is not None else self._rows

    def attend(
        self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, cache: KVCache, *, tail: bool = False
    ) -> torch.Tensor:
        """See `Attention.attend`."""
        cache.write(layer, self._slots, k, v)
        keys, values = (part.flatten(0, 1) for part in cache.layer(layer))
        found = torch.empty_like(q)
        for row in self._tail if tail else self._rows:
            seen = F.scaled_dot_product_attention(
                q[row.first : row.last].transpose(0, 1)[None], keys[row.slots].transpose(0, 1)[None],
                values[row.slots].transpose(0, 1)[None], attn_mask=row.mask, enable_gqa=True,
            )  # fmt: skip
            found[row.first : row.last] = seen[0].transpose(0, 1)
        return found


class _Row:
    """Queries [first, last) of the pack, the slots they see, and which of these each of them sees."""

    def __init__(self, batch: Batch, number: int) -> None:
        device = batch.ids.device
        self.first, self.last = batch.starts[number], batch.starts[number + 1]
        begin, end = batch.begins[number], batch.begins[number] + batch.counts[number]
        places = torch.arange(end, device=device)
        table = torch.tensor(batch.tables[number], device=device)
        self.slots = table[places // batch.block_size] * batch.block_size + places % batch.block_size
        self.mask = None if end - begin == 1 else places <= torch.arange(begin, end, device=device)[:, None]


def _rows(batch: Batch) -> list[_Row]:
    return [_Row(batch, number) for number in range(len(batch))]
