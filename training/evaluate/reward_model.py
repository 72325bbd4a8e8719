"""Predicted rewards for `dm` and `dr`: boosted trees, fitted on the logged rows of other groups only.

Cross-fitting (Chernozhukov et al., arXiv 1608.00060): groups are dealt into folds; a row's predictions come from a
model that has seen no row of its fold, so an estimate is never fed its own noise, nor anything about its task.

Prices are nearly additive, so they are not left to the trees: the price of an option is estimated by ridge regression
of logged prices on tool counts (plain, and times size), and the trees learn the reward with that price given back.
Features of an option: how often it uses each tool, its number of steps, its estimated price, number and sizes of the
inputs, and alpha. Outcomes of options that were not logged are not looked at.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from catp.training.evaluate.candidates import CandidateSet, Floats
from catp.training.evaluate.logged import Logged

__all__ = ["reward_model"]

_MANY = 5_000
"""Rows from which histograms are faster than exact splits."""


def reward_model(log: Logged, *, folds: int = 5, seed: int = 0) -> list[Floats]:
    """Predict the reward of every option of each row's set; arrays as `estimate` takes them.

    Raises:
        ValueError: all rows are of one group, so that none can be predicted from others.
        ImportError: scikit-learn is not installed.
    """
    try:
        from threadpoolctl import threadpool_limits  # comes with scikit-learn
    except ImportError as error:
        raise ImportError("a reward model needs scikit-learn: pip install 'catp[train]'") from error
    side = _deal([one.group for one in log.sets], folds, seed)
    counts = np.array([len(one) for one in log.sets])
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    owner = np.repeat(np.arange(len(log)), counts)
    tools, context = _features(log)
    logged = starts + log.chosen
    scale = np.array([one.price_scale for one in log.sets], dtype=np.float64)
    predicted = np.zeros(len(owner))
    for fold in range(int(side.max()) + 1):
        seen, mine = side != fold, side[owner] == fold
        price = _prices(tools, context, logged[seen], (log.price / scale)[seen])
        paid = (1 - context[:, -1]) * price
        table = np.column_stack([tools, tools.sum(axis=1), price, context])
        model = _trees(int(seen.sum()), seed)
        with threadpool_limits(1):  # on a busy machine, OpenMP threads that wait for each other take minutes
            model.fit(table[logged[seen]], (log.reward + paid[logged])[seen])
            predicted[mine] = model.predict(table[mine]) - paid[mine]
    return np.split(predicted, starts[1:])


def _deal(groups: list[str], folds: int, seed: int) -> NDArray[np.intp]:
    """Return the fold of each row: groups in random order, dealt like cards."""
    names, place = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"all logged rows are of group {str(names[0])!r}: a reward model needs rows of other groups")
    order = np.random.default_rng([seed, len(names)]).permutation(len(names))
    fold: NDArray[np.intp] = order[place] % min(folds, len(names))
    return fold


def _features(log: Logged) -> tuple[Floats, Floats]:
    """Return tool counts, [options, tools], and what is the same for all options of a row, [options, 4]."""
    names = sorted({tool for one in log.sets for option in one.options for tool in option.tools})
    column = {name: number for number, name in enumerate(names)}
    rows = sum(len(one) for one in log.sets)
    tools, context = np.zeros((rows, len(names))), np.zeros((rows, 4))
    at = 0
    for one, alpha in zip(log.sets, log.alpha, strict=True):
        context[at : at + len(one)] = (*_sizes(one), alpha)
        for option in one.options:
            for tool in option.tools:
                tools[at, column[tool]] += 1
            at += 1
    return tools, context


def _sizes(one: CandidateSet) -> tuple[float, float, float]:
    """Return the number of inputs, and the logarithms of their total and largest size (0 if unknown)."""
    known = [units for units in one.sizes if units is not None]
    return float(len(one.sizes)), float(np.log1p(sum(known))), float(np.log1p(max(known, default=0)))


def _prices(tools: Floats, context: Floats, rows: NDArray[np.intp], prices: Floats) -> Floats:
    """Return the estimated price of every option, from the prices of the given rows; 0 if none of them is known."""
    from sklearn.linear_model import Ridge

    known = np.isfinite(prices)
    if not known.any():
        return np.zeros(len(tools))
    table = np.column_stack([tools, tools * context[:, 1:2]])
    spread = table[rows].std(axis=0)
    table = table / np.where(spread > 0, spread, 1)
    estimated: Floats = Ridge(alpha=1.0).fit(table[rows[known]], prices[known]).predict(table)
    return estimated


def _trees(rows: int, seed: int) -> Any:
    from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor

    if rows >= _MANY:
        return HistGradientBoostingRegressor(max_iter=200, learning_rate=0.05, random_state=seed)
    return GradientBoostingRegressor(
        n_estimators=100, learning_rate=0.08, max_depth=3, subsample=0.8, min_samples_leaf=5, random_state=seed
    )
