"""Which examples are in which batch: a pure function of seed, epoch and position, so that nothing has to be stored.

Examples of like length go together, because a batch is padded to its longest. Sorting the whole epoch would make every
epoch's batches the same; here the epoch is shuffled, cut into windows, sorted within each window, and the batches of
the whole epoch are shuffled once more. Each example is in exactly one batch of an epoch; the batch that is left over
may be short.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

__all__ = ["Order"]

_WINDOW = 32
"""Batches in a window: enough that neighbours differ little in length, few enough that batches differ by epoch."""


class Order:
    """The endless sequence of batches of a run, epoch after epoch.

    Args:
        lengths: Length of each example.
        batch: Examples in a batch.
        seed: Decides the order, together with the epoch.
    """

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        if not lengths:
            raise ValueError("there is no example to put in order")
        self._lengths = np.asarray(lengths)
        self._batch = batch
        self._seed = seed
        self._epoch = lru_cache(maxsize=2)(self._make_epoch)

    @property
    def batches(self) -> int:
        """Batches in an epoch."""
        return -(-len(self._lengths) // self._batch)

    def at(self, position: int) -> tuple[int, tuple[int, ...]]:
        """Return the epoch of a batch and the numbers of its examples; `position` counts batches over all epochs."""
        epoch, place = divmod(position, self.batches)
        return epoch, self._epoch(epoch)[place]

    def _make_epoch(self, epoch: int) -> list[tuple[int, ...]]:
        random = np.random.default_rng([self._seed, 3, epoch])
        shuffled = random.permutation(len(self._lengths))
        batches: list[tuple[int, ...]] = []
        window = _WINDOW * self._batch
        for start in range(0, len(shuffled), window):
            some = shuffled[start : start + window]
            some = some[np.argsort(self._lengths[some], kind="stable")]
            batches += [tuple(some[at : at + self._batch].tolist()) for at in range(0, len(some), self._batch)]
        return [batches[place] for place in random.permutation(len(batches))]
