"""The pictures of a data card (matplotlib): small SVGs, the same bytes for the same data.

Colours are Okabe and Ito's, which people tell apart whatever their colour vision, and differ in brightness, too.
"""

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from io import BytesIO
from textwrap import wrap
from typing import Any

import numpy as np

from catp.training.data.card_blocks import Figures
from catp.training.data.card_figures import Condition, ToolSpread, families
from catp.training.data.card_tally import Shape
from catp.training.data.card_tradeoff import ALPHAS, RULES, Rule, TradeOff
from catp.training.evaluate.candidates import CandidateSet, Floats
from catp.training.evaluate.regret import oracle

__all__ = ["PICTURES", "pictures"]

PICTURES = ("sizes", "distribution", "cloud", "tradeoff", "capabilities", "conditions")
"""Names of the pictures; those without data are not drawn."""

_BLUE, _ORANGE, _GREEN, _PURPLE = "#0072B2", "#D55E00", "#009E73", "#AA4499"
_INK, _QUIET, _BAND = "#222222", "#9aa3ab", "#f1f4f6"
_LOOKS: Mapping[Rule, tuple[str, str, str]] = {
    "cheapest": (_BLUE, "-", "o"),
    "dearest": ("#56B4E9", ":", "v"),
    "most accurate": (_ORANGE, "-", "s"),
    "best fixed plan": (_GREEN, "-", "D"),
    "random": (_QUIET, "--", ""),
}
"""Colour, line and mark of each rule."""

_RC: dict[Any, Any] = {
    "svg.hashsalt": "catp", "font.size": 10, "font.family": "DejaVu Sans", "axes.spines.top": False,
    "axes.spines.right": False, "axes.edgecolor": _QUIET, "axes.labelcolor": _INK, "xtick.color": _INK,
    "ytick.color": _INK, "axes.titlesize": 10, "path.simplify": True, "svg.fonttype": "path",
}  # fmt: skip
_TOOLS, _CONDITIONS = 44, 24
_BINS, _CELLS, _SHADES = 36, 40, 6
_USD = 1e-9
_DPI = 72
_MARKED = [ALPHAS.index(alpha) for alpha in (0.0, 0.5, 0.8, 1.0)]
_INDENTATION = re.compile(rb"\n +")
_LONG_NUMBER = re.compile(rb"(?<![\d.])([1-9]\d*\.\d{2})\d+")


def pictures(sets: Sequence[CandidateSet], figures: Figures, format: str = "svg") -> dict[str, bytes]:
    """Draw what there is to draw, by name; those without data are left out.

    Raises:
        ToolUnavailable: matplotlib is not installed.
    """
    from catp.tools.bench.calibration_plot import new_figure

    new_figure()  # tells if matplotlib is missing
    import matplotlib as mpl

    found: dict[str, bytes] = {}
    with mpl.rc_context(_RC):
        drawn: dict[str, Any] = {
            "sizes": _sizes(new_figure(), sets, figures.shape),
            "distribution": _distribution(new_figure(), sets),
            "cloud": _cloud(new_figure(), sets),
        }
        if figures.tradeoff is not None:
            drawn["tradeoff"] = _tradeoff(new_figure(), figures.tradeoff)
        if figures.capabilities:
            drawn["capabilities"] = _capabilities(new_figure(), figures.capabilities)
        if any(one.restores is not None for one in figures.conditions):
            drawn["conditions"] = _conditions(new_figure(), figures.conditions)
        for name, figure in drawn.items():
            out = BytesIO()
            figure.savefig(
                out,
                format=format,
                dpi=_DPI if format == "svg" else 96,
                metadata={"Date": None} if format == "svg" else None,
            )
            found[name] = _lighter(out.getvalue()) if format == "svg" else out.getvalue()
    return found


