"""Keys and values of all layers in blocks: one tensor, addressed by block tables."""

from collections.abc import Sequence

import torch

__all__ = ["KVCache"]


class KVCache:
    """The pool's memory: `data` is (2, layers, blocks, block size, kv heads, head size), keys first.

    Args:
        layers, kv_heads, head_size: of the model.
        blocks, block_size: of the pool.
        dtype, device: of the model.
        heads_first: lay each head's positions next to each other in memory; `data` is then a view that is not
            contiguous. One query reads a long context in less than half the time so on a CPU.
    """

    def __init__(
        self, layers: int, blocks: int, block_size: int, kv_heads: int, head_size: int, *,
        dtype: torch.dtype, device: torch.device, heads_first: bool = False,
    ) -> None:  # fmt: skip
        positions, heads = (blocks, block_size), (kv_heads,)
        shape = (
            (2, layers, *heads, *positions, head_size) if heads_first else (2, layers, *positions, *heads, head_size)
        )
        data = torch.zeros(shape, dtype=dtype, device=device)  # zeros: a masked NaN is still a NaN in a product
        self.data = data.permute(0, 1, 3, 4, 2, 5) if heads_first else data

    def layer(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return keys and values of a layer, each (blocks, block size, kv heads, head size)."""
        return self.data[0, number], self.data[1, number]

    def write(self, layer: int, slots: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> None:
        """Write (N, kv heads, head size) keys and values to their slots."""
        keys, values = self.layer(layer)
        keys.view(-1, *k.shape[1:]).index_copy_(0, slots, k)
        values.view(-1, *v.shape[1:]).index_copy_(0, slots, v)

    def copy(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Copy whole blocks of all layers, each pair (from, to), one after another."""
        if not pairs:
            return
        origin: dict[int, int] = {}
        for source, target in pairs:
            origin[target] = origin.get(source, source)  # a fork of a fork: its source is a target itself
        targets, sources = (torch.tensor(list(part), device=self.data.device) for part in (origin, origin.values()))
        self.data.index_copy_(2, targets, self.data.index_select(2, sources))
