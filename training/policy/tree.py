"""A tree of token runs behind one prompt, computed with one KV cache: the tree attention of training, run by run.

    prompt ── run ─┬─ run        a run sees the runs it follows and itself; positions count on along the path
                   ├─ run
                   └─ run ── run

All runs lie in one cache of batch 1, whatever plan they belong to: the prompt is never copied, what two plans have in
common is computed once, and nothing is padded. One forward pass computes any number of new runs, and of the output
layer only the rows that are asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Run", "TokenTree", "WriterFailed"]


class WriterFailed(RuntimeError):
    """The model computed what cannot be read, NaN or infinity; the message says what to do."""


@dataclass(eq=False)
class Run:
    """Tokens that follow those of `parent`. Logits are read at `reads`, places in it; `logits` (reads, rows) float64,
    `None` until the run is computed."""

    parent: "Run | None"
    ids: Sequence[int]
    reads: Sequence[int]
    logits: NDArray[np.float64] | None = None
    spans: tuple[tuple[int, int], ...] = ()
    """Columns of the cache that the run sees, its own included."""
    begin: int = field(init=False)
    """Position of its first token."""

    def __post_init__(self) -> None:
        self.begin = 0 if self.parent is None else self.parent.end

    @property
    def end(self) -> int:
        """Position after its last token."""
        return self.begin + len(self.ids)


class TokenTree:
    """Computes runs; what they see of each other is decided by their parents.

    Args:
        model: a `LlamaForCausalLM` of transformers, in `eval` mode.
        rows: (rows, hidden) rows of its output layer, in its own number format and on its device.
    """

    def __init__(self, model: Any, rows: Any) -> None:
        self._model, self._rows = model.model, rows
        self._cache = [_Columns() for _ in self._model.layers]

    def __len__(self) -> int:
        """Tokens computed."""
        return self._cache[0].length

    def compute(self, runs: Sequence[Run]) -> None:
        """Compute runs in one forward pass; parents must be computed or stand before their children.

        Raises:
            WriterFailed: logits are not finite.
        """
        import torch

        before, rows = len(self), self._rows
        ids = [token for run in runs for token in run.ids]
        positions = [place for run in runs for place in range(run.begin, run.end)]
        mask = _mask(runs, before, len(ids))
        reads = [run.spans[-1][1] - len(run.ids) - before + place for run in runs for place in run.reads]
        with torch.inference_mode():
            hidden = self._hidden(*(torch.tensor(part, device=rows.device) for part in (ids, positions, mask, reads)))
            logits = (hidden @ rows.T).double().cpu().numpy()
        if not np.isfinite(logits).all():
            raise WriterFailed(
                "the model computed logits that are NaN or infinite: its weights are damaged, or too large for "
                f"{str(rows.dtype).removeprefix('torch.')}; load another checkpoint (`catp models list`)"
            )
        at = 0
        for run in runs:
            run.logits = logits[at : at + len(run.reads)]
            at += len(run.reads)

    def _hidden(self, ids: Any, positions: Any, mask: Any, reads: Any) -> Any:
        """The forward pass of `LlamaModel` (RMSNorm, rotary positions, attention, gated MLP) by its own layers.

        Returns (reads, hidden). Unlike `LlamaModel.forward`, the last layer goes on with the tokens that are read only:
        of the others its keys and values are needed and no more, which saves most of a layer.

        Args:
            ids, positions: (N,).
            mask: (N, columns) bool.
            reads: (R,) places among the N.
        """
        import torch.nn.functional as F
        from transformers.models.llama.modeling_llama import rotate_half

        model = self._model
        x = model.embed_tokens(ids)
        cos, sin = (part[0] for part in model.rotary_emb(x, positions[None]))
        for layer, columns in zip(model.layers, self._cache, strict=True):
            attention = layer.self_attn
            normed = _norm(layer.input_layernorm, x)
            keys, values = (
                project(normed).view(len(normed), -1, attention.head_dim).transpose(0, 1)
                for project in (attention.k_proj, attention.v_proj)
            )
            keys, values = columns.extended(keys * cos + rotate_half(keys) * sin, values)
            if columns is self._cache[-1]:
                x, normed, mask, cos, sin = (part[reads] for part in (x, normed, mask, cos, sin))
            queries = attention.q_proj(normed).view(len(normed), -1, attention.head_dim).transpose(0, 1)
            queries = queries * cos + rotate_half(queries) * sin
            if attention.num_key_value_groups > 1:
                keys, values = (part.repeat_interleave(attention.num_key_value_groups, 0) for part in (keys, values))
            seen = F.scaled_dot_product_attention(
                queries[None], keys[None], values[None], attn_mask=mask, scale=attention.scaling
            )
            x = x + attention.o_proj(seen[0].transpose(0, 1).reshape(len(normed), -1))
            x = x + layer.mlp(_norm(layer.post_attention_layernorm, x))
        return _norm(model.norm, x)


def _mask(runs: Sequence[Run], before: int, count: int) -> NDArray[np.bool_]:
    """Return (count, before + count) bool: may token see column; fills in the spans of the runs."""
    shown = np.zeros((count, before + count), dtype=np.bool_)
    row = 0
    for run in runs:
        start, size = before + row, len(run.ids)
        above = run.parent.spans if run.parent is not None else ()
        for first, last in above:
            shown[row : row + size, first:last] = True
        shown[row : row + size, start : start + size] = np.tri(size, dtype=np.bool_)
        run.spans = (*above, (start, start + size))
        row += size
    return shown


def _norm(module: Any, x: Any) -> Any:
    """`LlamaRMSNorm` in one operation; as there, in single precision whatever the model's."""
    import torch.nn.functional as F

    return F.rms_norm(x.float(), (x.shape[-1],), module.weight.float(), module.variance_epsilon).to(x.dtype)


class _Columns:
    """Keys and values of one layer, (heads, columns, head size), in buffers that grow by doubling."""

    def __init__(self) -> None:
        self.length = 0
        self._held: list[Any] = []

    def extended(self, keys: Any, values: Any) -> list[Any]:
        """Add columns and return all of them."""
        end = self.length + keys.shape[1]
        if not self._held or self._held[0].shape[1] < end:
            grown = [new.new_empty((new.shape[0], 2 * end, new.shape[2])) for new in (keys, values)]
            for buffer, old in zip(grown, self._held, strict=False):
                buffer[:, : self.length] = old[:, : self.length]
            self._held = grown
        for buffer, new in zip(self._held, (keys, values), strict=True):
            buffer[:, self.length : end] = new
        self.length = end
        return [buffer[:, :end] for buffer in self._held]
