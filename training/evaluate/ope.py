"""Off-policy estimates: what another policy would have earned on logged choices.

With w = target probability of the logged option / its logged propensity, r its reward, q a predicted reward, all per
row, and E q the mean prediction under the target:

    ips     mean of w r                unbiased; wild where w is large (Horvitz and Thompson 1952)
    snips   sum of w r / sum of w      slight bias, far less spread; shifts with r (Swaminathan and Joachims 2015)
    dm      mean of E q                as good as the predictions, and nothing shows how good those are
    dr      mean of E q + w (r - q)    unbiased whatever q is; spreads only by what q missed (Dudik et al. 2011)

Which to use: `dr`, else `snips` (`benchmarks/ope.py`, against known truth). The mean over rows where target and log
happen to agree is no estimate at all: its bias reached .03 in utility where the best policies are .005 apart.

The effective sample size (Kish 1965) says how many rows the weights leave: (sum w)^2 / sum w^2. Below
`REFUSE_BELOW` an estimate is refused, not reported: its interval would not hold the truth as often as it says.

Standard errors are over groups (tasks), as rows of a task are not independent (Liang and Zeger 1986, with the usual
G / (G - 1)), from each estimator's influence function; intervals use Student's t with G - 1 degrees of freedom.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from catp.training.evaluate.candidates import Floats
from catp.training.evaluate.flat import Weights, joined
from catp.training.evaluate.logged import Logged

__all__ = [
    "METHODS",
    "REFUSE_BELOW",
    "Estimate",
    "Method",
    "Refused",
    "bare_value",
    "effective_sample_size",
    "estimate",
]

Method: TypeAlias = Literal["ips", "snips", "dm", "dr"]
METHODS: tuple[Method, ...] = ("ips", "snips", "dm", "dr")

REFUSE_BELOW = 50
"""The effective sample size below which there is no estimate."""


@dataclass(frozen=True)
class Estimate:
    """An estimated mean utility per row."""

    method: Method
    value: float
    se: float | None
    """Standard error over groups; None if there is one group. For `dm` it leaves out the error of predictions."""
    low: float | None
    high: float | None
    """95 % confidence interval."""
    ess: float | None
    """Effective sample size; None for `dm`, which weighs nothing."""
    n: int
    unsupported: float | None
    """Share of the target's choices that the log can never show; None if the logging policy is not known in full."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refused:
    """No estimate, and why."""

    method: Method
    reason: str
    ess: float
    n: int


def effective_sample_size(weights: Floats) -> float:
    """Return Kish's effective sample size; 0 if no weight is above 0."""
    total = float((weights**2).sum())
    return float(weights.sum()) ** 2 / total if total > 0 else 0.0


def estimate(
    method: Method, log: Logged, target: Weights, predicted: Sequence[Floats] | None = None
) -> Estimate | Refused:
    """Estimate the mean utility of a target policy, given as weights for each row's set.

    `predicted` (`dm` and `dr` only) are predicted rewards of each row's options, by a model that has not seen the row:
    `catp.training.evaluate.reward_model`.

    Raises:
        ValueError: weights or predictions do not fit the rows, or predictions are missing.
    """
    flat, weights = joined(log.sets, target), _weights(log, target)
    ess = effective_sample_size(weights)
    if method != "dm" and ess < REFUSE_BELOW:
        return Refused(method, _too_few(ess, len(log)), ess, len(log))
    value, influence = _compute(method, log, weights, flat, predicted)
    se, low, high = _interval(value, influence, [one.group for one in log.sets])
    lost = _unsupported(log, flat)
    warnings = _warnings(method, lost, weights)
    return Estimate(method, value, se, low, high, None if method == "dm" else ess, len(log), lost, warnings)


def bare_value(method: Method, log: Logged, target: Weights, predicted: Sequence[Floats] | None = None) -> float:
    """Return the value alone, however small the effective sample size: to test estimators, not to decide by."""
    return _compute(method, log, _weights(log, target), joined(log.sets, target), predicted)[0]


