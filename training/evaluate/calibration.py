"""Predicted quality against measured quality.

A chooser that trades quality against price needs predictions that mean what they say (`bias`, `ece`, `mse`), and that
rank the plans of one input rightly (`spearman`): a prediction may be perfect in one sense and useless in the other.

Expected calibration error as in Guo et al., arXiv 1706.04599, section 2: predictions are put into bins of equal width,
and the gaps between mean prediction and mean measurement are averaged by how much is in each bin. Binning hides gaps
of opposite sign within a bin; `mse` (Brier's score, if quality is 0 or 1) does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from catp.training.evaluate.candidates import CandidateSet, Floats

__all__ = ["Bin", "Calibration", "calibration"]


@dataclass(frozen=True)
class Bin:
    """Predictions in [low, high): how many, their mean, and the mean of what was measured."""

    low: float
    high: float
    n: int
    predicted: float
    measured: float


@dataclass(frozen=True)
class Calibration:
    """How far predictions are from measurements. All but the counts are None if nothing can be compared."""

    n: int
    """Options that have both a prediction and a score."""
    bias: float | None
    """Mean of prediction - measurement: above 0 is too hopeful."""
    mse: float | None
    ece: float | None
    spearman: float | None
    """Mean rank correlation within sets."""
    ranked: int
    """Sets it is the mean of: with two or more compared options, measured scores not all equal."""
    bins: tuple[Bin, ...]
    """Reliability diagram, without empty bins."""


def calibration(sets: Sequence[CandidateSet], predicted: Sequence[Floats], *, bins: int = 10) -> Calibration:
    """Compare predictions, one array per set, with measured scores; options where either is nan are left out.

    Predictions outside [0, 1] count in the outermost bins. Within a set, equal predictions for options that differ
    have the rank correlation 0: they rank nothing.

    Raises:
        ValueError: predictions are not one for each option of each set.
    """
    if len(predicted) != len(sets):
        raise ValueError(f"predictions for {len(predicted)} sets, but there are {len(sets)}")
    pairs = [_pairs(one, mine) for one, mine in zip(sets, predicted, strict=True)]
    ranks = [found for guess, true in pairs if (found := _spearman(guess, true)) is not None]
    guess = np.concatenate([pair[0] for pair in pairs]) if pairs else np.zeros(0)
    true = np.concatenate([pair[1] for pair in pairs]) if pairs else np.zeros(0)
    if not len(guess):
        return Calibration(0, None, None, None, None, 0, ())
    reliability = _bins(guess, true, bins)
    return Calibration(
        n=len(guess),
        bias=float((guess - true).mean()),
        mse=float(((guess - true) ** 2).mean()),
        ece=sum(one.n * abs(one.predicted - one.measured) for one in reliability) / len(guess),
        spearman=float(np.mean(ranks)) if ranks else None,
        ranked=len(ranks),
        bins=reliability,
    )


def _pairs(one: CandidateSet, predicted: Floats) -> tuple[Floats, Floats]:
    guess, true = np.asarray(predicted, dtype=np.float64), one.scores
    if guess.shape != true.shape:
        raise ValueError(f"set {one.id!r} has {len(one)} options, its predictions have shape {guess.shape}")
    known = np.isfinite(guess) & np.isfinite(true)
    return guess[known], true[known]


def _bins(guess: Floats, true: Floats, count: int) -> tuple[Bin, ...]:
    place = np.clip((guess * count).astype(np.intp), 0, count - 1)
    found = []
    for number in range(count):
        mine = place == number
        if mine.any():
            low, high = number / count, (number + 1) / count
            found.append(Bin(low, high, int(mine.sum()), float(guess[mine].mean()), float(true[mine].mean())))
    return tuple(found)


def _spearman(guess: Floats, true: Floats) -> float | None:
    if len(true) < 2 or np.ptp(true) == 0:
        return None
    if np.ptp(guess) == 0:
        return 0.0
    return float(np.corrcoef(_ranks(guess), _ranks(true))[0, 1])


def _ranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: Floats = last - (counts - 1) / 2
    return mean[place]
