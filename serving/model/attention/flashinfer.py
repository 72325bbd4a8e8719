"""Attention by FlashInfer (Ye et al. 2025, arXiv 2501.01005), where the package `flashinfer` is installed.

Written to the interface of flashinfer-python 0.6.7 (later wheels are 59 MiB and need more packages). It compiles its
kernels on first use, which takes minutes and needs nvcc. Checked against a stand-in with the same signatures; not run
on a GPU by this project's tests.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from catp.serving.model.batch import Batch
from catp.serving.model.kvcache import KVCache

__all__ = ["FlashInferAttention"]

_WORKSPACE_BYTES = 128 << 20  # what its documentation recommends
_DTYPES = (torch.float16, torch.bfloat16)


class FlashInferAttention:
    """Its decode kernel if every row has one query, else its prefill kernel, both over our blocks as they lie.

    Args:
        heads, kv_heads: of the model.
        device: a CUDA device.

    Raises:
        ImportError: flashinfer is not installed.
        ValueError: the device is not CUDA.
    """

    name = "flashinfer"

    def __init__(self, heads: int, kv_heads: int, device: torch.device) -> None:
        try:
            package = import_module("flashinfer")  # by name: type checkers need not have it
        except ImportError as error:
            raise ImportError(
                "FlashInfer is not installed; run: pip install flashinfer-python==0.6.7 (it needs nvcc), or use "
                "another attention backend"
            ) from error
        if device.type != "cuda":
            raise ValueError(f"FlashInfer runs on CUDA, not on {device.type!r}; use another attention backend")
        workspace = torch.zeros(_WORKSPACE_BYTES, dtype=torch.uint8, device=device)
        self._whole, self._tail = (_Plans(package, workspace, heads, kv_heads) for _ in range(2))
        self._slots = torch.empty(0)
        self._has_tail = False

    def begin(self, batch: Batch, cache: KVCache) -> None:
        """Let FlashInfer plan how the rows are divided among multiprocessors.

        Raises:
            ValueError: the cache is not in half precision.
        """
        if cache.data.dtype not in _DTYPES:
            raise ValueError(
                f"FlashInfer computes in float16 or bfloat16, not in {cache.data.dtype}; load the model as bfloat16"
            )
        self._slots, self._has_tail = batch.slots, batch.tail is not None
        self._whole.plan(batch, cache)
        if batch.tail is not None and len(batch.tail):
            self._tail.plan(batch.tail, cache)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, cache: KVCache, *, tail: bool = False) -> Tensor:
        """See `Attention.attend`."""
        cache.write(layer, self._slots, k, v)
        plans = self._tail if tail and self._has_tail else self._whole
        return plans.run(q.contiguous(), cache.layer(layer))


class _Plans:
    """A decode and a prefill wrapper over one workspace; the one that was planned last runs."""

    def __init__(self, package: Any, workspace: Tensor, heads: int, kv_heads: int) -> None:
        self._heads = heads
        tensor_cores = heads // kv_heads > 2  # the other kernel has few group sizes, and is slower for large ones
        self._decode = package.BatchDecodeWithPagedKVCacheWrapper(workspace, "NHD", use_tensor_cores=tensor_cores)
        self._prefill = package.BatchPrefillWithPagedKVCacheWrapper(workspace, "NHD")
        self._planned: Any = None

    def plan(self, batch: Batch, cache: KVCache) -> None:
        """Plan rows; offsets stay on the host, where the planner reads them, block numbers go to the device."""
        size, kv_heads, head_size = cache.data.shape[3:]
        ends = np.array(batch.begins) + np.array(batch.counts)
        offsets = _offsets([len(table) for table in batch.tables])
        blocks = torch.tensor([block for table in batch.tables for block in table], dtype=torch.int32)
        pages = (offsets, blocks.to(cache.data.device), torch.from_numpy(((ends - 1) % size + 1).astype(np.int32)))
        sizes = (self._heads, kv_heads, head_size, size)
        dtypes = {"q_data_type": cache.data.dtype, "kv_data_type": cache.data.dtype}
        if max(batch.counts) == 1:
            self._planned = self._decode
            self._decode.plan(*pages, *sizes, **dtypes)
        else:
            self._planned = self._prefill
            self._prefill.plan(_offsets(batch.counts), *pages, *sizes, causal=True, **dtypes)

    def run(self, q: Tensor, layer: tuple[Tensor, Tensor]) -> Tensor:
        """Return attention of the planned rows over a layer's keys and values."""
        found: Tensor = self._planned.run(q, layer)
        return found


def _offsets(counts: Sequence[int]) -> Tensor:
    """Return where each of some adjacent parts begins, and where the last ends, int32 on the host."""
    return torch.from_numpy(np.concatenate(([0], np.cumsum(counts))).astype(np.int32))
