"""Backends against dense attention: random branches, tables, forks and steps, made by hypothesis."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from catp.serving.engine.request import Branch, Job, Read, Request
from catp.serving.engine.step import Row
from catp.serving.model.attention.base import Attention
from catp.serving.model.attention.prefix import Run, extents, shared_runs
from catp.serving.model.attention.sdpa import GatherAttention
from catp.serving.model.attention.shared import SharedAttention
from catp.serving.model.batch import pack
from catp.serving.model.kvcache import KVCache

CPU, LAYERS, BLOCKS = torch.device("cpu"), 2, 1200
SLOT = 2 * LAYERS * 256 * 4  # bytes of a workspace's slot per kv head and element of a head


@dataclass
class World:
    """Branches, their block tables, and all keys and values that were ever computed, dense."""

    size: int
    heads: int
    group: int
    width: int
    attention: Attention
    free: list[int]
    branches: list[Branch] = field(default_factory=list)
    past: dict[Branch, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)
    copies: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cache = KVCache(
            LAYERS, BLOCKS, self.size, self.heads, self.width, dtype=torch.float32, device=CPU,
            heads_first=isinstance(self.attention, SharedAttention),
        )  # fmt: skip

    def branch(self) -> Branch:
        job = Job(Request("r", (), 1), None)  # type: ignore[arg-type]  # nothing asks the program
        branch = Branch(job, 0, [])  # every number is 0: branches must be told apart by what they are
        empty = torch.empty(0, self.heads, self.width)
        self.past[branch] = [(empty, empty) for _ in range(LAYERS)]
        self.branches.append(branch)
        return branch

    def fork(self, parent: Branch, at: int) -> None:
        child = self.branch()
        child.tokens, child.computed = parent.tokens[:at], at
        child.blocks = parent.blocks[: at // self.size]
        if at % self.size:
            child.blocks.append(self.free.pop())
            self.copies.append((parent.blocks[at // self.size], child.blocks[-1]))
        self.past[child] = [(k[:at], v[:at]) for k, v in self.past[parent]]

    def row(self, branch: Branch, count: int, reads: list[int]) -> Row:
        branch.tokens += [0] * count
        while len(branch.blocks) * self.size < len(branch.tokens):
            branch.blocks.append(self.free.pop())
        branch.reads = [Read(branch.computed + place) for place in reads]
        return Row(branch, branch.computed, count)

    def compute(self, rows: list[Row], ill: Branch | None = None) -> float:
        """Do a step; returns the greatest difference from dense attention. The ill branch computes NaN."""
        self.cache.copy(self.copies)
        self.copies.clear()
        batch = pack(rows, self.size, CPU)
        self.attention.begin(batch, self.cache)
        worst = 0.0
        for layer in range(LAYERS):
            k, v = torch.randn(2, len(batch.ids), self.heads, self.width)
            for row, start in zip(rows, batch.starts[:-1], strict=True):
                before = self.past[row.branch][layer]
                if row.branch is ill:
                    k[start : start + row.count] = v[start : start + row.count] = torch.nan
                new = k[start : start + row.count], v[start : start + row.count]
                self.past[row.branch][layer] = torch.cat((before[0], new[0])), torch.cat((before[1], new[1]))
            tail = batch.tail if layer == LAYERS - 1 else None
            if layer == LAYERS - 1 and not batch.reads:
                self.cache.write(layer, batch.slots, k, v)
                continue
            asked = tail or batch
            q = torch.randn(len(asked.ids), self.heads * self.group, self.width)
            found = self.attention.attend(layer, q, k, v, self.cache, tail=tail is not None)
            for place, branch in enumerate(asked.branches):
                mine = slice(asked.starts[place], asked.starts[place + 1])
                wanted = self.dense(q[mine], *self.past[branch][layer], asked.begins[place])
                difference = (found[mine] - wanted).abs().max().item()
                assert not (branch is not ill and math.isnan(difference))
                worst = max(worst, difference)
        for row in rows:
            row.branch.computed = row.end
        return worst

    def dense(self, q: Tensor, k: Tensor, v: Tensor, begin: int) -> Tensor:
        places = torch.arange(begin, begin + len(q))
        scores = (
            torch.einsum("nhgd,khd->nhgk", q.view(len(q), self.heads, self.group, self.width), k) * self.width**-0.5
        )
        hidden = torch.arange(len(k)) > places[:, None, None, None]
        return torch.einsum("nhgk,khd->nhgd", scores.masked_fill(hidden, -torch.inf).softmax(-1), v).flatten(1, 2)


def play(data: st.DataObject, world: World) -> None:
    """Some steps: a long common beginning, forks of it, and rows with few and many new tokens."""
    draw = data.draw
    root = world.branch()
    assert world.compute([world.row(root, draw(st.sampled_from([70, 130, 9]), label="prompt"), [])]) < 1e-5
    for _ in range(draw(st.integers(2, 5), label="steps")):
        for _ in range(draw(st.sampled_from([0, 1, 3]), label="forks")):
            if len(world.branches) < 10:
                parent = draw(st.sampled_from(world.branches), label="parent")
                world.fork(parent, draw(st.integers(max(1, parent.computed - 20), parent.computed), label="at"))
        if draw(st.integers(0, 4), label="new") == 0:
            world.branch()
        left = draw(st.integers(0, 4), label="leaves")
        if left == 0 and len(world.branches) > 3:
            world.branches.remove(draw(st.sampled_from(world.branches), label="leaver"))
        rows = []
        for branch in draw(st.permutations(world.branches), label="rows"):
            count = draw(st.sampled_from([1, 1, 1, 0, 2, 4, 8, 9, 40]), label="count")
            if count or not branch.computed:
                count = count or 30
                wanted = draw(st.sets(st.integers(0, count - 1), max_size=2), label="reads")
                rows.append(world.row(branch, count, sorted(wanted)))
        if rows:
            assert world.compute(rows) < 1e-5


@pytest.mark.parametrize("kind", [SharedAttention, GatherAttention])
@settings(derandomize=True, deadline=None, max_examples=25)
@given(data=st.data())
def test_equal_to_dense_attention(kind: Callable[..., Attention], data: st.DataObject) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    heads, group = data.draw(st.sampled_from([(1, 1), (2, 1), (2, 3), (1, 4)]), label="heads")
    free = list(range(BLOCKS - 1, -1, -1))
    if data.draw(st.booleans(), label="scattered"):
        free = [block for part in range(7) for block in free[part::7]]
    if kind is SharedAttention:  # room for every branch, for four, for none
        room = data.draw(st.sampled_from([100, 4, 0]), label="room")
        attention: Attention = SharedAttention(room * SLOT * heads * 8)
    else:
        attention = kind()
    size = data.draw(st.sampled_from([4, 16]), label="block size")
    with torch.inference_mode():
        play(data, World(size, heads, group, 8, attention, free))


def test_a_step_that_failed_leaves_no_trace() -> None:
    """Layers that were reached have a branch's tokens, others do not: nothing of that is used again."""
    world = World(4, 2, 1, 8, SharedAttention(), list(range(BLOCKS)))
    root = world.branch()
    world.compute([world.row(root, 80, [])])
    for _ in range(5):
        world.fork(root, 77)
    rows = [world.row(branch, 2, [1]) for branch in world.branches]
    batch = pack(rows, 4, CPU)
    world.attention.begin(batch, world.cache)
    q, k, v = torch.randn(3, len(batch.ids), 2, 8)
    world.cache.copy(world.copies)
    world.attention.attend(0, q, k, v, world.cache)  # and no further
    assert world.compute(rows) < 1e-5
    assert world.compute([world.row(branch, 1, [0]) for branch in world.branches]) < 1e-5


