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
from catp.serving.model.linear import Linear, packs
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
        packed = packs(weights)
        self._layers = [_Layer(layer, packed) for layer in weights.layers]
        width, last = weights.config.q_size, weights.layers[-1]
        self._last_q = Linear(last.qkv[:width], _part(last.qkv_bias, 0, width), packed=packed)
        self._last_kv = Linear(last.qkv[width:], _part(last.qkv_bias, width, None), packed=packed)
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
        for number, layer in enumerate(self._layers[:-1]):
            x = self._layer(number, layer, x, turn, cache, attention, adapters)
        x = self._last(x, turn, batch, cache, attention, adapters)
        return self._norm(x, self.weights.norm)

    def _layer(
        self, number: int, layer: "_Layer", x: Tensor, turn: tuple[Tensor, Tensor], cache: KVCache,
        attention: Attention, adapters: Adapters | None,
    ) -> Tensor:  # fmt: skip
        normed = self._norm(x, layer.weights.attention_norm)
        qkv = _linear(normed, layer.qkv, number, "qkv", adapters)
        q, kv = qkv.tensor_split((self.config.q_size,), dim=-1)
        k, v = self._keys_values(layer, kv, turn)
        seen = attention.attend(number, self._queries(layer, q, turn), k, v, cache)
        return self._rest(number, layer, x, seen.flatten(1), adapters, None)

    def _last(
        self, x: Tensor, turn: tuple[Tensor, Tensor], batch: Batch, cache: KVCache, attention: Attention,
        adapters: Adapters | None,
    ) -> Tensor:  # fmt: skip
        number, layer, width = self.config.layers - 1, self._layers[-1], self.config.q_size
        normed = self._norm(x, layer.weights.attention_norm)
        tail = batch.tail
        if tail is None:
            qkv = _linear(normed, layer.qkv, number, "qkv", adapters)
            q, kv = qkv.tensor_split((width,), dim=-1)
        else:
            places = tail.places
            kv = _linear(normed, self._last_kv, number, "kv", adapters)
            q = _linear(normed[places], self._last_q, number, "q", adapters, places)
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

    def _queries(self, layer: "_Layer", q: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        q = q.view(len(q), self.config.heads, self.config.head_size)
        return rotate(q if layer.weights.q_norm is None else self._norm(q, layer.weights.q_norm), *turn)

    def _keys_values(self, layer: "_Layer", kv: Tensor, turn: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        kv = kv.view(len(kv), 2 * self.config.kv_heads, self.config.head_size)
        k, v = kv.chunk(2, dim=1)
        return rotate(k if layer.weights.k_norm is None else self._norm(k, layer.weights.k_norm), *turn), v

    def _rest(
        self, number: int, layer: "_Layer", x: Tensor, seen: Tensor, adapters: Adapters | None,
        places: Tensor | None,
    ) -> Tensor:  # fmt: skip
        """What a layer does with what attention found: the output projection and the MLP, each added to `x`."""
        x = x + _linear(seen, layer.o, number, "o", adapters, places)
        normed = self._norm(x, layer.weights.mlp_norm)
        gate, up = _linear(normed, layer.gate_up, number, "gate_up", adapters, places).chunk(2, -1)
        return x + _linear(F.silu(gate) * up, layer.down, number, "down", adapters, places)

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        """RMSNorm over the last dimension; sums are float32 whatever the weights are."""
        return F.rms_norm(x, weight.shape, weight, self.config.eps)


class _Layer:
    """The products of a layer, and its other weights."""

    def __init__(self, weights: LayerWeights, packed: bool) -> None:
        self.weights = weights
        self.qkv = Linear(weights.qkv, weights.qkv_bias, packed=packed)
        self.o = Linear(weights.o, weights.o_bias, packed=packed)
        self.gate_up = Linear(weights.gate_up, weights.gate_up_bias, packed=packed)
        self.down = Linear(weights.down, weights.down_bias, packed=packed)


def _linear(
    x: Tensor, weight: Linear, layer: int, part: Part, adapters: Adapters | None, places: Tensor | None = None
) -> Tensor:  # fmt: skip
    out = weight(x)
    if adapters is not None:
        adapters.linear(out, x, layer, part, places)
    return out


def _part(bias: Tensor | None, first: int, last: int | None) -> Tensor | None:
    return None if bias is None else bias[first:last]
