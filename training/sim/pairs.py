"""Pairs of arguments for a join, best first: what a join of two values gains and what the values cost, all at once.

Values that no join is part of form a forest, so two of them share exactly the calls up to their last common one.
Matrix products give the expected quality of every pair over all hidden states.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from catp.training.evaluate.candidates import Floats
from catp.training.sim.space import Space, Value
from catp.training.sim.tools import SimTool

__all__ = ["Pair", "ranked_pairs"]

_BATCH = 512


@dataclass(frozen=True, slots=True)
class Pair:
    """A join of `u` and `v`: its gain with all calls paid, and how much of that the calls for `u` and `v` take."""

    gain: float
    paid: float
    tool: SimTool
    u: Value
    v: Value


def ranked_pairs(
    space: Space, tools: Sequence[SimTool], everything: Sequence[Value], gain: float, price: float, saves: float
) -> Iterator[Pair]:
    """Yield every pair by falling `gain + saves * paid`; `gain` per unit of score, `price` per nano-USD."""
    found: list[tuple[Floats, Floats, SimTool, list[Value], list[Value]]] = []
    for tool in tools:
        us = [value for value in everything if space.fits(tool, 0, value)]
        vs = [value for value in everything if space.fits(tool, 1, value)]
        if us and vs:
            found.append((*_matrix(space, tool, us, vs, gain, price), tool, us, vs))
    if not found:
        return
    bounds = np.concatenate([(gains + saves * paid).ravel() for gains, paid, *_ in found])
    starts = np.cumsum([0, *(gains.size for gains, *_ in found)])
    done = 0
    while done < bounds.size:  # most callers stop early: sort a little at a time
        take = min(bounds.size, max(_BATCH, 4 * done))
        order = np.argpartition(-bounds, take - 1)[:take] if take < bounds.size else np.arange(bounds.size)
        order = order[np.lexsort((order, -bounds[order]))]
        for place in order[done:take]:
            which = int(np.searchsorted(starts, place, side="right")) - 1
            gains, paid, tool, us, vs = found[which]
            row, column = divmod(int(place) - int(starts[which]), len(vs))
            yield Pair(float(gains[row, column]), float(paid[row, column]), tool, us[row], vs[column])
        done = take


def _matrix(
    space: Space, tool: SimTool, us: Sequence[Value], vs: Sequence[Value], gain: float, price: float
) -> tuple[Floats, Floats]:
    weights = space.case.weights
    shape = weights.shape
    right = np.stack([np.broadcast_to(v.state.quality, shape).ravel() for v in vs])
    left = np.stack([(weights * _read(tool, u)).ravel() for u in us])
    quality = left @ right.T
    units = np.array([u.state.units for u in us])[:, None] + np.array([v.state.units for v in vs])[None, :]
    spent = [[c.price for c in space.calls((v,))] for v in vs]
    cost_v = np.array([sum(prices) for prices in spent])
    works_v = np.array([v.works for v in vs])
    paths = _paths(vs)
    gains, paid = np.empty_like(quality), np.empty_like(quality)
    accuracy: dict[float, float] = {}
    for row, u in enumerate(us):
        shared_cost, shared_works, depth = _prefixes(space, u)
        common = _common(paths, sorted(u.before), depth)
        cost = shared_cost[-1] + cost_v - shared_cost[common]
        works = u.works * works_v / shared_works[common]
        right_at = np.array([_accuracy(tool, n, accuracy) for n in units[row]])
        own = np.array([tool.price(n) for n in units[row]]) * space.case.factors[tool.name] * works
        paid[row] = price * cost
        gains[row] = gain * (quality[row] * right_at * works * (1.0 - tool.failure)) - price * (cost + own)
    return gains, paid


def _read(tool: SimTool, u: Value) -> Floats:
    """The quality of the first argument as the join reads it."""
    return u.state.quality * tool.legible(u.state.severity) if len(u.state.severity) else u.state.quality


def _paths(values: Sequence[Value]) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """The numbers of the calls of each value, arguments first; -1 beyond the last."""
    longest = max((len(value.before) for value in values), default=0)
    found = np.full((len(values), longest), -1, dtype=np.int64)
    for row, value in enumerate(values):
        found[row, : len(value.before)] = sorted(value.before)
    return found


def _prefixes(space: Space, value: Value) -> tuple[Floats, Floats, int]:
    """What the first k calls of a value cost, and the probability that they all succeed, for k = 0, 1, .."""
    calls = list(space.calls((value,)))
    cost = np.concatenate([[0.0], np.cumsum([call.price for call in calls])])
    return cost, np.array([1.0, *(call.works for call in calls)]), len(calls)


def _common(
    paths: np.ndarray[tuple[int, ...], np.dtype[np.int64]], path: Sequence[int], depth: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """How many first calls each value has in common with `path`."""
    width = min(depth, paths.shape[1])
    same = paths[:, :width] == np.array(path[:width], dtype=np.int64)
    found: np.ndarray[tuple[int, ...], np.dtype[np.int64]] = np.logical_and.accumulate(same, axis=1).sum(axis=1)
    return found


def _accuracy(tool: SimTool, units: float, known: dict[float, float]) -> float:
    if units not in known:
        known[units] = tool.accuracy(units)
    return known[units]
