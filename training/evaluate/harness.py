"""The harness for choosers: fit on one side, choose on the other, measure everything that a table needs.

    evaluate(BASELINES["gbm"], sets, protocol="kfold") -> Evaluation

Planners that write plans freely are measured by `catp.training.evaluate.planning`.
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from catp.training.baselines.chooser import Chooser, Prices
from catp.training.baselines.prices import StepPrices
from catp.training.evaluate.calibration import calibration
from catp.training.evaluate.candidates import CandidateSet, Floats
from catp.training.evaluate.latency import latency
from catp.training.evaluate.pareto import ALPHAS, hv_ratio, ideal, oracle_points, points, reference, sparsity
from catp.training.evaluate.protocols import Fold, folds
from catp.training.evaluate.regret import regret
from catp.training.evaluate.result import AlphaRow, BudgetCheck, Evaluation

__all__ = ["BUDGET_ALPHA", "evaluate"]

BUDGET_ALPHA = 0.8
"""The alpha at which budgets are checked: where quality is worth money."""


@dataclass
class _Record:
    """What was chosen, over all folds."""

    sets: list[CandidateSet] = field(default_factory=list)
    weights: dict[float, list[Floats]] = field(default_factory=dict)
    predicted: list[Floats] = field(default_factory=list)
    predicts: bool = False
    seconds: list[float] = field(default_factory=list)
    over: list[float] = field(default_factory=list)
    refused: int = 0


def evaluate(
    chooser_factory: Callable[[], Chooser],
    sets: Sequence[CandidateSet],
    *,
    alphas: Sequence[float] = ALPHAS,
    protocol: str = "kfold",
    seed: int = 0,
    draws: int = 1000,
    budget_factor: float = 1.0,
    tools: Sequence[Collection[str]] | None = None,
    tables: Sequence[Prices] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Evaluation:
    """Measure a chooser under a protocol.

    Args:
        chooser_factory: makes a fresh chooser for each fold. One with `sees_outcomes` is fitted on the sets it is
            judged on, and shown their outcomes; all others get `CandidateSet.hidden()`.
        sets: measured candidate sets, of one data set.
        alphas: the sweep.
        protocol: what is held out; see `catp.training.evaluate.protocols`, which also explains `tools` and `tables`.
        seed: of the folds and of the bootstrap.
        draws: of the bootstrap over tasks.
        budget_factor: the budget of the check, in median predicted prices of the set.
        progress: told what is being done, fold by fold.

    Raises:
        ValueError: the sets do not suit the protocol, or leave nothing to choose.
    """
    if not alphas:
        raise ValueError("no alphas to evaluate at")
    probe = chooser_factory()
    parts = _folds(probe, sets, protocol, seed, tools, tables)
    record = _Record(weights={alpha: [] for alpha in alphas})
    for number, fold in enumerate(parts, 1):
        if progress is not None:
            progress(f"{probe.name}: fold {number} of {len(parts)}, {len(fold.train)} sets to learn from")
        _run(chooser_factory(), fold, record, budget_factor)
    return _summary(probe, protocol, record, budget_factor, seed, draws)


def _folds(
    chooser: Chooser, sets: Sequence[CandidateSet], protocol: str, seed: int,
    tools: Sequence[Collection[str]] | None, tables: Sequence[Prices] | None,
) -> list[Fold]:  # fmt: skip
    if protocol == "loo" and (getattr(chooser, "leaves_own_out", False) or _sees(chooser)):
        return [Fold(sets, sets)]
    return folds(sets, protocol, seed=seed, tools=tools, tables=tables)


def _run(chooser: Chooser, fold: Fold, record: _Record, factor: float) -> None:
    sees = _sees(chooser)
    chooser.fit(fold.test if sees else fold.train)
    estimates = StepPrices().fit(fold.train)
    for one in fold.test:
        shown = one if sees else one.hidden()
        begin = time.perf_counter()
        for number, (alpha, weights) in enumerate(record.weights.items()):
            weights.append(_probabilities(chooser.choose(shown, alpha, fold.prices), one))
            if number == 0:  # later alphas may reuse what the first one worked out
                record.seconds.append(time.perf_counter() - begin)
        guess = chooser.predict(shown)
        record.predicts |= guess is not None
        record.predicted.append(np.full(len(one), np.nan) if guess is None else guess)
        record.sets.append(one)
        _within_budget(chooser, one, estimates.price(shown, fold.prices), fold.prices, factor, record)


def _probabilities(found: Floats, one: CandidateSet) -> Floats:
    if np.shape(found) != (len(one),):
        raise ValueError(
            f"choose gave shape {np.shape(found)} for {one.id}; return {len(one)} probabilities, one per plan"
        )
    return found


def _within_budget(
    chooser: Chooser, one: CandidateSet, predicted: Floats, prices: Prices, factor: float, record: _Record
) -> None:
    """Offer only what is predicted to fit, and see what the choice cost in truth."""
    budget = float(np.median(predicted)) * factor
    fits = [option for option, price in zip(one.options, predicted, strict=True) if price <= budget]
    if not fits:
        record.refused += 1
        return
    offered = replace(one, options=tuple(fits))
    weights = chooser.choose(offered if _sees(chooser) else offered.hidden(), BUDGET_ALPHA, prices)
    record.over.append(float(weights @ (offered.prices > budget)))


def _summary(chooser: Chooser, protocol: str, record: _Record, factor: float, seed: int, draws: int) -> Evaluation:
    sets, weights = record.sets, record.weights
    rows = tuple(
        AlphaRow(alpha, regret(sets, mine, alpha, draws=draws, seed=seed), latency(sets, mine))
        for alpha, mine in sorted(weights.items())
    )
    found, worst = points(sets, weights), reference(sets)
    try:
        ratio: float | None = hv_ratio(sets, weights)
    except ValueError:  # the sets leave no area: all options alike, or one alpha whose point lies on the edge
        ratio = None
    return Evaluation(
        planner=chooser.name,
        protocol=protocol,
        dataset=", ".join(sorted({one.dataset for one in sets})),
        sets=len(sets),
        groups=len({one.group for one in sets}),
        rows=rows,
        points=tuple(found),
        oracle=tuple(oracle_points(sets, weights)),
        reference=worst,
        hv_ratio=ratio,
        sparsity=sparsity(found, worst, ideal(sets)),
        calibration=calibration(sets, record.predicted) if record.predicts else None,
        budget=BudgetCheck(
            BUDGET_ALPHA, factor, len(sets), record.refused, float(np.mean(record.over)) if record.over else None
        ),
        decide_ms=1000 * float(np.mean(record.seconds)),
        planner_usd=0.0,
        sees_outcomes=_sees(chooser),
    )


def _sees(chooser: Chooser) -> bool:
    return bool(getattr(chooser, "sees_outcomes", False))