def _weights(log: Logged, target: Weights) -> Floats:
    chosen = np.array([mine[place] for mine, place in zip(target, log.chosen, strict=True)])
    weights: Floats = chosen / log.propensity
    return weights


def _too_few(ess: float, rows: int) -> str:
    return (
        f"the effective sample size is {ess:.1f} of {rows} rows, below {REFUSE_BELOW}: the target seldom chooses what "
        "was logged; log more, or explore more in what it would choose"
    )


def _compute(
    method: Method, log: Logged, weights: Floats, target: Floats, predicted: Sequence[Floats] | None
) -> tuple[float, Floats]:
    """Return the estimate, and how far each row moves it (mean 0)."""
    if method == "ips":
        return _mean(weights * log.reward)
    if method == "snips":
        value = float((weights * log.reward).sum() / weights.sum())
        return value, weights * (log.reward - value) / weights.mean()
    expected, of_chosen = _predictions(log, target, predicted)
    if method == "dm":
        return _mean(expected)
    return _mean(expected + weights * (log.reward - of_chosen))


def _mean(terms: Floats) -> tuple[float, Floats]:
    value = float(terms.mean())
    return value, terms - value


def _predictions(log: Logged, target: Floats, predicted: Sequence[Floats] | None) -> tuple[Floats, Floats]:
    """Return the mean prediction under the target, and the prediction of the logged option, per row."""
    if predicted is None:
        raise ValueError("dm and dr need predicted rewards: see catp.training.evaluate.reward_model")
    if len(predicted) != len(log):
        raise ValueError(f"predictions for {len(predicted)} rows, but there are {len(log)}")
    for row, (one, mine) in enumerate(zip(log.sets, predicted, strict=True)):
        if np.shape(mine) != (len(one),) or not np.isfinite(mine).all():
            raise ValueError(f"row {row}: set {one.id!r} needs {len(one)} predicted rewards, got {mine}")
    starts = np.concatenate([[0], np.cumsum([len(one) for one in log.sets])[:-1]])
    expected: Floats = np.add.reduceat(target * np.concatenate(predicted), starts)
    return expected, np.array([mine[place] for mine, place in zip(predicted, log.chosen, strict=True)])


def _interval(
    value: float, influence: Floats, groups: Sequence[str]
) -> tuple[float | None, float | None, float | None]:
    names, place = np.unique(np.asarray(groups), return_inverse=True)
    count = len(names)
    if count < 2:
        return None, None, None
    from scipy.stats import t

    sums = np.bincount(place, influence)
    se = float(np.sqrt(count / (count - 1) * (sums**2).sum()) / len(influence))
    half = float(t.ppf(0.975, count - 1)) * se
    return se, value - half, value + half


def _unsupported(log: Logged, target: Floats) -> float | None:
    if log.behaviour is None:
        return None
    never = joined(log.sets, log.behaviour) == 0
    return float(target[never].sum() / len(log))


def _warnings(method: Method, lost: float | None, weights: Floats) -> tuple[str, ...]:
    found = []
    if lost:
        what = {"dm": "unchecked predictions", "dr": "unchecked predictions", "snips": "the other choices"}
        stands = f"{what[method]} stand in for them" if method in what else "they count as utility 0"
        found.append(f"{lost:.1%} of the target's choices are never logged: {stands}")
    spread = float(weights.std(ddof=1) / np.sqrt(len(weights))) if len(weights) > 1 else 0.0
    if method != "dm" and not lost and abs(weights.mean() - 1) > 4 * spread + 1e-9:
        found.append(
            f"weights have the mean {weights.mean():.3f} and should have 1: propensities are wrong, or the target "
            "chooses what is never logged"
        )
    if method == "dm":
        found.append("dm weighs no row: it has no effective sample size, and its interval leaves out model error")
    return tuple(found)
