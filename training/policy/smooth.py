"""First weights of bucket tokens: neighbouring levels begin alike.

A level's row is a smooth random curve over the levels (a Gaussian process with a squared-exponential kernel), so that
what is learned of one level helps its neighbours. Rows of `<QK>` begin at zero: all differences are equally likely, so
that an untrained policy predicts exactly what profiles promise.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from catp.training.prompt.buckets import BUCKETS, spell
from catp.training.prompt.tokens import PolicyTokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["smooth_rows"]

_LENGTH = 0.12
"""Length scale of the curves, as a share of the scale from the lowest level to the highest."""


def smooth_rows(model: Any, tokens: PolicyTokens, seed: int) -> None:
    """Set the rows of all bucket tokens of a new model, in place, at the scale of its other rows."""
    import torch

    rows = model.get_input_embeddings().weight
    spread = float(rows.detach().std())
    with torch.no_grad():
        for number, (kind, count) in enumerate(BUCKETS.items()):
            curve = _curve(count, rows.shape[1], [seed, 11, number])
            for level in range(count):
                row = torch.from_numpy(curve[level] * (0.0 if kind == "Q" else spread)).to(rows.dtype)
                rows[tokens.mark(spell(kind, level))] = row


def _curve(count: int, width: int, seed: list[int]) -> "NDArray[np.float64]":
    """(levels, width): every column a smooth curve of variance 1."""
    at = np.linspace(0.0, 1.0, count)
    kernel = np.exp(-0.5 * ((at[:, None] - at[None, :]) / _LENGTH) ** 2) + 1e-6 * np.eye(count)
    drawn: NDArray[np.float64] = np.linalg.cholesky(kernel) @ np.random.default_rng(seed).normal(size=(count, width))
    return drawn
