"""Attention on a GPU: rows of few queries (decoding, forced runs) by our paged kernel, parts of prompts by torch.

The kernel reads keys where they lie, through block tables; nothing is gathered. A part of a prompt gathers its context
once and goes to torch's fused attention, where the arithmetic outweighs the copy.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from catp.serving.model.attention.kernels import TILE, attend_part, merge_parts
from catp.serving.model.batch import Batch
from catp.serving.model.kvcache import KVCache

__all__ = ["SHORT", "ShortRows", "TritonAttention", "kernel_attend", "short_rows"]

SHORT = 8
"""Most queries of a row that the kernel takes."""

_WAVES = 2
"""Programs a multiprocessor should have before a context is not divided further."""

_PARTS = 16


class ShortRows:
    """Rows of at most `SHORT` queries, as the kernel reads them; int32 tensors on the device, so that graphs can.

    Args:
        tables: (R, blocks), padded.
        starts, begins, counts, compact: (R,): first token in the pack, its position, tokens, first place among all
            tokens of short rows.
        tokens: (short,) where these stand in the pack.
        queries: most tokens of a row.
        splits: parts of each context.
    """

    def __init__(
        self, tables: Tensor, starts: Tensor, begins: Tensor, counts: Tensor, compact: Tensor, tokens: Tensor, *,
        queries: int, splits: int,
    ) -> None:  # fmt: skip
        self.tables, self.starts, self.begins, self.counts = tables, starts, begins, counts
        self.compact, self.tokens = compact, tokens
        self.queries, self.splits = queries, splits


class TritonAttention:
    """Paged attention with grouped queries on CUDA (or anywhere in Triton's interpreter).

    Args:
        splits: parts of each context; None: as many as fill the device.
    """

    name = "triton"

    def __init__(self, splits: int | None = None) -> None:
        self._splits = splits
        self._slots = torch.empty(0)
        self._short: ShortRows | None = None
        self._long: list[_Prompt] = []
        self._tail: tuple[ShortRows | None, list[_Prompt]] = (None, [])

    def begin(self, batch: Batch, cache: KVCache) -> None:
        """Prepare tables of short rows and slots of long ones."""
        kv_heads = cache.data.shape[4]
        self._slots = batch.slots
        self._short, self._long = self._prepare(batch, kv_heads)
        self._tail = (self._short, self._long)
        if batch.tail is not None:
            self._tail = self._prepare(batch.tail, kv_heads)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, cache: KVCache, *, tail: bool = False) -> Tensor:
        """See `Attention.attend`."""
        cache.write(layer, self._slots, k, v)
        short, long = self._tail if tail else (self._short, self._long)
        out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
        if short is not None:
            kernel_attend(q, *cache.layer(layer), short, out)
        for prompt in long:
            prompt.attend(q, *cache.layer(layer), out)
        return out

    def _prepare(self, batch: Batch, kv_heads: int) -> "tuple[ShortRows | None, list[_Prompt]]":
        few = [row for row in range(len(batch)) if batch.counts[row] <= SHORT]
        many = [row for row in range(len(batch)) if batch.counts[row] > SHORT]
        splits = 1
        if few:
            longest = max(batch.begins[row] + batch.counts[row] for row in few)
            splits = self._splits or parts_for(len(few) * kv_heads, longest, _multiprocessors(batch.ids.device))
        return short_rows(batch, few, splits), [_Prompt(batch, row) for row in many]


def short_rows(batch: Batch, rows: Sequence[int], splits: int) -> ShortRows | None:
    """Return some rows of a batch as the kernel reads them, with one transfer; None for no rows."""
    if not rows:
        return None
    width = max(len(batch.tables[row]) for row in rows)
    counts = np.array([batch.counts[row] for row in rows])
    starts = np.array([batch.starts[row] for row in rows])
    compact = np.concatenate(([0], np.cumsum(counts)[:-1]))
    heads = np.zeros((len(rows), 4 + width), dtype=np.int32)
    heads[:, :4] = np.stack((starts, np.array([batch.begins[row] for row in rows]), counts, compact), axis=1)
    for place, row in enumerate(rows):
        heads[place, 4 : 4 + len(batch.tables[row])] = batch.tables[row]
    tokens = np.repeat(starts - compact, counts) + np.arange(counts.sum())
    return _on_device(heads, tokens.astype(np.int32), int(counts.max()), splits, batch.ids.device)


def _on_device(
    heads: NDArray[np.int32], tokens: NDArray[np.int32], queries: int, splits: int, device: torch.device
) -> ShortRows:
    packed = torch.from_numpy(np.concatenate((heads.T[:4].ravel(), tokens, heads[:, 4:].ravel()))).to(device)
    rows = len(heads)
    starts, begins, counts, compact = packed[: 4 * rows].view(4, rows)
    place = packed[4 * rows : 4 * rows + len(tokens)]
    tables = packed[4 * rows + len(tokens) :].view(rows, -1)
    return ShortRows(tables, starts, begins, counts, compact, place, queries=queries, splits=splits)


def kernel_attend(q: Tensor, keys: Tensor, values: Tensor, rows: ShortRows, out: Tensor) -> None:
    """Attend over paged keys and values.

    Args:
        q: (N, heads, size), the last dimension adjacent.
        keys, values: of a layer, (blocks, block size, kv heads, size), laid out alike, the last dimension adjacent.
        rows: which tokens of q, over which blocks.
        out: (N, heads, size), contiguous; gets the rows' tokens, others stay.
    """
    _, heads, size = q.shape
    block, kv_heads = keys.shape[1], keys.shape[2]
    short = len(rows.tokens)
    width = max(16, _power(size))  # a product in Triton has at least 16 in each dimension
    parts, norms = out, out  # not touched if there is one part
    if rows.splits > 1:
        parts = torch.empty((rows.splits, short, heads, size), dtype=torch.float32, device=q.device)
        norms = torch.empty((rows.splits, short, heads), dtype=torch.float32, device=q.device)
    attend_part[len(rows.starts), kv_heads, rows.splits](
        q, keys, values, rows.tables, rows.starts, rows.begins, rows.counts, rows.compact, out, parts, norms,
        math.log2(math.e) / math.sqrt(size), q.stride(0), q.stride(1), *keys.stride()[:3],
        rows.tables.stride(0), short,
        BLOCK=block, HEADS=heads, KV_HEADS=kv_heads, SIZE=size, WIDTH=width,
        QUERIES=max(16, _power(rows.queries * (heads // kv_heads))), SPLITS=rows.splits,
        KEYS=TILE if keys.element_size() == 2 else TILE // 2,
    )  # fmt: skip
    if rows.splits > 1:
        merge_parts[short, heads](
            parts, norms, rows.tokens, out, short,
            HEADS=heads, SIZE=size, WIDTH=width, SPLITS=rows.splits, LANES=_power(rows.splits),
        )  # fmt: skip


def parts_for(programs: int, longest: int, multiprocessors: int) -> int:
    """Return into how many parts contexts are divided so that the device is full; a power of two."""
    room = max(_WAVES * multiprocessors // programs, 1)
    useful = -(-longest // (2 * TILE))  # at least two tiles a part: a merge costs as much as reading one
    return 1 << (max(min(room, useful, _PARTS), 1).bit_length() - 1)


def _multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


def _power(number: int) -> int:
    """Return the least power of two that is not less."""
    return 1 << (number - 1).bit_length()


class _Prompt:
    """A row of many queries: tokens [first, last) of the pack, and the slots they see."""

    def __init__(self, batch: Batch, row: int) -> None:
        device = batch.ids.device
        self._first, self._last = batch.starts[row], batch.starts[row + 1]
        begin, end = batch.begins[row], batch.begins[row] + batch.counts[row]
        places = np.arange(end)
        table = np.array(batch.tables[row])
        slots = table[places // batch.block_size] * batch.block_size + places % batch.block_size
        self._slots = torch.from_numpy(slots).to(device)
        self._mask = None  # from position 0 on plain causal attention needs none, and has the fastest kernels
        if begin > 0:
            self._mask = torch.arange(end, device=device) <= torch.arange(begin, end, device=device)[:, None]

    def attend(self, q: Tensor, keys: Tensor, values: Tensor, out: Tensor) -> None:
        share = q.shape[1] // keys.shape[2]
        # repeated keys: of torch's fused kernels, those that take masks do not take grouped queries
        key, value = (
            part.flatten(0, 1)[self._slots].repeat_interleave(share, dim=1).transpose(0, 1)[None]
            for part in (keys, values)
        )
        query = q[self._first : self._last].transpose(0, 1)[None]
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=self._mask, is_causal=self._mask is None)
        out[self._first : self._last] = seen[0].transpose(0, 1)
