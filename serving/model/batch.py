"""The tensors of a step: rows of branches packed one after another, nothing padded.

N tokens of R rows; row r holds tokens [starts[r], starts[r + 1]) of the pack, which are positions
[begins[r], begins[r] + counts[r]) of its branch and see every earlier position of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from catp.serving.engine.request import Branch
from catp.serving.engine.step import Row, reads_in

__all__ = ["Batch", "pack"]


@dataclass(frozen=True)
class Batch:
    """A packed step.

    Args:
        ids, positions, slots: (N,) int64 on the device; slot = block * block size + offset, where a token's keys go.
        begins, counts, starts: per row, on the host; `starts` has one more entry, N.
        tables: block table of each row, as many blocks as its last position needs.
        branches: each row's branch: the same object is the same sequence as in earlier steps. (Its number is not
            enough: an engine that restarts counts from 0 again.)
        block_size: positions per block.
        reads: places among the N whose hidden states are read, by row and read.
        tail: the rows from their first read on, rows without reads left out: only for these does the last layer
            compute more than keys and values. None: for all.
        places: of a tail, where its tokens stand in the whole pack, (its N,) int64 on the device.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    slots: torch.Tensor
    begins: tuple[int, ...]
    counts: tuple[int, ...]
    starts: tuple[int, ...]
    tables: tuple[tuple[int, ...], ...]
    branches: tuple[Branch, ...]
    block_size: int
    reads: tuple[int, ...] = ()
    tail: "Batch | None" = None
    places: torch.Tensor | None = None

    def __len__(self) -> int:
        """Rows."""
        return len(self.counts)


def pack(rows: Sequence[Row], block_size: int, device: torch.device) -> Batch:
    """Pack the rows of a step."""
    ids: list[int] = []
    positions: list[int] = []
    slots: list[int] = []
    starts = [0]
    tables = []
    reads = []
    for row in rows:
        blocks = row.branch.blocks
        begin, end, start = row.begin, row.end, len(ids)
        ids += row.branch.tokens[begin:end]
        positions += range(begin, end)
        for at in range(begin // block_size, -(-end // block_size)):
            first = blocks[at] * block_size
            slots += range(first + max(begin - at * block_size, 0), first + min(end - at * block_size, block_size))
        starts.append(len(ids))
        tables.append(tuple(blocks[: -(-end // block_size)]))
        reads.append([start + row.branch.reads[number].at - begin for number in reads_in(row)])
    packed = torch.tensor([ids, positions, slots], dtype=torch.int64).to(device)
    whole = Batch(
        packed[0], packed[1], packed[2], tuple(row.begin for row in rows), tuple(row.count for row in rows),
        tuple(starts), tuple(tables), tuple(row.branch for row in rows), block_size,
        tuple(place for found in reads for place in found),
    )  # fmt: skip
    return _with_tail(whole, reads)


def _with_tail(batch: Batch, reads: Sequence[Sequence[int]]) -> Batch:
    kept = [(row, min(found)) for row, found in enumerate(reads) if found]
    counts = [batch.starts[row + 1] - first for row, first in kept]
    if sum(counts) == len(batch.ids):
        return batch
    starts, places, moved = [0], list[int](), list[int]()
    for (row, first), count in zip(kept, counts, strict=True):
        places += range(first, first + count)
        moved += [place - first + starts[-1] for place in reads[row]]
        starts.append(starts[-1] + count)
    where = torch.tensor(places, dtype=torch.int64).to(batch.ids.device)
    tail = Batch(
        batch.ids[where], batch.positions[where], batch.slots[where],
        tuple(batch.begins[row] + first - batch.starts[row] for row, first in kept), tuple(counts), tuple(starts),
        tuple(batch.tables[row] for row, _ in kept), tuple(batch.branches[row] for row, _ in kept), batch.block_size,
        tuple(moved), None, where,
    )  # fmt: skip
    return Batch(
        batch.ids, batch.positions, batch.slots, batch.begins, batch.counts, batch.starts, batch.tables,
        batch.branches, batch.block_size, batch.reads, tail,
    )  # fmt: skip
