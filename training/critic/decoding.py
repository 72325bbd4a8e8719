"""From scores of actions to a choice among the measured plans of an input.

greedy    trie-constrained decoding (training.md 2.1, E2): in each state, of the actions with which a measured plan
          goes on, the one that is wanted most. Always ends at a measured plan.
end       the value of STOP in the last state of each plan, which is the quality it will earn, less the known price.
          Nothing has to be inferred about prices.
"""

from collections.abc import Mapping

import numpy as np

from catp.training.critic.algorithms import Learner
from catp.training.critic.decisions import PathOf, Tree
from catp.training.evaluate.candidates import Floats
from catp.training.evaluate.flat import TIE
from catp.training.evaluate.regret import best_of

__all__ = ["end_values", "greedy", "quality"]


def greedy(learner: Learner, tree: Tree, alpha: float, targets: Mapping[float, float], prices: Floats) -> Floats:
    """Return the probability of each plan, [options]; plans that are left out get none.

    Args:
        targets: for the Decision Transformer, what to ask for at each weight of quality.
        prices: expected price of each option in shares of the scale, likewise; nan counts as 0.
    """
    told = [place for place, path in enumerate(tree.paths) if path is not None]
    if not told:
        return np.full(len(tree.paths), 1 / max(1, len(tree.paths)))
    if learner.config.algorithm == "dt":
        return _spread(tree, _walk(tree, told, _along(learner, tree, told, alpha, targets, prices)))
    states = tree.states.copy()
    states[:, 0] = alpha
    scores = learner.scores(states)
    return _spread(tree, _walk(tree, told, {place: scores[_path(tree, place).states] for place in told}))


def end_values(learner: Learner, tree: Tree, alpha: float) -> tuple[Floats, Floats]:
    """Return mean and standard deviation of the value of stopping at each complete plan; nan if it is left out."""
    mean, spread = np.full(len(tree.paths), np.nan), np.full(len(tree.paths), np.nan)
    told = [place for place, path in enumerate(tree.paths) if path is not None]
    if told:
        states = tree.states[[_path(tree, place).states[-1] for place in told]]
        states[:, 0] = alpha
        stop = learner.space.layout.stop
        values, deviations = learner.values(states)
        mean[told], spread[told] = values[:, stop], deviations[:, stop]
    return mean, spread


def quality(learner: Learner, tree: Tree, alpha: float, price: Floats, kappa: float = 0.0) -> Floats:
    """Return the choice by value at the end: best of `value - kappa * sd - (1 - alpha) * price`, [options]."""
    mean, spread = end_values(learner, tree, alpha)
    known = np.isfinite(mean)
    if not known.any():
        return best_of(-price)
    return best_of(np.where(known, mean - kappa * spread - (1 - alpha) * price, -np.inf))


def _walk(tree: Tree, told: list[int], scores: Mapping[int, Floats]) -> list[int]:
    """Follow the best actions; return the plans that are left at the end (equal ones, or ties)."""
    alive, at = told, 0
    while True:
        going = [place for place in alive if len(_path(tree, place).actions) > at]
        if not going:
            return alive
        wanted = {place: scores[place][at][_path(tree, place).actions[at]] for place in going}
        best = max(wanted.values())
        alive, at = [place for place in going if wanted[place] >= best - TIE], at + 1


def _spread(tree: Tree, chosen: list[int]) -> Floats:
    weights = np.zeros(len(tree.paths))
    weights[chosen] = 1 / len(chosen)
    return weights


def _along(
    learner: Learner, tree: Tree, told: list[int], alpha: float, targets: Mapping[float, float], prices: Floats
) -> dict[int, Floats]:
    """Scores of the Decision Transformer along each plan; what is asked for rises by what has been spent."""
    target = targets[min(targets, key=lambda known: abs(known - alpha))]
    end = learner.space.layout.end
    plans = []
    for place in told:
        path = _path(tree, place)
        states = tree.states[path.states].copy()
        states[:, 0] = alpha
        closed = np.concatenate([[0], np.cumsum(path.actions == end)[:-1]])
        share = np.nan_to_num(prices[place]) / max(1, int((path.actions == end).sum()))
        plans.append((states, path.actions, target + (1 - alpha) * share * closed))
    return dict(zip(told, learner.along(plans), strict=True))


def _path(tree: Tree, place: int) -> PathOf:
    path = tree.paths[place]
    assert path is not None
    return path