def _tradeoff(figure: Any, found: TradeOff) -> Any:
    """Regret (left) and share of best choices (right) against alpha, a line per rule."""
    figure.set_size_inches(10, 4.2)
    left, right = figure.subplots(1, 2)
    for rule in RULES:
        colour, line, mark = _LOOKS[rule]
        points = found.rules[rule]
        regret = np.array([[point.low, point.regret, point.high, point.best] for point in points])
        left.fill_between(found.alphas, regret[:, 0], regret[:, 2], color=colour, alpha=0.13, lw=0)
        for axes, column in ((left, 1), (right, 3)):
            axes.plot(
                found.alphas,
                regret[:, column],
                color=colour,
                ls=line,
                marker=mark,
                ms=4.5,
                lw=1.7,
                markevery=2,
                label=rule,
            )
    left.set(ylabel="normalised regret (0 best, 1 worst)", title="What is lost to the best plan of each input")
    right.set(ylabel="share of inputs", title="How often the choice is a best plan")
    for axes in (left, right):
        axes.set(xlabel="alpha: weight of the score against the price", xlim=(-0.02, 1.02), ylim=(-0.03, 1.03))
        axes.grid(color=_BAND, lw=1)
        axes.set_axisbelow(True)
    handles, names = left.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(RULES), frameon=False)
    return figure


def _cloud(figure: Any, sets: Sequence[CandidateSet]) -> Any:
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
            color=_ORANGE,
            lw=1.6,
            marker="o",
            ms=4,
            markevery=_MARKED,
        )
        axes.set_title(f"{_lines(name)}\n{len(group):,} inputs, {len(prices):,} plans", fontsize=9)
        if log:
            axes.set_xscale("log")
        axes.minorticks_off()
    for place, axes in enumerate(grid[len(members) :], start=len(members)):
        axes.set_visible(False)
        grid[place - columns].tick_params(labelbottom=True)
    figure.supxlabel("price, US dollars", fontsize=10)
    figure.supylabel("score", fontsize=10)
    figure.suptitle(
        "Where the plans lie (grey), and the best plan per input at alpha 0 to 1 (dots: 0, 0.5, 0.8, 1)", fontsize=10
    )
    return figure


def _distribution(figure: Any, sets: Sequence[CandidateSet]) -> Any:
    """Histograms: a row per family, a column each for score, price and latency; the mark is the median."""
    members = _members(sets)
    figure.set_size_inches(10, 0.8 * len(members) + 1.2)
    grid = figure.subplots(len(members), 3, sharex="col", squeeze=False)
    floor = _floor(sets)
    columns: list[list[Floats]] = [[], [], []]
    for group in members.values():
        prices, scores = _outcomes(group, floor)
        latency = np.array([option.latency_ms for one in group for option in one.options])
        for column, values in zip(columns, (scores, prices, latency[np.isfinite(latency)]), strict=True):
            column.append(values)
    for place, (column, label) in enumerate(zip(columns, ("score", "price, US dollars", "latency, ms"), strict=True)):
        edges, log = _edges(np.concatenate(column), _BINS, log=place > 0)
        for axes, values in zip(grid[:, place], column, strict=True):
            _bars(axes, values, edges)
            if log:
                axes.set_xscale("log")
            axes.minorticks_off()
            axes.tick_params(bottom=axes is grid[-1, place])
        grid[-1, place].set_xlabel(label)
    for axes, name in zip(grid[:, 0], members, strict=True):
        axes.set_ylabel(_lines(name), rotation=0, ha="right", va="center", fontsize=9)
    figure.suptitle("Share of plans; the line is the median", fontsize=10)
    return figure


def _capabilities(figure: Any, found: Sequence[ToolSpread]) -> Any:
    """A row per tool, grouped by capability: price of a step (left), what plans with it score above others (right)."""
    kept = {one.tool for one in sorted(found, key=lambda one: (-one.plans, one.tool))[:_TOOLS]}
    rows = [one for one in found if one.tool in kept]
    figure.set_size_inches(10, 0.21 * len(rows) + 1.3)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    _bands((left, right), [one.capability for one in rows])
    places = np.arange(len(rows))
    prices = np.array([[float(p) for p in (one.price.p5_usd, one.price.p50_usd, one.price.p95_usd)] for one in rows])
    positive = prices[prices > 0]
    if len(positive):
        left.set_xscale("log")
        prices = np.maximum(prices, positive.min())
    left.hlines(places, prices[:, 0], prices[:, 2], color=_BLUE, lw=2.4, alpha=0.45)
    left.plot(prices[:, 1], places, "o", color=_BLUE, ms=5)
    left.set(xlabel="price of one step, US dollars: median, 5 % to 95 %", ylim=(len(rows) - 0.4, -0.6))
    left.set_yticks(places, [_short(one.tool, 26) for one in rows], fontsize=8.5)
    left.minorticks_off()
    left.tick_params(left=False)
    shown = [(place, one.advantage) for place, one in zip(places, rows, strict=True) if one.advantage is not None]
    right.axvline(0, color=_QUIET, lw=1)
    for place, advantage in shown:
        right.hlines(place, 0, advantage, color=_GREEN if advantage >= 0 else _ORANGE, lw=4)
    right.set_xlabel("score of plans with it, minus mean of the input")
    widest = max((abs(advantage) for _, advantage in shown), default=0) or 0.01
    right.set_xlim(-1.15 * widest, 1.15 * widest)
    right.locator_params(axis="x", nbins=5)
    right.tick_params(left=False)
    return figure


