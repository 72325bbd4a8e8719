"""Attention on a CPU: what rows have in common is attended to once, by all of their queries together.

    catalogue   | task a | plan     queries of all rows x catalogue          one call, no copy: blocks are views
    catalogue   | task a | plan     queries of a job's branches x task       one call a job
    catalogue   | task b | plan     each row's queries x its own tail        one call for all short tails (`tails`)

and merged by log-sum-exp (`partial`). Gathering the prefix of every row instead costs fifty times as much (serving.md
3.2). Rows of many new tokens, parts of prompts, attend to their own tails one by one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from catp.serving.engine.request import Branch
from catp.serving.model.attention.partial import Partial, attend, attend_causal
from catp.serving.model.attention.prefix import extents, shared_runs
from catp.serving.model.attention.tails import LONGEST, WIDEST, Queries, Tail, Tails
from catp.serving.model.batch import Batch
from catp.serving.model.kvcache import KVCache

__all__ = ["SharedAttention"]

_GAIN = 256
"""Tokens that a shared run must save to be worth a call and a merge."""

_SHORT = 32
"""Tokens a range of the pool must have in the mean to be worth a call; shorter ones are gathered into one."""

_FEW = 3
"""Rows from which on the workspace of tails is worth filling."""


class SharedAttention:
    """Shared runs once, tails apart. Keeps copies of short tails from step to step, so it belongs to one cache.

    Args:
        workspace: most bytes that these copies take beside the pool; memory is taken as it is used.
    """

    name = "shared"

    def __init__(self, workspace: int = 512 << 20) -> None:
        self._tails = Tails(workspace)
        self._slots = torch.empty(0)
        self._copies = False
        self._plan = self._tail_plan = _Plan((), (), ())
        self._unfinished = False

    def begin(self, batch: Batch, cache: KVCache) -> None:
        """Find what rows share, and slots for their tails."""
        if self._unfinished:  # a step failed, or read nothing, so that the last layer's tails were not written
            self._tails.forget()
        self._unfinished = True
        self._slots = batch.slots
        size = batch.block_size
        computed = [table[: begin // size] for table, begin in zip(batch.tables, batch.begins, strict=True)]
        order, runs, covered = shared_runs(computed, -(-_GAIN // size))
        shared = {branch: blocks * size for branch, blocks in zip(batch.branches, covered, strict=True)}
        groups = [
            (
                {batch.branches[row] for row in order[run.first : run.last]},
                _spans(run.blocks, 0, len(run.blocks) * size, size),
            )
            for run in runs
        ]
        short = self._short(batch, shared, cache)
        self._copies = bool(short)
        if short:
            self._tails.begin(short, cache)
        self._plan = self._planned(batch, groups, shared, short, cache)
        self._tail_plan = self._planned(batch.tail, groups, shared, short, cache) if batch.tail else self._plan

    def attend(
        self, layer: int, q: Tensor, k: Tensor, v: Tensor, cache: KVCache, *, tail: bool = False
    ) -> Tensor:  # fmt: skip
        """See `Attention.attend`."""
        cache.write(layer, self._slots, k, v)
        if self._copies:
            self._tails.write(layer, k, v, cache)
        plan = self._tail_plan if tail else self._plan
        queries = q.view(len(q), k.shape[1], -1, q.shape[2])
        found = self._own(plan, layer, queries, cache)
        keys, values = (part.flatten(0, 1) for part in cache.layer(layer))
        for where, spans in plan.groups:
            part = found.at(where)
            for key, value in zip(spans.of(keys), spans.of(values), strict=True):
                part.merge(attend(queries[where], key, value))
            if not isinstance(where, slice):  # a slice is a view
                found.put(where, part)
        self._unfinished = layer + 1 < cache.data.shape[1]
        return found.mean.reshape(q.shape)

    def _own(self, plan: "_Plan", layer: int, q: Tensor, cache: KVCache) -> Partial:
        """What queries find in the tails of their own rows."""
        if len(plan.short) == 1 and plan.short[0].covers(len(q)):
            return self._tails.attend(layer, q, plan.short[0])
        found = Partial(torch.empty_like(q), q.new_empty(q.shape[:3], dtype=torch.float32))
        for queries in plan.short:
            found.put(queries.places, self._tails.attend(layer, q, queries))
        keys, values = (part.flatten(0, 1) for part in cache.layer(layer))
        for row in plan.rows:
            found.put(row.where, row.attend(q[row.where], keys, values))
        return found

    def _short(self, batch: Batch, shared: dict[Branch, int], cache: KVCache) -> list[Tail]:
        """The rows whose tails go to the workspace."""
        found = [
            Tail(branch, shared[branch], begin, begin + count, range(start, start + count), table)
            for branch, begin, count, start, table in _rows(batch)
            if count <= WIDEST and begin + count - shared[branch] <= LONGEST
        ]
        return found[: self._tails.room(cache)] if len(found) >= _FEW else []

    def _planned(
        self, batch: Batch, groups: Sequence[tuple[set[Branch], "_Spans"]], shared: dict[Branch, int],
        short: Sequence[Tail], cache: KVCache,
    ) -> "_Plan":  # fmt: skip
        """Plan the rows of a step, or of its tail; branches are the same in both, places are not."""
        apart = {tail.branch: tail for tail in short}
        rows, tails, places = [], [], {}
        for branch, begin, count, start, table in _rows(batch):
            places[branch] = range(start, start + count)
            if branch in apart:
                tails.append(Tail(branch, shared[branch], begin, begin + count, places[branch], table))
            else:
                rows.append(_row(places[branch], shared[branch], begin, begin + count, table, batch.block_size))
        return _Plan(
            [(_where([place for branch, found in places.items() if branch in group for place in found]), spans)
             for group, spans in groups if any(branch in group for branch in places)],
            rows,
            self._tails.queries(tails, cache.data.dtype) if tails else [],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Spans:
    """Slots of the pool: ranges, or if those are short, one by one."""

    ranges: Sequence[tuple[int, int]]
    gathered: Tensor | None

    def of(self, pool: Tensor) -> list[Tensor]:
        """Their keys, or values: views, or one copy."""
        if self.gathered is not None:
            return [pool[self.gathered]]
        return [pool[first:last] for first, last in self.ranges]


@dataclass(frozen=True, slots=True)
class _Row:
    """Queries at `where` in the pack that see all of `before`, and of `own` their own position and earlier ones."""

    where: slice
    before: _Spans
    own: _Spans | None

    def attend(self, q: Tensor, keys: Tensor, values: Tensor) -> Partial:
        """Attend to the row's tail."""
        parts = []
        if self.own is not None:
            parts.append(attend_causal(q, self.own.of(keys)[0], self.own.of(values)[0]))
        parts += [attend(q, *pair) for pair in zip(self.before.of(keys), self.before.of(values), strict=True)]
        for part in parts[1:]:
            parts[0].merge(part)
        return parts[0]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What to attend to: shared runs with the places of their queries; rows; short tails."""

    groups: Sequence[tuple[slice | Tensor, _Spans]]
    rows: Sequence[_Row]
    short: Sequence[Queries]


def _rows(batch: Batch) -> Iterator[tuple[Branch, int, int, int, tuple[int, ...]]]:
    """Branch, begin, count, place of the first token and table of each row."""
    return zip(batch.branches, batch.begins, batch.counts, batch.starts[:-1], batch.tables, strict=True)


def _row(places: range, shared: int, begin: int, end: int, table: Sequence[int], size: int) -> _Row:
    where = slice(places.start, places.stop)
    if end - begin == 1:
        return _Row(where, _spans(table, shared, end, size), None)
    return _Row(where, _spans(table, shared, begin, size), _spans(table, begin, end, size, most=1))


def _spans(table: Sequence[int], begin: int, end: int, size: int, most: int | None = None) -> _Spans:
    """Where positions [begin, end) of a table lie; in at most so many pieces."""
    ranges = extents(table, begin, end, size)
    if len(ranges) <= (most if most is not None else max(1, (end - begin) // _SHORT)):
        return _Spans(ranges, None)
    return _Spans((), torch.tensor([slot for first, last in ranges for slot in range(first, last)]))


def _where(places: Sequence[int]) -> slice | Tensor:
    if places[-1] - places[0] + 1 == len(places):
        return slice(places[0], places[-1] + 1)
    return torch.tensor(places)
