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
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Growth", "Pace", "peak", "safe"]


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
    return int(Pace(jobs, size).use.max())


class Pace:
    """The blocks in use at each end, if all go on at the same pace; further jobs join in linear time.

    Attributes:
        use: (jobs,) int64, blocks in use when each job ends.
    """

    def __init__(self, jobs: Sequence[Growth], size: int) -> None:
        self._size = size
        self._held, self._left, self._room, self._width, self._most = map(np.array, zip(*jobs, strict=True))
        ends = self._left[:, None]
        self.use = np.where(ends <= self._left, self._grown(ends), 0).sum(1)

    def peak(self, job: Growth) -> int:
        """Return the most blocks in use at any time if a job joins."""
        before, at_end = self._joined(job)
        return max(int(before.max()), at_end)

    def add(self, job: Growth) -> None:
        """A job joins."""
        before, at_end = self._joined(job)
        self.use = np.append(before, at_end)
        self._held, self._left = np.append(self._held, job.held), np.append(self._left, job.left)
        self._room, self._width = np.append(self._room, job.room), np.append(self._width, job.width)
        self._most = np.append(self._most, job.most)

    def _joined(self, job: Growth) -> tuple[Any, int]:
        """Return the blocks in use at the ends of the others, and at the job's own, with it."""
        steps = -(-np.maximum(self._left - job.room, 0) // self._size)
        mine = np.minimum(job.held + job.width * steps, job.most)
        before = self.use + np.where(self._left <= job.left, mine, 0)
        others = self._grown(job.left)[self._left >= job.left].sum()
        return before, int(others) + min(job.held + job.width * -(-max(job.left - job.room, 0) // self._size), job.most)

    def _grown(self, ends: Any) -> Any:
        steps = -(-np.maximum(ends - self._room, 0) // self._size)
        return np.minimum(self._held + self._width * steps, self._most)
