"""Growing the forest of a policy: gradient boosting (scikit-learn) on what profiles promise and what came out.

    target     measured score - composed score, minus the mean of this difference over the plans of the input

What choosing needs is which plan of an input is better, so what all plans of an input have in common is taken off. Each
split sees a tenth of the columns, and the mean of several forests is taken: single ones, grown on some twelve thousand
plans of a few dozen tasks, learn the tasks. Sizes were chosen on the validation side and by cross-validation over the
training side (docs/adr/0009-policy.md).
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catp.planlang.vocabulary import Vocabulary
from catp.training.caorl.cases import Case
from catp.training.critic.features import PlanFeatures, matrix
from catp.training.critic.forest import Forest

__all__ = ["correction", "grow", "grow_rows"]

_FORESTS = 4
_SHAPE = {
    "max_iter": 300, "learning_rate": 0.05, "max_leaf_nodes": 15, "min_samples_leaf": 20, "l2_regularization": 5.0,
    "max_features": 0.1, "early_stopping": False,
}  # fmt: skip

_INPUTS = 5000
"""Most inputs that are learned from, drawn evenly."""

_MOST, _LEAST = 400, 3
"""Columns, the features that most plans have, and plans that must have one."""

Rows = list[dict[str, float]]
Floats = NDArray[np.float64]


def grow(
    cases: Sequence[Case], vocabulary: Vocabulary, *, seed: int = 0, progress: Callable[[str], None] = lambda text: None
) -> Forest | None:
    """Grow a forest on measured plans; None if no input has two plans whose differences vary.

    Args:
        cases: to learn from.
        vocabulary: of their ids.
        seed: decides which columns a split sees.
        progress: told what is being done.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    rows: Rows = []
    targets: list[Floats] = []
    choices = [case for case in cases if len(case.branches) > 1]
    for place in sorted(np.random.default_rng([seed, 4]).permutation(len(choices))[:_INPUTS]):
        case = choices[int(place)]
        features = PlanFeatures(case.view, vocabulary)
        some = [features.row(branch.told) for branch in case.branches]
        gain = np.array([b.score - row["composed"] for b, row in zip(case.branches, some, strict=True)])
        rows += some
        targets.append(gain - gain.mean())
    if not rows or not np.ptp(target := np.concatenate(targets)):
        return None
    return grow_rows(rows, target, seed=seed, progress=progress)


def grow_rows(
    rows: Rows, target: Floats, *, seed: int = 0, progress: Callable[[str], None] = lambda text: None
) -> Forest:
    """Grow a forest on rows of features and what they are to give."""
    names = _columns(rows)
    x = matrix(rows, names)
    found = []
    for number in range(_FORESTS):
        progress(f"growing a forest on {len(rows):,} plans: {number + 1} of {_FORESTS}")
        found.append(_fit(x, target, seed * _FORESTS + number))
    return _joined(names, found)


def correction(forest: Forest, case: Case, vocabulary: Vocabulary) -> Floats:
    """Return the forest's value of each plan of a case."""
    features = PlanFeatures(case.view, vocabulary)
    return forest.predict([features.row(branch.told) for branch in case.branches])


def _columns(rows: Rows) -> tuple[str, ...]:
    seen = Counter(name for row in rows for name, value in row.items() if value)
    ranked = sorted((name for name, count in seen.items() if count >= _LEAST), key=lambda name: (-seen[name], name))
    return tuple(ranked[:_MOST])


def _fit(x: Floats, y: Floats, seed: int) -> Any:
    try:
        from sklearn.ensemble import HistGradientBoostingRegressor
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise ImportError("the forest of a policy needs scikit-learn; run: pip install 'catp[train]'") from error
    with threadpool_limits(1):  # sums in an order of their own would differ in the last bits
        return HistGradientBoostingRegressor(random_state=seed, **_SHAPE).fit(x, y)


def _joined(names: tuple[str, ...], models: Sequence[Any]) -> Forest:
    """The mean of several models, as trees with all nodes numbered together."""
    parts: dict[str, list[NDArray[Any]]] = defaultdict(list)
    begin = 0
    for model in models:
        for (tree,) in model._predictors:
            nodes = tree.nodes
            here, leaf = np.arange(len(nodes)), nodes["is_leaf"].astype(bool)
            parts["feature"].append(np.where(leaf, 0, nodes["feature_idx"]))
            parts["threshold"].append(np.where(leaf, np.inf, nodes["num_threshold"]))
            parts["left"].append(begin + np.where(leaf, here, nodes["left"]))
            parts["right"].append(begin + np.where(leaf, here, nodes["right"]))
            parts["value"].append(np.where(leaf, nodes["value"], 0.0) / len(models))
            parts["roots"].append(np.array([begin]))
            begin += len(nodes)
    whole = {name: np.concatenate(values) for name, values in parts.items()}
    return Forest(
        names,
        whole["feature"].astype(np.int32),
        whole["threshold"].astype(np.float64),
        whole["left"].astype(np.int32),
        whole["right"].astype(np.int32),
        whole["value"].astype(np.float64),
        whole["roots"].astype(np.int32),
        float(np.mean([np.ravel(model._baseline_prediction)[0] for model in models])),
    )
