"""Whether the memory lasts: forecasts in blocks that make preemption unnecessary.

Two questions, both about jobs at their worst (every branch grows to its bound):

`peak`   how many blocks are in use at most if all go on at the same pace. The memory is fullest when one of them ends,
         and by then each that has not ended has added as many tokens as that one had left:
             max_i sum_{j: left_j >= left_i} min(most_j, held_j + width_j * ceil((left_i - room_j) / size))
         (LightLLM's and S-LoRA's admission, in blocks). Admission asks this: what it lets in goes on without stalls.
`safe`   whether some order of ends exists in which each job gets all that it may still need from what is free by then
         (Dijkstra's banker). Every single allocation asks this, so that whatever the pace really is (forced runs,
         chunks, stalls), somebody can always go on, and nobody has to be preempted.

Blocks that several jobs share count once, and as if they never came back.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Growth", "peak", "safe"]


class Growth(NamedTuple):
    """How a job's own blocks grow.

    Args:
        held: once all tokens it has so far are computed.
        left: tokens that each of its branches may still add.
        room: tokens that fit into a branch's last block.
        width: branches.
        most: blocks at worst.
    """

    held: int
    left: int
    room: int
    width: int
    most: int


def safe(available: int, claims: Iterable[tuple[int, int]]) -> bool:
    """Whether all can end, the one with the least need first; no other order does better.

    Args:
        available: blocks that can be allocated now.
        claims: of each job, the blocks it may still need and those that are available again once it ends.
    """
    for need, private in sorted(claims):
        if need > available:
            return False
        available += private
    return True


def peak(jobs: Sequence[Growth], size: int) -> int:
    """Return the most blocks in use at any time if all branches grow at the same pace."""
    held, left, room, width, most = np.array(jobs, dtype=np.int64).T
    ends = np.unique(left)[:, None]
    grown = np.minimum(held + width * -(-np.maximum(ends - room, 0) // size), most)
    return int(np.where(left >= ends, grown, 0).sum(1).max())
