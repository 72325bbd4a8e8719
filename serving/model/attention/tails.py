"""Short tails of branches, side by side in memory, so that one call attends to all of them.

What a branch has for itself (the text of its task, the plan so far) is a hundred tokens in blocks anywhere in the pool.
Row by row, the calls cost more than the arithmetic. So each branch gets a slot of a workspace, heads outermost, where
its keys and values are written as well as to the pool; a branch that comes new, or comes back, is copied from the pool
once. A slot is free when its branch is gone, or else taken from the branch that was idle longest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from catp.serving.engine.request import Branch
from catp.serving.model.attention.partial import Partial, attend_masked
from catp.serving.model.kvcache import KVCache

__all__ = ["LONGEST", "WIDEST", "Queries", "Tail", "Tails"]

LONGEST = 256
"""Positions of a slot; a longer tail is worth a call of its own."""

WIDEST = 8
"""Most queries of a row here; a row with more is worth a call of its own."""


@dataclass(frozen=True, slots=True)
class Tail:
    """A row of a step whose tail goes here.

    Args:
        branch: its branch; where it is the same object, it is the same sequence.
        shared: positions before this one are attended to elsewhere.
        begin, end: positions of its new tokens.
        places: where its new tokens stand in the pack.
        table: its blocks.
    """

    branch: Branch
    shared: int
    begin: int
    end: int
    places: range
    table: Sequence[int]


@dataclass(slots=True)
class _Slot:
    """Positions [base, filled) of a branch are in it; `used` is the step that it was last part of."""

    number: int
    base: int
    filled: int
    used: int


class Tails:
    """The workspace, made for a cache when it is first used.

    Args:
        limit: most bytes it takes; only what is written becomes real memory.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._slots: WeakKeyDictionary[Branch, _Slot] = WeakKeyDictionary()
        self._data = torch.empty(0)
        self._step = 0
        self._fresh: list[int] = []
        self._copied: tuple[Tensor, Tensor] | None = None
        self._written: tuple[Tensor, Tensor] = (torch.empty(0), torch.empty(0))

    def room(self, cache: KVCache) -> int:
        """Return for how many branches there is room."""
        _, layers, _, _, heads, size = cache.data.shape
        return int(self._limit // (2 * layers * heads * LONGEST * size * cache.data.element_size()))

    def forget(self) -> None:
        """Forget all branches: a step did not reach the last layer, so that some layers lack its tokens."""
        self._slots.clear()

    def begin(self, tails: Sequence[Tail], cache: KVCache) -> None:
        """Find the slots of a step's tails, no more than there is room for."""
        self._step += 1
        self._grow(len(tails), cache)
        fresh = [tail for tail in tails if not self._continues(tail)]
        for tail in fresh:
            self._slots.pop(tail.branch, None)
        for tail in tails:
            if tail.branch in self._slots:
                self._slots[tail.branch].used = self._step
        for tail, number in zip(fresh, self._free_slots(len(fresh)), strict=True):
            self._slots[tail.branch] = _Slot(number, tail.shared, tail.begin, self._step)
        self._fresh = [self._slots[tail.branch].number for tail in fresh]
        heads, size = cache.data.shape[4], cache.data.shape[3]
        source = np.concatenate([_source(tail, size) for tail in fresh]) if fresh else np.empty(0)
        self._copied = None
        if len(source):
            cells = self._cells([(tail, tail.shared, tail.begin) for tail in fresh], heads)
            self._copied = torch.from_numpy(source), cells
        places = [place for tail in tails for place in tail.places]
        self._written = torch.tensor(places), self._cells([(tail, tail.begin, tail.end) for tail in tails], heads)
        for tail in tails:
            self._slots[tail.branch].filled = tail.end

    def write(self, layer: int, k: Tensor, v: Tensor, cache: KVCache) -> None:
        """Write a layer's new keys and values (N, kv heads, size), after they were written to the pool."""
        for data, new, pool in zip(self._data, (k, v), cache.layer(layer), strict=True):
            for number in self._fresh:
                data[layer, number].zero_()  # what was there may be NaN, and a masked NaN is still a NaN in a product
            cells = data[layer].view(-1, data.shape[-1])
            if self._copied is not None:
                source, target = self._copied
                cells.index_copy_(0, target, pool.flatten(0, 1)[source].flatten(0, 1))
            places, target = self._written
            cells.index_copy_(0, target, (new if len(places) == len(new) else new[places]).flatten(0, 1))

    def queries(self, tails: Sequence[Tail], dtype: torch.dtype) -> "list[Queries]":
        """Arrange queries (`places` of tails, which may be fewer than were written) by neighbouring slots."""
        ordered = sorted(tails, key=lambda tail: self._slots[tail.branch].number)
        numbers = [self._slots[tail.branch].number for tail in ordered]
        cuts = [0, *(at for at in range(1, len(numbers)) if numbers[at] != numbers[at - 1] + 1), len(numbers)]
        return [self._arranged(ordered[begin:end], dtype) for begin, end in pairwise(cuts)]

    def attend(self, layer: int, q: Tensor, queries: "Queries") -> Partial:
        """Attend from queries (N, kv heads, group, size); the result is in the order of `queries.places`."""
        first, last = queries.first, queries.first + queries.mask.shape[0]
        keys, values = (data[layer, first:last, :, : queries.mask.shape[2]] for data in self._data)
        found = attend_masked(q[queries.padded], keys, values, queries.mask)
        return found if queries.real is None else found.at(queries.real)

    def _continues(self, tail: Tail) -> bool:
        slot = self._slots.get(tail.branch)
        return (
            slot is not None
            and slot.base <= tail.shared
            and tail.begin <= slot.filled
            and tail.end - slot.base <= LONGEST
        )

    def _grow(self, wanted: int, cache: KVCache) -> None:
        _, layers, _, _, heads, size = cache.data.shape
        if self._data.ndim > 1 and self._data.shape[2] >= wanted:
            return
        self.forget()
        slots = min(max(16, 2 * wanted), self.room(cache))
        self._data = torch.zeros((2, layers, slots, heads, LONGEST, size), dtype=cache.data.dtype)

    def _free_slots(self, wanted: int) -> list[int]:
        """Slots nobody has, then those of the branches that were idle longest; lowest first, so that runs stay long."""
        taken = {slot.number for slot in self._slots.values()}
        free = [number for number in range(self._data.shape[2]) if number not in taken][:wanted]
        idle = sorted(self._slots.items(), key=lambda item: item[1].used)
        for branch, slot in idle[: wanted - len(free)]:
            free.append(slot.number)
            del self._slots[branch]
        return sorted(free)

    def _cells(self, spans: Sequence[tuple[Tail, int, int]], heads: int) -> Tensor:
        """Indices (tokens * kv heads,) among all vectors of a layer, of positions [begin, end) of tails."""
        found = []
        for tail, begin, end in spans:
            slot = self._slots[tail.branch]
            places = np.arange(begin, end)[:, None] - slot.base
            found.append(((slot.number * heads + np.arange(heads)) * LONGEST + places).ravel())
        return torch.from_numpy(np.concatenate(found))

    def _arranged(self, tails: Sequence[Tail], dtype: torch.dtype) -> "Queries":
        slots = [self._slots[tail.branch] for tail in tails]
        counts = np.array([len(tail.places) for tail in tails])
        bases, begins, shared, firsts = (
            np.array(column)[:, None]
            for column in zip(
                *(
                    (slot.base, tail.begin, tail.shared, tail.places.start)
                    for slot, tail in zip(slots, tails, strict=True)
                ),
                strict=True,
            )
        )
        places = np.arange(counts.max())
        query = np.minimum(places, counts[:, None] - 1)  # a row with fewer queries than others repeats its last one
        cells = np.arange(max(tail.end - slot.base for slot, tail in zip(slots, tails, strict=True))) + bases
        seen = (cells >= shared)[:, None] & (cells[:, None] <= (begins + query)[:, :, None])
        padded, real = (firsts + query).ravel(), (places < counts[:, None]).ravel()
        wanted = padded[real]
        return Queries(
            slots[0].number, torch.from_numpy(np.where(seen, 0.0, -np.inf)).to(dtype), torch.from_numpy(padded),
            torch.from_numpy(wanted), None if real.all() else torch.from_numpy(np.flatnonzero(real)),
            bool((np.diff(wanted) == 1).all()),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Queries:
    """Queries of R neighbouring slots, as many of each (C, the most of any).

    Args:
        first: the first slot.
        mask: (R, C, positions of a slot that anybody sees), added to scores.
        padded: (R * C,) which queries.
        places: those of them that are no filling, in order.
        real: where they stand among `padded`; None: there is no filling.
        ordered: `places` ascend one by one.
    """

    first: int
    mask: Tensor
    padded: Tensor
    places: Tensor
    real: Tensor | None
    ordered: bool

    def covers(self, count: int) -> bool:
        """Return whether these are queries 0 to `count` - 1, in that order."""
        return self.ordered and len(self.places) == count


def _source(tail: Tail, size: int) -> NDArray[np.int64]:
    """Slots of the pool of positions [shared, begin)."""
    positions = np.arange(tail.shared, tail.begin)
    found: NDArray[np.int64] = np.array(tail.table, dtype=np.int64)[positions // size] * size + positions % size
    return found
