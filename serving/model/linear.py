"""Products with weights, in the memory layout that oneDNN's kernels want on a CPU.

A step has few rows, 1 to 64, and for those the packed layout takes half the time of torch's `linear` (one thread,
AVX-512: 2816 x 512 in float32, 16 rows: 0.55 ms instead of 1.1; bfloat16: 0.23 instead of 0.52). Packing is a copy, so
it is for models of moderate size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from catp.serving.model.weights import Weights

__all__ = ["Linear", "packs"]

_LIMIT = 2 << 30
"""Bytes of weights above which a second copy costs more than it is worth."""

_ROWS = 16
"""Rows that the layout is chosen for; others are no slower than unpacked."""


def packs(weights: Weights) -> bool:
    """Return whether a model's matrices are packed: on a CPU, in a format that oneDNN computes in, if not too large."""
    if weights.device.type != "cpu" or weights.bytes > _LIMIT or not torch._C._has_mkldnn:
        return False
    fast = weights.dtype == torch.float32 or (
        weights.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
    return fast and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")


class Linear:
    """x W^T + b.

    Args:
        weight: (out, in).
        bias: (out,), or None.
        packed: see `packs`.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, packed: bool) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS) if packed else weight
        self._bias, self._packed = bias, packed

    def __call__(self, x: Tensor) -> Tensor:
        """Return (rows, out) of (rows, in)."""
        if not self._packed:
            return F.linear(x, self._weight, self._bias)
        found: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
        return found
