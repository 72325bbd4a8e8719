"""Attention over part of the keys, and how parts become the whole: by their log-sum-exp.

With scores s over disjoint sets A and B of keys, softmax-weighted means m_A, m_B and L = log sum exp s,
m = m_B + (m_A - m_B) sigmoid(L_A - L_B) (the merge of Flash-Decoding, and of cascade inference).

Shapes: queries (N, kv heads, group, size), keys and values (K, kv heads, size): the heads of a group share keys, and
stand as further queries beside each other, so that keys are never repeated.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Partial", "attend", "attend_causal"]

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


@dataclass(slots=True)
class Partial:
    """Attention of queries over the keys met so far: `mean` (N, kv heads, group, size), `lse` (N, kv heads, group)."""

    mean: Tensor
    lse: Tensor

    def merge(self, other: "Partial") -> None:
        """Add keys, in place."""
        share = torch.sigmoid(other.lse - self.lse)
        self.mean.lerp_(other.mean, share.to(self.mean.dtype)[..., None])
        torch.logaddexp(self.lse, other.lse, out=self.lse)

    def at(self, where: slice | Tensor) -> "Partial":
        """Return some of the queries: a view of a slice, a copy of an index."""
        return Partial(self.mean[where], self.lse[where])

    def put(self, where: slice | Tensor, part: "Partial") -> None:
        """Set some of the queries."""
        self.mean[where] = part.mean
        self.lse[where] = part.lse


def attend(q: Tensor, k: Tensor, v: Tensor) -> Partial:
    """Attend to all keys from all queries."""
    count, heads, group, size = q.shape
    folded = q.transpose(0, 1).reshape(1, heads, count * group, size)
    mean, lse = _flash(folded, k.transpose(0, 1)[None], v.transpose(0, 1)[None])
    return Partial(
        mean[0].unflatten(1, (count, group)).transpose(0, 1), lse[0].unflatten(1, (count, group)).transpose(0, 1)
    )


def attend_causal(q: Tensor, k: Tensor, v: Tensor) -> Partial:
    """Attend from query i to keys 0 to i; as many keys as queries."""
    group = q.shape[2]
    keys, values = (part.transpose(0, 1)[:, None].expand(-1, group, -1, -1) for part in (k, v))
    mean, lse = _flash(q.permute(1, 2, 0, 3), keys, values, 0.0, True)
    return Partial(mean.permute(2, 0, 1, 3), lse.permute(2, 0, 1))


def attend_masked(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Partial:
    """Attend from queries of R rows, C of each, to each row's own keys.

    Args:
        q: (R * C, kv heads, group, size).
        k, v: (R, kv heads, K, size).
        mask: (R, C, K), added to scores.
    """
    rows, count, _ = mask.shape
    _, heads, group, size = q.shape
    folded = q.view(rows, count, heads, group, size).transpose(1, 2).reshape(rows, heads, count * group, size)
    spread = mask[:, None, :, None].expand(-1, -1, -1, group, -1).flatten(2, 3)
    mean, lse = _flash(folded, k, v, 0.0, False, attn_mask=spread)
    return Partial(
        mean.unflatten(2, (count, group)).transpose(1, 2).flatten(0, 1),
        lse.unflatten(2, (count, group)).transpose(1, 2).flatten(0, 1),
    )