def test_nan_of_one_branch_stays_its_own() -> None:
    """Also when another branch takes over its place in the workspace."""
    world = World(4, 1, 1, 8, SharedAttention(5 * SLOT * 8), list(range(BLOCKS)))
    root = world.branch()
    world.compute([world.row(root, 80, [])])
    for _ in range(4):
        world.fork(root, 78)
    ill = world.branches[2]
    assert world.compute([world.row(branch, 7, [6]) for branch in world.branches], ill) < 1e-5
    world.branches.remove(ill)
    world.past.pop(ill)
    del ill
    world.fork(root, 80)
    assert world.compute([world.row(branch, 1, [0]) for branch in world.branches]) < 1e-5


TABLES = st.lists(st.lists(st.integers(0, 2), max_size=6).map(tuple), min_size=1, max_size=8)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(tables=TABLES, gain=st.integers(1, 8))
def test_shared_runs_cover_each_table_from_its_beginning(tables: list[tuple[int, ...]], gain: int) -> None:
    order, runs, covered = shared_runs(tables, gain)
    assert sorted(order) == list(range(len(tables)))
    for place, row in enumerate(order):
        mine = [run for run in runs if run.first <= place < run.last]
        assert sum((run.blocks for run in mine), ()) == tables[row][: covered[row]]
    assert all((run.last - run.first - 1) * len(run.blocks) >= gain for run in runs)


def test_shared_runs_of_a_catalogue_and_two_jobs() -> None:
    tables = [(1, 2, 3, 7), (1, 2, 5), (1, 2, 3, 8), (9,)]
    assert shared_runs(tables, 1) == ([0, 2, 1, 3], [Run(0, 3, (1, 2)), Run(0, 2, (3,))], [3, 2, 3, 0])
    assert shared_runs(tables, 2)[1] == [Run(0, 3, (1, 2))]


def test_extents_join_successive_blocks() -> None:
    assert extents((4, 5, 6, 2, 3), 3, 18, 4) == [(19, 28), (8, 14)]
    assert extents((4, 5), 5, 5, 4) == []
