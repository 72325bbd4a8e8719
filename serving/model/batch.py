"""The tensors of a step: rows of branches packed one after another, nothing padded.

N tokens of R rows; row r holds tokens [starts[r], starts[r + 1]) of the pack, which are positions
[begins[r], begins[r] + counts[r]) of its branch and see every earlier position of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from catp.serving.engine.step import Row

__all__ = ["Batch", "pack"]


@dataclass(frozen=True)
class Batch:
    """A packed step.

    Args:
        ids, positions, slots: (N,) int64 on the device; slot = block * block size + offset, where a token's keys go.
        begins, counts, starts: per row, on the host; `starts` has one more entry, N.
        tables: block table of each row, as many blocks as its last position needs.
        branches: number of each row's branch; the same number is the same sequence as in earlier steps.
        block_size: positions per block.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    slots: torch.Tensor
    begins: tuple[int, ...]
    counts: tuple[int, ...]
    starts: tuple[int, ...]
    tables: tuple[tuple[int, ...], ...]
    branches: tuple[int, ...]
    block_size: int

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
    for row in rows:
        blocks = row.branch.blocks
        ids += row.branch.tokens[row.begin : row.end]
        positions += range(row.begin, row.end)
        slots += [blocks[at // block_size] * block_size + at % block_size for at in range(row.begin, row.end)]
        starts.append(len(ids))
        tables.append(tuple(blocks[: -(-row.end // block_size)]))
    packed = torch.tensor([ids, positions, slots], dtype=torch.int64).to(device)
    return Batch(
        packed[0], packed[1], packed[2], tuple(row.begin for row in rows), tuple(row.count for row in rows),
        tuple(starts), tuple(tables), tuple(row.branch.number for row in rows), block_size,
    )  # fmt: skip
