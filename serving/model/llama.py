"""The forward pass over packed tokens and a paged cache: what `LlamaForCausalLM`, Qwen2 and Qwen3 compute.

    ids ── embedding ──┬─ norm ─ qkv ─ rotary ─ attention ─ o ─ + ─┬─ norm ─ gate_up ─ silu · ─ down ─ + ── ... ── norm
                       └───────────────────────────────────────────┴──────────────────────────────────┘

(N, hidden) all the way, no padding. The last layer computes keys and values of all tokens, and everything else only of
those that are read.
"""

from typing import Literal, Protocol, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from catp.serving.model.attention.base import Attention
from catp.serving.model.batch import Batch
from catp.serving.model.kvcache import KVCache
from catp.serving.model.rope import Rotary, rotate
from catp.serving.model.weights import LayerWeights, Weights

__all__ = ["Adapters", "Llama", "Part"]

Part: TypeAlias = Literal["qkv", "q", "kv", "o", "gate_up", "down"]
"""A linear layer of ours, by what its columns are: one or more of the checkpoint's, side by side."""


class Adapters(Protocol):
    """What adapters change in a step with at least one token of an adapter (`lora`). All of it happens in place."""

    def embed(self, x: Tensor, ids: Tensor) -> None:
        """Replace rows of the embedding: x (N, hidden) is of the tokens `ids`."""
        ...

    def linear(self, out: Tensor, x: Tensor, layer: int, part: Part, places: Tensor | None) -> None:
        """Add to a linear layer's output.

        Args:
            out: (M, out), contiguous.
            x: (M, in).
            layer: from 0.
            part: which.
            places: (M,) where the tokens stand in the pack; None: M = N, they are the pack.
        """
        ...

    def logits(self, out: Tensor, x: Tensor, places: Tensor, *, plan: bool) -> None:
        """Replace logits (M, rows) of final hidden states (M, hidden), of the plan head or the text head."""
        ...


class Llama:
    """A network over its weights; keeps no state between steps."""

    def __init__(self, weights: Weights) -> None:
        self.weights, self.config = weights, weights.config
        self._rotary = Rotary(weights.config, weights.dtype, weights.device)

    def forward(self, batch: Batch, cache: KVCache, attention: Attention, adapters: Adapters | None = None) -> Tensor:
        """Compute a step: write keys and values, return final hidden states (reads, hidden), normed.

        Args:
            batch: the step.
            cache: where keys and values go.
            attention: backend; its `begin` is called here.
            adapters: None if no token has one.
        """
        x = F.embedding(batch.ids, self.weights.embedding)
        if adapters is not None:
            adapters.embed(x, batch.ids)
        attention.begin(batch, cache)
        turn = self._rotary(batch.positions)
        for number, layer in enumerate(self.weights.layers[:-1]):
            x = self._layer(number, layer, x, turn, cache, attention, adapters)
        x = self._last(x, turn, batch, cache, attention, adapters)
        return self._norm(x, self.weights.norm)

    def _layer(
        self, number: int, layer: LayerWeights, x: Tensor, turn: tuple[Tensor, Tensor], cache: KVCache,
        attention: Attention, adapters: Adapters | None,
    ) -> Tensor:  # fmt: skip
        normed = self._norm(x, layer.attention_norm)
        qkv = _linear(normed, layer.qkv, layer.qkv_bias, number, "qkv", adapters)
        q, kv = qkv.tensor_split((self.config.q_size,), dim=-1)
        k, v = self._keys_values(layer, kv, turn)
        seen = attention.attend(number, self._queries(layer, q, turn), k, v, cache)
        return self._rest(number, layer, x, seen.flatten(1), adapters, None)

    def _last(
        self, x: Tensor, turn: tuple[Tensor, Tensor], batch: Batch, cache: KVCache, attention: Attention,
        adapters: Adapters | None,
    ) -> Tensor:  # fmt: skip
        number, layer, width = self.config.layers - 1, self.weights.layers[-1], self.config.q_size
        normed = self._norm(x, layer.attention_norm)
        tail = batch.tail
        if tail is None:
            qkv = _linear(normed, layer.qkv, layer.qkv_bias, number, "qkv", adapters)
            q, kv = qkv.tensor_split((width,), dim=-1)
        else:
            places, bias = tail.places, layer.qkv_bias
            kv = _linear(normed, layer.qkv[width:], _part(bias, width, None), number, "kv", adapters)
            q = _linear(normed[places], layer.qkv[:width], _part(bias, 0, width), number, "q", adapters, places)
        k, v = self._keys_values(layer, kv, turn)
        if not batch.reads:
            cache.write(number, batch.slots, k, v)
            return x[:0]
        if tail is not None:
            turn = (turn[0][places], turn[1][places])
        seen = attention.attend(number, self._queries(layer, q, turn), k, v, cache, tail=tail is not None).flatten(1)
        if batch.reads == tuple(range(len(x))):  # all, in order: nothing to pick, and nothing from the host
            return self._rest(number, layer, x, seen, adapters, None)
        reads = torch.tensor(batch.reads, dtype=torch.int64).to(x.device)
        kept = reads if tail is None else torch.tensor(tail.reads, dtype=torch.int64).to(x.device)
        return self._rest(number, layer, x[reads], seen[kept], adapters, reads)

    def _queries(self, layer: LayerWeights, q: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        q = q.view(len(q), self.config.heads, self.config.head_size)
        return rotate(q if layer.q_norm is None else self._norm(q, layer.q_norm), *turn)

    def _keys_values(self, layer: LayerWeights, kv: Tensor, turn: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        kv = kv.view(len(kv), 2 * self.config.kv_heads, self.config.head_size)
        k, v = kv.chunk(2, dim=1)
        return rotate(k if layer.k_norm is None else self._norm(k, layer.k_norm), *turn), v

    def _rest(
        self, number: int, layer: LayerWeights, x: Tensor, seen: Tensor, adapters: Adapters | None,
        places: Tensor | None,
    ) -> Tensor:  # fmt: skip
        """What a layer does with what attention found: the output projection and the MLP, each added to `x`."""
        x = x + _linear(seen, layer.o, layer.o_bias, number, "o", adapters, places)
        normed = self._norm(x, layer.mlp_norm)
        gate, up = _linear(normed, layer.gate_up, layer.gate_up_bias, number, "gate_up", adapters, places).chunk(2, -1)
        return x + _linear(F.silu(gate) * up, layer.down, layer.down_bias, number, "down", adapters, places)

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        """RMSNorm over the last dimension; sums are float32 whatever the weights are."""
        return F.rms_norm(x, weight.shape, weight, self.config.eps)


def _linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, layer: int, part: Part, adapters: Adapters | None,
    places: Tensor | None = None,
) -> Tensor:  # fmt: skip
    out = F.linear(x, weight, bias)
    if adapters is not None:
        adapters.linear(out, x, layer, part, places)
    return out


def _part(bias: Tensor | None, first: int, last: int | None) -> Tensor | None:
    return None if bias is None else bias[first:last]
