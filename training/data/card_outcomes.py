"""The pictures of a data card that show outcomes by family: histograms, and price against score."""

import math
from collections import defaultdict
from collections.abc import Sequence
from textwrap import wrap
from typing import Any

import numpy as np

from catp.training.data.card_figures import families
from catp.training.data.card_style import BLUE, ORANGE, log_prices, short
from catp.training.data.card_tradeoff import ALPHAS
from catp.training.evaluate.candidates import CandidateSet, Floats
from catp.training.evaluate.regret import oracle

__all__ = ["cloud", "distribution"]

_BINS, _CELLS, _SHADES = 36, 40, 6
_USD = 1e-9
_MARKED = [ALPHAS.index(alpha) for alpha in (0.0, 0.5, 0.8, 1.0)]


def cloud(figure: Any, sets: Sequence[CandidateSet]) -> Any:
    """A panel per family: where the plans lie, and what the best choice costs and scores as alpha goes from 0 to 1."""
    members = _members(sets)
    rows = math.ceil(len(members) / 4)
    columns = math.ceil(len(members) / rows)
    figure.set_size_inches(max(5.5, 2.9 * columns), 2.7 * rows + 0.7)
    grid = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    floor = _floor(sets)
    every = [_outcomes(group, floor) for group in members.values()]
    across, log = _edges(np.concatenate([prices for prices, _ in every]), _CELLS, log=True)
    up, _ = _edges(np.concatenate([scores for _, scores in every]), _CELLS, log=False)
    unit = "US dollars"
    for axes, (name, group), (prices, scores) in zip(grid, members.items(), every, strict=False):
        density = np.histogram2d(prices, scores, (across, up))[0].T
        shade = np.ceil(_SHADES * np.sqrt(density / density.max())) / _SHADES  # few shades are few bytes
        axes.pcolormesh(
            across, up, np.ma.masked_equal(shade, 0), cmap="Greys", vmin=-0.25, vmax=1.4, rasterized=True, lw=0
        )
        curve = np.array([_reached(group, alpha) for alpha in ALPHAS])
        axes.plot(
            np.maximum(curve[:, 0] * _USD, floor),
            curve[:, 1],
            color=ORANGE,
            lw=1.6,
            marker="o",
            ms=4,
            markevery=_MARKED,
        )
        axes.set_title(f"{_lines(name)}\n{len(group):,} inputs, {len(prices):,} plans", fontsize=9)
        if log:
            unit = log_prices(axes, across[0], across[-1])
    for place, axes in enumerate(grid[len(members) :], start=len(members)):
        axes.set_visible(False)
        grid[place - columns].tick_params(labelbottom=True)
    figure.supxlabel(f"price, {unit}", fontsize=10)
    figure.supylabel("score", fontsize=10)
    figure.suptitle(
        "Where the plans lie (grey), and the best plan per input at alpha 0 to 1 (dots: 0, 0.5, 0.8, 1)", fontsize=10
    )
    return figure


def distribution(figure: Any, sets: Sequence[CandidateSet]) -> Any:
    """Histograms: a row per family, a column each for score, price and latency; the mark is the median."""
    members = _members(sets)
    figure.set_size_inches(10, 0.8 * len(members) + 1.2)
    grid = figure.subplots(len(members), 3, sharex="col", squeeze=False)
    floor = _floor(sets)
    unit = "US dollars"
    columns: list[list[Floats]] = [[], [], []]
    for group in members.values():
        prices, scores = _outcomes(group, floor)
        latency = np.array([option.latency_ms for one in group for option in one.options])
        for column, values in zip(columns, (scores, prices, latency[np.isfinite(latency)]), strict=True):
            column.append(values)
    for place, (column, label) in enumerate(zip(columns, ("score", "price", "latency, ms"), strict=True)):
        edges, log = _edges(np.concatenate(column), _BINS, log=place > 0)
        for axes, values in zip(grid[:, place], column, strict=True):
            _bars(axes, values, edges)
            if log and label == "price":
                unit = log_prices(axes, edges[0], edges[-1])
            elif log:
                axes.set_xscale("log")
            axes.minorticks_off()
            axes.tick_params(bottom=axes is grid[-1, place])
        grid[-1, place].set_xlabel(f"price, {unit}" if label == "price" else label)
    for axes, name in zip(grid[:, 0], members, strict=True):
        axes.set_ylabel(_lines(name), rotation=0, ha="right", va="center", fontsize=9)
    figure.suptitle("Share of plans; the line is the median", fontsize=10)
    return figure


def _bars(axes: Any, values: Floats, edges: Floats) -> None:
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    if len(values):
        axes.stairs(np.histogram(values, edges)[0] / len(values), edges, fill=True, color=BLUE, alpha=0.75)
        axes.axvline(float(np.median(values)), color=ORANGE, lw=1.8)


def _edges(values: Floats, bins: int, *, log: bool) -> tuple[Floats, bool]:
    """Return the edges of bins around the values, and whether they are even on a log axis."""
    if not len(values):
        return np.linspace(0, 1, bins + 1), False
    low, high = float(values.min()), float(values.max())
    if log and low > 0 and high > 3 * low:
        return np.geomspace(low * 0.99, high * 1.01, bins + 1), True
    margin = (high - low) * 0.01 or max(abs(high), 1e-9) * 0.05
    return np.linspace(low - margin, high + margin, bins + 1), False


def _members(sets: Sequence[CandidateSet]) -> dict[str, list[CandidateSet]]:
    """Sets by family, the largest family first."""
    found: dict[str, list[CandidateSet]] = defaultdict(list)
    for name, one in zip(families(sets), sets, strict=True):
        found[name].append(one)
    return dict(sorted(found.items(), key=lambda item: (item[0] == "others", -len(item[1]), item[0])))


def _outcomes(sets: Sequence[CandidateSet], floor: float) -> tuple[Floats, Floats]:
    """Prices in dollars, at least `floor`, and scores of all plans."""
    prices = np.concatenate([one.prices for one in sets]) * _USD
    return np.maximum(prices, floor), np.concatenate([one.scores for one in sets])


def _reached(sets: Sequence[CandidateSet], alpha: float) -> tuple[float, float]:
    """Mean price (nano-USD) and score of the best plans."""
    weights = oracle(sets, alpha)
    return (
        float(np.mean([mine @ one.prices for one, mine in zip(sets, weights, strict=True)])),
        float(np.mean([mine @ one.scores for one, mine in zip(sets, weights, strict=True)])),
    )


def _floor(sets: Sequence[CandidateSet]) -> float:
    """The least price above 0 in dollars, where free plans are drawn on a log axis; 0 if all are free."""
    prices = np.concatenate([one.prices for one in sets])
    positive = prices[prices > 0]
    return float(positive.min()) * _USD if len(positive) else 0.0


def _lines(name: str, columns: int = 28) -> str:
    """Break a long name, and cut what is too long for two lines."""
    return "\n".join(short(line, columns) for line in wrap(name, columns, max_lines=2, placeholder=" …"))
