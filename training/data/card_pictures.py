"""The pictures of a data card (matplotlib): small SVGs, the same bytes for the same data."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from catp.training.data.card_blocks import Figures
from catp.training.data.card_outcomes import cloud, distribution
from catp.training.data.card_style import BAND, BLUE, GREEN, ORANGE, QUIET, SKY, drawing, log_prices, rendered, short
from catp.training.data.card_tally import Shape
from catp.training.data.card_tools import Condition, ToolSpread
from catp.training.data.card_tradeoff import RULES, Rule, TradeOff
from catp.training.evaluate.candidates import CandidateSet

__all__ = ["PICTURES", "pictures"]

PICTURES = ("sizes", "distribution", "cloud", "tradeoff", "capabilities", "conditions")
"""Names of the pictures; those without data are not drawn."""

_LOOKS: Mapping[Rule, tuple[str, str, str]] = {
    "cheapest": (BLUE, "-", "o"),
    "dearest": (SKY, ":", "v"),
    "most accurate": (ORANGE, "-", "s"),
    "best fixed plan": (GREEN, "-", "D"),
    "random": (QUIET, "--", ""),
}
"""Colour, line and mark of each rule."""

_TOOLS, _CONDITIONS = 40, 24
_FEW = 4
"""Conditions of so few inputs say nothing, and are left to the table."""


def pictures(sets: Sequence[CandidateSet], figures: Figures, format: str = "svg") -> dict[str, bytes]:
    """Draw what there is to draw, by name; those without data are left out.

    Raises:
        ToolUnavailable: matplotlib is not installed.
    """
    from catp.tools.bench.calibration_plot import new_figure

    new_figure()  # raises if matplotlib is missing
    with drawing():
        drawn: dict[str, Any] = {
            "sizes": _sizes(new_figure(), sets, figures.shape),
            "distribution": distribution(new_figure(), sets),
            "cloud": cloud(new_figure(), sets),
        }
        if figures.tradeoff is not None:
            drawn["tradeoff"] = _tradeoff(new_figure(), figures.tradeoff)
        if figures.capabilities:
            drawn["capabilities"] = _capabilities(new_figure(), figures.capabilities)
        if any(one.restores is not None for one in figures.conditions):
            drawn["conditions"] = _conditions(new_figure(), figures.conditions)
        return {name: rendered(figure, format) for name, figure in drawn.items()}


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
        axes.grid(color=BAND, lw=1)
        axes.set_axisbelow(True)
    handles, names = left.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(RULES), frameon=False)
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
    unit = "US dollars"
    if len(positive):
        unit = log_prices(left, positive.min(), prices.max())
        prices = np.maximum(prices, positive.min())
    left.hlines(places, prices[:, 0], prices[:, 2], color=BLUE, lw=2.4, alpha=0.45)
    left.plot(prices[:, 1], places, "o", color=BLUE, ms=5)
    left.set(xlabel=f"price of one step, {unit}: median, 5 % to 95 %", ylim=(len(rows) - 0.4, -0.6))
    left.set_yticks(places, [short(one.tool, 20) for one in rows], fontsize=8.5)
    left.tick_params(left=False)
    shown = [(place, one.advantage) for place, one in zip(places, rows, strict=True) if one.advantage is not None]
    right.axvline(0, color=QUIET, lw=1)
    if shown:
        at, gains = np.array(shown).T
        right.hlines(at, 0, gains, color=[GREEN if gain >= 0 else ORANGE for gain in gains], lw=4)
    right.set_xlabel("score of plans with it, minus mean of the input")
    widest = max((abs(advantage) for _, advantage in shown), default=0) or 0.01
    right.set_xlim(-1.15 * widest, 1.15 * widest)
    right.locator_params(axis="x", nbins=5)
    right.tick_params(left=False)
    return figure


def _conditions(figure: Any, found: Sequence[Condition]) -> Any:
    """A row per condition: share of all plans that restore first (ring), and of the best plans (dot)."""
    known = [(one, one.restores, one.offered or 0.0) for one in found if one.restores is not None]
    few = min(_FEW, max(one.inputs for one, *_ in known) - 1)
    many = [row for row in known if row[0].inputs > few]
    kept = sorted(many, key=lambda row: (-row[0].inputs, row[0].condition))[:_CONDITIONS]
    rows = sorted(kept, key=lambda row: (-row[1], row[0].condition))
    figure.set_size_inches(8, 0.3 * len(rows) + 1.5)
    axes = figure.subplots()
    for place, (one, best, offered) in enumerate(rows):
        axes.plot([offered, best], [place, place], color=QUIET, lw=1.5, zorder=1)
        axes.plot(offered, place, "o", mfc="white", mec=QUIET, mew=1.5, ms=7, label="all plans" if not place else None)
        axes.plot(best, place, "o", color=BLUE, ms=7, label="best plan at alpha 0.8" if not place else None)
        axes.annotate(f"{one.inputs:,}", (1.04, place), va="center", fontsize=8.5, annotation_clip=False)
    axes.annotate("inputs", (1.04, -0.95), va="center", fontsize=8.5, annotation_clip=False)
    axes.set(xlim=(-0.03, 1.03), ylim=(len(rows) - 0.4, -0.6), xlabel="share of plans that restore the input first")
    axes.set_yticks(range(len(rows)), [short(one.condition, 34) for one, _, _ in rows])
    axes.tick_params(left=False)
    axes.grid(color=BAND, lw=1, axis="x")
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
        axes.bar(list(counts), [count / total for count in counts.values()], color=BLUE, width=0.85)
        axes.set(xlabel=label, ylabel=f"share of {of}")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(color=BAND, lw=1, axis="y")
        axes.set_axisbelow(True)
    return figure


def _bands(panels: Sequence[Any], names: Sequence[str]) -> None:
    """Shade every other run of equal names."""
    start, shaded = 0, False
    for place in range(1, len(names) + 1):
        if place == len(names) or names[place] != names[start]:
            if shaded:
                for axes in panels:
                    axes.axhspan(start - 0.5, place - 0.5, color=BAND, lw=0, zorder=0)
            start, shaded = place, not shaded
