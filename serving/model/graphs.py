"""CUDA graphs of decoding steps: one launch instead of some ten kernels a layer.

A graph has fixed shapes and addresses. So there is one for each of a few numbers of rows and of queries a row (forced
runs are several), over tensors of its own; a step goes to the smallest that it fits into, and is padded:

    rows     missing rows have no queries: attention skips them
    queries  missing tokens of a row write their keys to a spare block behind the pool, which nobody reads

A step with parts of prompts, or with adapters, runs without. Nothing of this is used on a CPU, but all of it except the
capture itself also runs there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from catp.serving.model.attention.triton_paged import ShortRows, kernel_attend, parts_for
from catp.serving.model.batch import Batch
from catp.serving.model.kvcache import KVCache
from catp.serving.model.llama import Llama

__all__ = ["DecodeGraphs", "Shape", "StaticStep", "shape_for"]

_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_QUERIES = (1, 2, 4)


@dataclass(frozen=True, slots=True)
class Shape:
    """Rows of a step, and queries of each."""

    rows: int
    queries: int


def shape_for(counts: Sequence[int], most_rows: int) -> Shape | None:
    """Return the smallest shape that rows of so many tokens fit into, None if there is none."""
    rows = next((size for size in _ROWS if size >= len(counts)), None)
    queries = next((size for size in _QUERIES if size >= max(counts, default=0)), None)
    if not counts or rows is None or queries is None or rows > _largest(most_rows):
        return None
    return Shape(rows, queries)


def _largest(most_rows: int) -> int:
    """Return the number of rows of the largest graph for an engine of so many sequences."""
    return next((size for size in _ROWS if size >= most_rows), _ROWS[-1])


class StaticStep:
    """A padded step in tensors that stay where they are.

    Args:
        model: computes it.
        cache: has one block more than the pool, the last one, for what padding writes.
        shape: rows and queries.
        blocks: most blocks of a row.
        multiprocessors: of the device.
    """

    def __init__(self, model: Llama, cache: KVCache, shape: Shape, blocks: int, multiprocessors: int) -> None:
        device, tokens = cache.data.device, shape.rows * shape.queries
        _, _, pool, size, kv_heads, _ = cache.data.shape
        self._model, self._cache, self._shape = model, cache, shape
        self._spare = (pool - 1) * size
        self._packed = torch.zeros((3, tokens), dtype=torch.int64, device=device)
        self._packed[2].fill_(self._spare)
        order = torch.arange(tokens, dtype=torch.int32, device=device)
        first = order[:: shape.queries].contiguous()
        self._rows = ShortRows(
            torch.zeros((shape.rows, blocks), dtype=torch.int32, device=device), first,
            torch.zeros_like(first), torch.zeros_like(first), first, order,
            queries=shape.queries, splits=parts_for(shape.rows * kv_heads, blocks * size, multiprocessors),
        )  # fmt: skip
        ids, positions, slots = self._packed
        self._batch = Batch(
            ids, positions, slots, (0,) * shape.rows, (shape.queries,) * shape.rows,
            tuple(range(0, tokens + 1, shape.queries)), ((),) * shape.rows, (), size, tuple(range(tokens)),
        )  # fmt: skip

    def fill(self, batch: Batch) -> Tensor:
        """Take a step's tokens; return where those that it reads stand in what `run` returns, on the device."""
        host = layout(batch, self._shape)
        packed = torch.from_numpy(host.packed).to(self._packed.device)
        ends = (0, *accumulate(host.sizes))
        places, reads, begins, counts, tables = (packed[first:last] for first, last in pairwise(ends))
        where = places.to(torch.int64)
        self._packed[2].fill_(self._spare)
        self._packed[:, where] = torch.stack((batch.ids, batch.positions, batch.slots))
        self._rows.begins.copy_(begins)
        self._rows.counts.copy_(counts)
        used = tables.view(len(batch), -1)
        self._rows.tables[: len(batch), : used.shape[1]].copy_(used)
        return reads.to(torch.int64)

    def run(self) -> Tensor:
        """Compute what was filled in: final hidden states of all tokens, padding included."""
        return self._model.forward(self._batch, self._cache, _Static(self._batch.slots, self._rows))


@dataclass(frozen=True, slots=True)
class Layout:
    """Indices of a padded step in one array, to go to the device at once; `sizes` of its five parts.

    Places of the step's tokens, places of its reads, begins and counts of all rows, block tables of its own rows.
    """

    packed: NDArray[np.int32]
    sizes: tuple[int, int, int, int, int]


def layout(batch: Batch, shape: Shape) -> Layout:
    """Return where the tokens of a step go in a padded one."""
    counts = np.zeros(shape.rows, dtype=np.int32)
    begins = np.zeros(shape.rows, dtype=np.int32)
    counts[: len(batch)], begins[: len(batch)] = batch.counts, batch.begins
    moved = np.arange(len(batch)) * shape.queries - np.array(batch.starts[:-1])
    places = np.arange(len(batch.ids)) + np.repeat(moved, batch.counts)
    width = max(len(table) for table in batch.tables)
    tables = np.zeros((len(batch), width), dtype=np.int32)
    for row, table in enumerate(batch.tables):
        tables[row, : len(table)] = table
    parts = (places, places[np.array(batch.reads, dtype=np.int64)], begins, counts, tables.ravel())
    one, two, three, four, five = (len(part) for part in parts)
    return Layout(np.concatenate(parts).astype(np.int32), (one, two, three, four, five))


class _Static:
    """Attention over rows that are prepared already."""

    name = "static"

    def __init__(self, slots: Tensor, rows: ShortRows) -> None:
        self._slots, self._rows = slots, rows

    def begin(self, batch: Batch, cache: KVCache) -> None:
        """Nothing is left to prepare."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, cache: KVCache, *, tail: bool = False) -> Tensor:
        """See `Attention.attend`."""
        cache.write(layer, self._slots, k, v)
        out = torch.zeros(q.shape, dtype=q.dtype, device=q.device)
        kernel_attend(q, *cache.layer(layer), self._rows, out)
        return out


class DecodeGraphs:
    """Captured steps of one model on one GPU; they share their memory, so the largest is captured first.

    Args:
        model, cache: as for `StaticStep`.
        positions: longest context.
        most_rows: most branches of a step.
    """

    def __init__(self, model: Llama, cache: KVCache, positions: int, most_rows: int) -> None:
        self._most_rows = most_rows
        self._captured: dict[Shape, tuple[StaticStep, torch.cuda.CUDAGraph, Tensor]] = {}
        multiprocessors = torch.cuda.get_device_properties(cache.data.device).multi_processor_count
        blocks = -(-positions // cache.data.shape[3])
        pool = torch.cuda.graph_pool_handle()
        largest = _largest(most_rows)
        for shape in (Shape(rows, queries) for rows in reversed(_ROWS) for queries in reversed(_QUERIES)):
            if shape.rows <= largest:
                step = StaticStep(model, cache, shape, blocks, multiprocessors)
                self._captured[shape] = (step, *_capture(step, pool))

    def forward(self, batch: Batch) -> Tensor | None:
        """Return final hidden states (reads, hidden) of a step, None if no graph fits it."""
        shape = shape_for(batch.counts, self._most_rows)
        if shape is None:
            return None
        step, graph, hidden = self._captured[shape]
        reads = step.fill(batch)
        graph.replay()
        return hidden[reads]


def _capture(step: StaticStep, pool: Any) -> tuple[torch.cuda.CUDAGraph, Tensor]:
    """Record a step after two runs that compile its kernels and make its libraries' workspaces."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            step.run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        hidden = step.run()
    return graph, hidden
