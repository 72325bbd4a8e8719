"""Batches made in the background while the model works on the one before.

An example's augmentation has a generator of its own, seeded by seed, epoch and number: what a batch holds does not
depend on when, where or after which other batch it is made. One thread is enough: making examples is Python, and the
forward and backward passes let go of the interpreter lock.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np

from catp.training.caorl.order import Order
from catp.training.caorl.source import Algorithm

__all__ = ["Feed", "Place", "Prepared"]

_AHEAD = 2


@dataclass(frozen=True)
class Place:
    """The batches of one optimiser step: `mine` are this process's positions in the order, `all` everybody's."""

    mine: tuple[int, ...]
    all: tuple[int, ...]

    @classmethod
    def of(cls, step: int, accumulate: int, processes: int, rank: int) -> "Place":
        """Return the batches of a step (counted from 0): neighbours in the order go to different processes."""
        start = step * accumulate * processes
        everybody = tuple(range(start, start + accumulate * processes))
        return cls(everybody[rank::processes], everybody)


@dataclass(frozen=True)
class Prepared:
    """A batch, ready for the model. `share` is its part of the examples of the whole step, over all processes."""

    epoch: int
    numbers: tuple[int, ...]
    share: float
    tensors: Mapping[str, Any]


class Feed:
    """The batches of some steps, in order, up to two of them made ahead.

    Args:
        algorithm: Makes examples and batches. It is called from the feed's own thread.
        order: Says which examples are in which batch.
        seed: Of the augmentation.
        places: The steps, in the order in which they will be taken.
    """

    def __init__(self, algorithm: Algorithm, order: Order, seed: int, places: Iterator[Place]) -> None:
        self._algorithm = algorithm
        self._order = order
        self._seed = seed
        self._jobs = ((position, place) for place in places for position in place.mine)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="catp-feed")
        self._pending: deque[Future[Prepared]] = deque()
        for _ in range(_AHEAD):
            self._submit()

    def take(self) -> Prepared:
        """Return the next batch.

        Raises:
            IndexError: There are no more.
        """
        future = self._pending.popleft()
        self._submit()
        return future.result()

    def settle(self) -> None:
        """Wait until nothing is being made, so that the algorithm can be used for something else."""
        wait(self._pending)

    def close(self) -> None:
        """End the thread; batches not yet begun are not made."""
        self._thread.shutdown(cancel_futures=True)

    def _submit(self) -> None:
        job = next(self._jobs, None)
        if job is not None:
            self._pending.append(self._thread.submit(self._make, *job))

    def _make(self, position: int, place: Place) -> Prepared:
        epoch, numbers = self._order.at(position)
        total = sum(len(self._order.at(other)[1]) for other in place.all)
        tensors = self._algorithm.batch([self._example(epoch, number) for number in numbers])
        return Prepared(epoch, numbers, len(numbers) / total, tensors)

    def _example(self, epoch: int, number: int) -> Any:
        try:
            return self._algorithm.example(number, np.random.default_rng([self._seed, 7, epoch, number]))
        except Exception as error:
            error.add_note(f"while making example {number} of epoch {epoch} (seed {self._seed})")
            raise
