"""The paged kernel in Triton's interpreter against dense attention; run by test_triton.py in a process of its own."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.serving.model.attention.triton_paged import SHORT, TritonAttention, kernel_attend, parts_for, short_rows
from catp.serving.model.batch import Batch
from catp.serving.model.graphs import Shape, StaticStep, shape_for
from catp.serving.model.kvcache import KVCache
from tests.serving.triton.parts import BLOCKS, batch_of, dense, filled, network

torch.set_num_threads(1)


def compare(
    attention: TritonAttention, generator: np.random.Generator, batch: Batch, heads: int, cache: KVCache, within: float
) -> None:
    kv_heads, head_size = cache.data.shape[4:]

    def normal(*shape: int) -> torch.Tensor:
        return torch.from_numpy(generator.normal(0, 1, shape)).to(cache.data.dtype)

    attention.begin(batch, cache)
    k, v = normal(len(batch.ids), kv_heads, head_size), normal(len(batch.ids), kv_heads, head_size)
    whole = normal(len(batch.ids), heads, head_size)
    found = attention.attend(0, whole, k, v, cache)
    assert torch.equal(cache.layer(0)[0].flatten(0, 1)[batch.slots], k)
    assert torch.equal(cache.layer(0)[1].flatten(0, 1)[batch.slots], v)
    assert found.dtype == whole.dtype
    assert (found.double() - dense(whole, cache, 0, batch)).abs().max() < within
    if batch.tail is not None:
        last = normal(len(batch.tail.ids), heads, head_size)
        found = attention.attend(1, last, k, v, cache, tail=True)
        assert (found.double() - dense(last, cache, 1, batch.tail)).abs().max() < within


@settings(derandomize=True, deadline=None, max_examples=12)
@given(
    seed=st.integers(0, 10**6),
    rows=st.lists(st.tuples(st.integers(0, 90), st.sampled_from([1, 2, 5, SHORT, SHORT + 4])), min_size=1, max_size=3),
    heads=st.sampled_from([(2, 1), (3, 3), (7, 1), (4, 2)]),
    head_size=st.sampled_from([8, 16, 24]),
    size=st.sampled_from([8, 16, 20]),
    splits=st.sampled_from([None, 1, 2, 3, 8]),
)  # fmt: skip
def test_any_rows_equal_dense_attention(
    seed: int, rows: list[tuple[int, int]], heads: tuple[int, int], head_size: int, size: int, splits: int | None
) -> None:
    generator = np.random.default_rng([seed])
    tails = [int(generator.integers(0, count + 1)) for _, count in rows] if seed % 2 else []
    batch = batch_of(generator, rows, size, tails=tails if any(tails) else ())
    cache = filled(generator, size, heads[1], head_size, torch.float32, heads_first=seed % 3 == 0)
    compare(TritonAttention(splits), generator, batch, heads[0], cache, 2e-6)


def test_half_precision() -> None:  # bfloat16 is not computed by the interpreter: it multiplies its bits as integers
    generator = np.random.default_rng([4])
    batch = batch_of(generator, [(100, 1), (63, 2), (0, 10)], 16)
    compare(TritonAttention(2), generator, batch, 4, filled(generator, 16, 2, 16, torch.float16), 3e-3)


def test_unwritten_slots_and_padding_of_tables_are_never_seen() -> None:
    generator = np.random.default_rng([6])
    batch = batch_of(generator, [(70, 1), (3, 2)], 16)
    cache = filled(generator, 16, 2, 16, torch.float32)
    used = {table * 16 + at for row in range(2) for at in range(16) for table in batch.tables[row]}
    seen = {
        batch.tables[row][at // 16] * 16 + at % 16
        for row in range(2)
        for at in range(batch.begins[row] + batch.counts[row])
    }
    others = sorted((set(range(BLOCKS * 16)) - seen) | (used - seen))
    cache.data.flatten(2, 3)[:, :, others] = 1e30
    compare(TritonAttention(4), generator, batch, 4, cache, 2e-6)


def test_queries_need_not_be_contiguous_and_other_tokens_stay() -> None:
    generator = np.random.default_rng([7])
    batch = batch_of(generator, [(40, 1), (0, 12), (20, 3)], 16)
    cache = filled(generator, 16, 2, 16, torch.float32)
    q = torch.from_numpy(generator.normal(0, 1, (4, 16, 16))).float().transpose(0, 1)  # heads outermost in memory
    rows = short_rows(batch, [0, 2], 2)
    assert rows is not None
    out = torch.full((16, 4, 16), 7.0)
    kernel_attend(q, *cache.layer(0), rows, out)
    expected = dense(q, cache, 0, batch)
    mine = [0, 13, 14, 15]
    assert (out[mine].double() - expected[mine]).abs().max() < 2e-6
    assert bool((out[1:13] == 7.0).all())


@pytest.mark.parametrize(
    ("programs", "longest", "multiprocessors", "expected"),
    [(8, 4096, 132, 16), (8, 100, 132, 1), (8, 256, 132, 2), (64, 4096, 132, 4), (1024, 4096, 132, 1), (1, 999, 1, 2)],
)
def test_parts_fill_the_device_and_are_not_too_short(
    programs: int, longest: int, multiprocessors: int, expected: int
) -> None:
    assert parts_for(programs, longest, multiprocessors) == expected


def test_a_whole_model_writes_what_it_writes_with_gathered_attention() -> None:
    from catp.serving.engine.request import Read
    from catp.serving.model.attention.sdpa import GatherAttention
    from catp.serving.model.runner import ModelRunner
    from tests.serving.lora.parts import Bench

    weights = network(tied=True)

    def logits(attention: Any) -> list[Any]:
        bench = Bench(ModelRunner(weights, 16, 8, plan_ids=range(10), threads=1, attention=attention))
        branches = [bench.branch([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]), bench.branch([9, 8, 7])]
        first = bench.compute([(branches[0], 11, []), (branches[1], 1, [])])
        return first + bench.compute([(branches[0], 1, [Read(11)]), (branches[1], 2, [Read(1), Read(2)])])

    for one, other in zip(logits(TritonAttention(2)), logits(GatherAttention()), strict=True):
        assert one.logits == pytest.approx(other.logits, abs=1e-4)


@pytest.mark.parametrize(
    ("counts", "most_rows", "expected"),
    [
        ((1,), 8, Shape(1, 1)), ((1, 1, 1), 8, Shape(4, 1)), ((1, 2), 8, Shape(2, 2)), ((3, 1, 1), 8, Shape(4, 4)),
        ((5,), 8, None), ((), 8, None), ((1,) * 9, 8, None), ((1,) * 5, 5, Shape(8, 1)), ((1,) * 300, 400, None),
    ],
)  # fmt: skip
def test_a_step_goes_to_the_smallest_graph_it_fits_into(
    counts: tuple[int, ...], most_rows: int, expected: Shape | None
) -> None:
    assert shape_for(counts, most_rows) == expected


def test_a_padded_step_computes_the_same_and_writes_nothing_else() -> None:
    """What a graph would replay, run without one: three rows of 1 to 3 tokens in a shape of 4 x 4."""
    from catp.serving.model.attention.sdpa import GatherAttention
    from catp.serving.model.llama import Llama

    weights = network(tied=False)
    config, model = weights.config, Llama(weights)
    generator = np.random.default_rng([9])

    def cache() -> KVCache:
        found = KVCache(config.layers, 13, 8, 2, 8, dtype=torch.float32, device=torch.device("cpu"))
        found.data.copy_(torch.from_numpy(np.random.default_rng([1]).normal(0, 1, found.data.shape)))
        return found

    plain, padded = cache(), cache()
    with torch.inference_mode():
        step = StaticStep(model, padded, Shape(4, 4), blocks=6, multiprocessors=8)
        for rows, reads in (([(20, 1), (9, 3), (0, 2)], (0, 1, 3, 3)), ([(30, 2)], (1,)), ([(21, 1), (12, 1)], (0, 1))):
            tables = [
                tuple(range(4 * row, 4 * row + -(-(begin + count) // 8))) for row, (begin, count) in enumerate(rows)
            ]
            batch = batch_of(generator, rows, 8, tables=tables)
            batch = replace(batch, ids=torch.from_numpy(generator.integers(0, 64, len(batch.ids))), reads=reads)
            expected = model.forward(batch, plain, GatherAttention())
            found = step.fill(batch)
            assert (step.run()[found] - expected).abs().max() < 1e-5
            assert (padded.data[:, :, :-1] - plain.data[:, :, :-1]).abs().max() < 1e-5  # all but the spare block
