"""Packed examples as one batch of tensors, with the tree attention mask."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from catp.training.caorl.examples import Packed

__all__ = ["batch_of", "tree_mask"]


def tree_mask(branch: Any, length: int) -> Any:
    """Return (length, length) bool: may row see column.

    `branch` (L,) says which plan a token belongs to; -1 is the prompt, which everybody behind it sees.
    """
    shown = np.zeros((length, length), dtype=np.bool_)
    own = len(branch)
    causal = np.tril(np.ones((own, own), dtype=np.bool_))
    shown[:own, :own] = causal & ((branch[None, :] == -1) | (branch[:, None] == branch[None, :]))
    padding = np.arange(own, length)
    shown[padding, padding] = True  # a row that sees nothing would be NaN
    return shown


def batch_of(examples: Sequence[Packed], pad: int) -> Mapping[str, Any]:
    """Return the tensors of a batch; positions in `at` and `read` count through the flattened (B * L) tokens.

    ids, positions (B, L) int64; mask (B, 1, L, L) bool; at, label (M,), allowed (M, plan tokens); owner (M,) and reader
    (R,) count plans through the batch; score, price, fits (P,); of (P,) the example of each plan; alpha (B,).
    """
    import torch

    length = max(len(one) for one in examples)
    ids = np.full((len(examples), length), pad, dtype=np.int64)
    positions = np.zeros((len(examples), length), dtype=np.int64)
    mask = np.zeros((len(examples), 1, length, length), dtype=np.bool_)
    parts: dict[str, list[Any]] = {name: [] for name in _JOINED}
    plans = 0
    for row, one in enumerate(examples):
        ids[row, : len(one)], positions[row, : len(one)] = one.ids, one.positions
        mask[row, 0] = tree_mask(one.branch, length)
        for name, values in (
            ("at", one.at + row * length), ("read", one.read + row * length),
            ("owner", one.owner + plans), ("reader", one.reader + plans),
            ("label", one.label), ("allowed", one.allowed), ("share", one.share), ("prior", one.prior),
            ("part", one.part),
            ("score", one.score), ("price", one.price), ("fits", one.fits),
            ("of", np.full(len(one.score), row, dtype=np.int64)),
        ):  # fmt: skip
            parts[name].append(values)
        plans += len(one.score)
    joined = {name: torch.from_numpy(np.concatenate(values)) for name, values in parts.items()}
    return {
        "ids": torch.from_numpy(ids),
        "positions": torch.from_numpy(positions),
        "mask": torch.from_numpy(mask),
        "alpha": torch.tensor([one.alpha for one in examples], dtype=torch.float32),
        "tokens": sum(len(one) for one in examples),
        **joined,
    }


_JOINED = (
    "at",
    "label",
    "owner",
    "allowed",
    "read",
    "reader",
    "share",
    "prior",
    "part",
    "score",
    "price",
    "fits",
    "of",
)
