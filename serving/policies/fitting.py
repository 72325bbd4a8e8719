"""Fit the cost model to an engine's own log of steps, and say how well it predicts steps it has not seen."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catp.serving.policies.costmodel import CostModel, Load

__all__ = ["Fit", "features", "fit"]

_LEAST = 10
"""Steps per fit; two for each coefficient."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted model; `mape` is the mean relative error on held-out steps (0.1 is 10 %), `held_out` their number."""

    costs: CostModel
    mape: float
    held_out: int


def features(load: Load) -> tuple[float, float, float, float, float]:
    """Return what the coefficients of `CostModel` are multiplied with, in the order of its fields."""
    return 1.0, float(load.tokens), float(load.attended), float(load.decodes), float(load.kv_tokens)


def fit(log: Sequence[tuple[Load, float]], *, held_out: int = 5) -> Fit:
    """Return the cost model with the least squared relative error on (load, measured seconds).

    Coefficients are at least zero (`scipy.optimize.nnls`, Lawson and Hanson 1974). Every `held_out`-th step is not used
    in a first fit and measures it; the model that is returned is fitted to all steps. Errors are relative, as a
    decision about a small step is worth as much as one about a large one. Relative to measured times that vary, such a
    fit is too low in the mean (6 % on a shared machine), so it is then scaled until all predictions add up to the time
    measured.

    Raises:
        ValueError: fewer than ten steps, or one that took no time.
    """
    if len(log) < _LEAST:
        raise ValueError(f"fit: {len(log)} steps are too few for five coefficients; give at least {_LEAST}")
    seconds = np.array([took for _, took in log], float)
    if not (np.isfinite(seconds).all() and (seconds > 0).all()):
        number = int(np.flatnonzero(~(np.isfinite(seconds) & (seconds > 0)))[0])
        raise ValueError(f"fit: step {number} took {seconds[number]} s; leave steps out that were not measured")
    rows = np.array([features(load) for load, _ in log], float)
    test = np.arange(len(log)) % held_out == held_out - 1
    predicted = rows[test] @ _solve(rows[~test], seconds[~test])
    mape = float(np.mean(np.abs(predicted - seconds[test]) / seconds[test]))
    return Fit(CostModel(*(float(value) for value in _solve(rows, seconds))), mape, int(test.sum()))


def _solve(rows: NDArray[np.float64], seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least squares of rows @ x / seconds = 1 with x >= 0, columns scaled to norm 1; then x scaled to the sum."""
    from scipy.optimize import nnls

    relative = rows / seconds[:, None]
    scale = np.linalg.norm(relative, axis=0)
    scale[scale == 0] = 1.0
    solution, _ = nnls(relative / scale, np.ones(len(seconds)))
    found = np.asarray(solution / scale, np.float64)
    return np.asarray(found * (seconds.sum() / (rows @ found).sum()), np.float64)
