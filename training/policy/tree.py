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
        model: a `LlamaForCausalLM` of transformers.
        rows: (rows, hidden) rows of its output layer, in its own number format and on its device.
    """

    def __init__(self, model: Any, rows: Any) -> None:
        self._model, self._rows = model.model, rows
        self._cache = _Cache(model.config.num_hidden_layers)

    def __len__(self) -> int:
        """Tokens computed."""
        return self._cache.length

    def compute(self, runs: Sequence[Run]) -> None:
        """Compute runs in one forward pass; parents must be computed or stand before their children.

        Raises:
            WriterFailed: logits are not finite.
        """
        import torch

        before, rows = self._cache.length, self._rows
        ids = torch.tensor([[token for run in runs for token in run.ids]], device=rows.device)
        positions = torch.tensor([[p for run in runs for p in range(run.begin, run.end)]], device=rows.device)
        mask = torch.from_numpy(_mask(runs, before, ids.shape[1]))[None, None]
        with torch.inference_mode():
            hidden = self._model(
                input_ids=ids, position_ids=positions, attention_mask=_additive(mask.to(rows.device), rows.dtype),
                past_key_values=self._cache, use_cache=True,
            ).last_hidden_state[0]  # fmt: skip
            places = [run.spans[-1][1] - len(run.ids) - before + place for run in runs for place in run.reads]
            logits = (hidden[places] @ rows.T).double().cpu().numpy()
        self._cache.length = before + ids.shape[1]
        if not np.isfinite(logits).all():
            raise WriterFailed(
                "the model computed logits that are NaN or infinite: its weights are damaged, or too large for "
                f"{str(rows.dtype).removeprefix('torch.')}; load another checkpoint (`catp models list`)"
            )
        at = 0
        for run in runs:
            run.logits = logits[at : at + len(run.reads)]
            at += len(run.reads)


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


def _additive(mask: Any, dtype: Any) -> Any:
    """The mask as what is added to attention scores, as in training."""
    import torch

    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, torch.finfo(dtype).min)


class _Cache:
    """Keys and values of all layers (1, heads, columns, head size), in buffers that grow by doubling.

    Has as much of transformers' `Cache` as a Llama asks for when it is given positions and a mask; its `DynamicCache`
    copies everything at every step.
    """

    def __init__(self, layers: int) -> None:
        self.length = 0
        self._buffers: list[tuple[Any, Any] | None] = [None] * layers

    def update(self, keys: Any, values: Any, layer_idx: int, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Add columns behind the first `length`, and return all."""
        end = self.length + keys.shape[2]
        held = self._buffers[layer_idx]
        if held is None or held[0].shape[2] < end:
            held = self._buffers[layer_idx] = self._grown(held, keys, values, end)
        for buffer, added in zip(held, (keys, values), strict=True):
            buffer[:, :, self.length : end] = added
        return held[0][:, :, :end], held[1][:, :, :end]

    def _grown(self, held: tuple[Any, Any] | None, keys: Any, values: Any, end: int) -> tuple[Any, Any]:
        made = []
        for place, like in enumerate((keys, values)):
            buffer = like.new_empty((like.shape[0], like.shape[1], 2 * end, like.shape[3]))
            if held is not None:
                buffer[:, :, : self.length] = held[place][:, :, : self.length]
            made.append(buffer)
        return made[0], made[1]