def _conditions(figure: Any, found: Sequence[Condition]) -> Any:
    """A row per condition: share of all plans that restore first (ring), and of the best plans (dot)."""
    kept = sorted(found, key=lambda one: (-one.inputs, one.condition))[:_CONDITIONS]
    rows = sorted(
        ((one, one.restores, one.offered or 0.0) for one in kept if one.restores is not None),
        key=lambda row: (-row[1], row[0].condition),
    )
    figure.set_size_inches(8, 0.3 * len(rows) + 1.5)
    axes = figure.subplots()
    for place, (one, best, offered) in enumerate(rows):
        axes.plot([offered, best], [place, place], color=_QUIET, lw=1.5, zorder=1)
        axes.plot(offered, place, "o", mfc="white", mec=_QUIET, mew=1.5, ms=7, label="all plans" if not place else None)
        axes.plot(best, place, "o", color=_BLUE, ms=7, label="best plan at alpha 0.8" if not place else None)
        axes.annotate(f"{one.inputs:,}", (1.04, place), va="center", fontsize=8.5, annotation_clip=False, color=_INK)
    axes.annotate("inputs", (1.04, -0.95), va="center", fontsize=8.5, annotation_clip=False, color=_INK)
    axes.set(xlim=(-0.03, 1.03), ylim=(len(rows) - 0.4, -0.6), xlabel="share of plans that restore the input first")
    axes.set_yticks(range(len(rows)), [_short(one.condition, 34) for one, _, _ in rows])
    axes.tick_params(left=False)
    axes.grid(color=_BAND, lw=1, axis="x")
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _sizes(figure: Any, sets: Sequence[CandidateSet], shape: Shape) -> Any:
    """How many plans an input has, and how many steps a plan has."""
    figure.set_size_inches(9, 3)
    left, right = figure.subplots(1, 2)
    sizes = np.bincount([len(one) for one in sets])
    plans = {size: int(count) for size, count in enumerate(sizes) if count}
    for axes, counts, of, label in (
        (left, plans, "inputs", "plans per input"),
        (right, shape.steps, "plans", "steps per plan"),
    ):
        total = sum(counts.values())
        axes.bar(list(counts), [count / total for count in counts.values()], color=_BLUE, width=0.85)
        axes.set(xlabel=label, ylabel=f"share of {of}")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(color=_BAND, lw=1, axis="y")
        axes.set_axisbelow(True)
    return figure


def _lighter(svg: bytes) -> bytes:
    """Drop indentation and cut coordinates to hundredths of a point: a third of the file, and nothing to see.

    Numbers below 1 are scales and stay, as does what is inside of pixels (base64 has no point).
    """
    return _LONG_NUMBER.sub(rb"\1", _INDENTATION.sub(b"\n", svg))


def _bands(panels: Sequence[Any], names: Sequence[str]) -> None:
    """Shade every other run of equal names."""
    start, shaded = 0, False
    for place in range(1, len(names) + 1):
        if place == len(names) or names[place] != names[start]:
            if shaded:
                for axes in panels:
                    axes.axhspan(start - 0.5, place - 0.5, color=_BAND, lw=0, zorder=0)
            start, shaded = place, not shaded


def _bars(axes: Any, values: Floats, edges: Floats) -> None:
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    if len(values):
        axes.stairs(np.histogram(values, edges)[0] / len(values), edges, fill=True, color=_BLUE, alpha=0.75)
        axes.axvline(float(np.median(values)), color=_ORANGE, lw=1.8)


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
    """Break a long name, and cut what is too long for three lines."""
    return "\n".join(_short(line, columns) for line in wrap(name, columns, max_lines=3, placeholder=" …"))


def _short(name: str, columns: int = 30) -> str:
    return name if len(name) <= columns else f"{name[: columns - 1]}…"
