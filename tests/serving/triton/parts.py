"""Packed steps over scattered blocks, and attention as it is defined."""

from collections.abc import Sequence

import numpy as np
import torch

from catp.serving.model.batch import Batch
from catp.serving.model.config import ModelConfig
from catp.serving.model.kvcache import KVCache
from catp.serving.model.weights import LayerWeights, Weights

BLOCKS = 40


def batch_of(
    generator: np.random.Generator, rows: Sequence[tuple[int, int]], size: int, *, tails: Sequence[int] = (),
    tables: Sequence[tuple[int, ...]] = (),
) -> Batch:  # fmt: skip
    """Rows (begin, count), over scattered blocks if there are no `tables`.

    `tails`: the last layer wants that many of each row's last tokens.
    """
    free = generator.permutation(BLOCKS * 16 // size).tolist()
    tables = tables or [tuple(free.pop() for _ in range(-(-(begin + count) // size))) for begin, count in rows]
    starts = np.concatenate(([0], np.cumsum([count for _, count in rows]))).tolist()
    places = [(row, at) for row, (begin, count) in enumerate(rows) for at in range(begin, begin + count)]
    slots = torch.tensor([tables[row][at // size] * size + at % size for row, at in places])
    positions = torch.tensor([at for _, at in places])
    tail = None
    if tails:
        kept = [row for row, count in enumerate(tails) if count]
        where = [place for row in kept for place in range(starts[row + 1] - tails[row], starts[row + 1])]
        tail = Batch(
            torch.zeros(len(where), dtype=torch.int64), positions[where], slots[where],
            tuple(sum(rows[row]) - tails[row] for row in kept), tuple(tails[row] for row in kept),
            tuple(np.concatenate(([0], np.cumsum([tails[row] for row in kept]))).tolist()),
            tuple(tables[row] for row in kept), (), size, places=torch.tensor(where),
        )  # fmt: skip
    return Batch(
        torch.zeros(len(places), dtype=torch.int64), positions, slots, tuple(begin for begin, _ in rows),
        tuple(count for _, count in rows), tuple(starts), tuple(tables), (), size, tail=tail,
    )  # fmt: skip


def dense(q: torch.Tensor, cache: KVCache, layer: int, batch: Batch) -> torch.Tensor:
    """Softmax attention in float64, one query and head at a time over the row's own positions."""
    keys, values = (part.flatten(0, 1).double() for part in cache.layer(layer))
    out = torch.empty(q.shape, dtype=torch.float64)
    share = q.shape[1] // keys.shape[1]
    for row in range(len(batch)):
        for offset in range(batch.counts[row]):
            seen = np.arange(batch.begins[row] + offset + 1)
            slots = np.array(batch.tables[row])[seen // batch.block_size] * batch.block_size + seen % batch.block_size
            for head in range(q.shape[1]):
                token = batch.starts[row] + offset
                scores = keys[slots, head // share] @ q[token, head].double() / q.shape[2] ** 0.5
                out[token, head] = torch.softmax(scores, 0) @ values[slots, head // share]
    return out


def filled(
    generator: np.random.Generator, size: int, kv_heads: int, head_size: int, dtype: torch.dtype, *,
    heads_first: bool = False,
) -> KVCache:  # fmt: skip
    cpu = torch.device("cpu")
    cache = KVCache(2, BLOCKS * 16 // size, size, kv_heads, head_size, dtype=dtype, device=cpu, heads_first=heads_first)
    cache.data.copy_(torch.from_numpy(generator.normal(0, 1, cache.data.shape)))
    return cache


def network(*, tied: bool) -> Weights:
    """A Llama of three layers with random weights, made without transformers, which takes seconds to import."""
    config = ModelConfig("LlamaForCausalLM", 64, 32, 48, 3, 4, 2, 8, 128, 1e-6, tied)
    generator = np.random.default_rng([8])

    def matrix(*shape: int) -> torch.Tensor:
        return torch.from_numpy(generator.normal(0, 0.2, shape)).float()

    layers = tuple(
        LayerWeights(
            torch.ones(32), matrix(config.q_size + 2 * config.kv_size, 32), matrix(32, config.q_size), torch.ones(32),
            matrix(96, 32), matrix(32, 48),
        )
        for _ in range(3)
    )  # fmt: skip
    embedding = matrix(64, 32)
    return Weights(config, embedding, layers, torch.ones(32), embedding if tied else matrix(64, 32))
