"""What is handed to FlashInfer, against a stand-in that does what 0.6.7 documents, in plain torch."""

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from catp.serving.model.attention.flashinfer import FlashInferAttention
from catp.serving.model.kvcache import KVCache
from tests.serving.triton.parts import batch_of, dense, filled

torch.set_num_threads(1)


class _Wrapper:
    """Signatures of flashinfer-python 0.6.7; pages are (pages, page size, kv heads, head size)."""

    def __init__(
        self, float_workspace_buffer: Tensor, kv_layout: str = "NHD", *, use_tensor_cores: bool = False
    ) -> None:
        assert kv_layout == "NHD"
        assert float_workspace_buffer.dtype == torch.uint8
        self.asked: Any = None

    def run(self, q: Tensor, paged_kv_cache: tuple[Tensor, Tensor]) -> Tensor:
        queries, pages, indices, last, sizes = self.asked
        keys, values = paged_kv_cache
        assert sizes == (q.shape[1], keys.shape[2], keys.shape[3], keys.shape[1])
        out = torch.empty(q.shape, dtype=q.dtype)
        for row in range(len(last)):
            used = indices[pages[row] : pages[row + 1]].long()
            length = (len(used) - 1) * keys.shape[1] + int(last[row])
            key, value = (
                part[used].flatten(0, 1)[:length].repeat_interleave(q.shape[1] // part.shape[2], 1).transpose(0, 1)
                for part in (keys, values)
            )
            first, end = int(queries[row]), int(queries[row + 1])
            scores = q[first:end].transpose(0, 1).float() @ key.float().transpose(1, 2) / q.shape[2] ** 0.5
            mask = torch.arange(length) > torch.arange(length - (end - first), length)[:, None]
            weights = torch.softmax(scores.masked_fill(mask, -torch.inf), -1)
            out[first:end] = (weights @ value.float()).transpose(0, 1).to(q.dtype)
        return out


class Decode(_Wrapper):
    def plan(
        self, indptr: Tensor, indices: Tensor, last_page_len: Tensor, num_qo_heads: int, num_kv_heads: int,
        head_dim: int, page_size: int, *, q_data_type: torch.dtype, kv_data_type: torch.dtype,
    ) -> None:  # fmt: skip
        assert q_data_type == kv_data_type
        assert {indptr.dtype, indices.dtype, last_page_len.dtype} == {torch.int32}
        queries = np.arange(len(indptr))
        self.asked = (queries, indptr, indices, last_page_len, (num_qo_heads, num_kv_heads, head_dim, page_size))


class Prefill(_Wrapper):
    def plan(
        self, qo_indptr: Tensor, paged_kv_indptr: Tensor, paged_kv_indices: Tensor, paged_kv_last_page_len: Tensor,
        num_qo_heads: int, num_kv_heads: int, head_dim_qk: int, page_size: int, *, causal: bool,
        q_data_type: torch.dtype, kv_data_type: torch.dtype,
    ) -> None:  # fmt: skip
        assert causal
        assert q_data_type == kv_data_type
        sizes = (num_qo_heads, num_kv_heads, head_dim_qk, page_size)
        self.asked = (qo_indptr, paged_kv_indptr, paged_kv_indices, paged_kv_last_page_len, sizes)


class _Cuda:
    """A device that says it is CUDA where there is none."""

    type = "cuda"


@pytest.fixture
def attention(monkeypatch: pytest.MonkeyPatch) -> FlashInferAttention:
    module = ModuleType("flashinfer")
    module.BatchDecodeWithPagedKVCacheWrapper = Decode  # type: ignore[attr-defined]
    module.BatchPrefillWithPagedKVCacheWrapper = Prefill  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flashinfer", module)
    zeros = torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda *shape, dtype, device: zeros(1, dtype=dtype))
    made = FlashInferAttention(4, 2, _Cuda())  # type: ignore[arg-type]
    monkeypatch.undo()
    return made


@pytest.mark.parametrize(
    ("rows", "tails"),
    [
        ([(0, 1), (16, 1), (63, 1)], ()),
        ([(31, 1), (0, 20), (40, 3)], ()),
        ([(31, 1), (0, 20), (40, 3)], (1, 0, 2)),
        ([(5, 30), (15, 1)], (1, 1)),
    ],
)
def test_rows_are_described_as_it_documents_them(
    attention: FlashInferAttention, rows: list[tuple[int, int]], tails: tuple[int, ...]
) -> None:
    generator = np.random.default_rng([2])
    batch = batch_of(generator, rows, 16, tails=tails)
    cache = filled(generator, 16, 2, 16, torch.float16)

    def normal(count: int, heads: int) -> Tensor:
        return torch.from_numpy(generator.normal(0, 1, (count, heads, 16))).half()

    attention.begin(batch, cache)
    k, v = normal(len(batch.ids), 2), normal(len(batch.ids), 2)
    q = normal(len(batch.ids), 4)
    found = attention.attend(0, q, k, v, cache)
    assert torch.equal(cache.layer(0)[0].flatten(0, 1)[batch.slots], k)
    assert (found.double() - dense(q, cache, 0, batch)).abs().max() < 3e-3
    if batch.tail is not None:
        q = normal(len(batch.tail.ids), 4)
        found = attention.attend(1, q, k, v, cache, tail=True)
        assert (found.double() - dense(q, cache, 1, batch.tail)).abs().max() < 3e-3


def test_single_precision_is_refused(attention: FlashInferAttention) -> None:
    cache = KVCache(1, 4, 16, 2, 16, dtype=torch.float32, device=torch.device("cpu"))
    with pytest.raises(ValueError, match="load the model as bfloat16"):
        attention.begin(batch_of(np.random.default_rng([1]), [(0, 1)], 16), cache)


def test_without_the_package_or_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flashinfer", None)
    with pytest.raises(ImportError, match=r"pip install flashinfer-python==0\.6\.7"):
        FlashInferAttention(4, 2, torch.device("cuda"))
    monkeypatch.setitem(sys.modules, "flashinfer", ModuleType("flashinfer"))
    with pytest.raises(ValueError, match="runs on CUDA, not on 'cpu'"):
        FlashInferAttention(4, 2, torch.device("cpu"))
