"""The Pareto picture: mean score against mean price, one line per planner over the sweep of alpha.

One panel per data set. The oracle's front bounds the area within reach, the reference its worst corner; whoever lies
further up and left is better. Lines are labelled at the height of their end, with the share of the oracle's
hypervolume; colours are Okabe and Ito's, which the colour-blind tell apart, and markers differ as well.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

from catp.planlang.money import NANO_PER_USD
from catp.training.evaluate.pareto import Point, front
from catp.training.evaluate.result import Evaluation

__all__ = ["FORMATS", "MissingPlotter", "pareto_picture"]

FORMATS = ("svg", "png")

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#5A3E00", "#6A3D9A")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_INK, _QUIET = "#222222", "#8a8f98"
_GAP = 0.038
"""Least distance of two labels, as a share of the panel's height."""


class MissingPlotter(ImportError):
    """matplotlib is not installed."""

    def __init__(self) -> None:
        super().__init__("pictures need matplotlib; run: pip install 'catp[train]'")


def pareto_picture(panels: Mapping[str, Sequence[Evaluation]], format: str = "svg") -> bytes:
    """Draw the evaluations of each data set; the same bytes for the same figures.

    Args:
        panels: evaluations by title; one protocol and one sweep of alpha throughout.
        format: `svg` or `png`.

    Raises:
        MissingPlotter: matplotlib is not installed.
        ValueError: nothing in it has points, or the format is unknown.
    """
    if format not in FORMATS:
        raise ValueError(f"cannot draw {format!r}; one of {', '.join(FORMATS)}")
    drawable = {title: shown for title, found in panels.items() if (shown := [one for one in found if one.points])}
    if not drawable:
        raise ValueError("no evaluation has points to draw: nothing was covered at every alpha")
    try:
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPlotter from error
    names = sorted({one.planner for found in drawable.values() for one in found if not one.sees_outcomes})
    looks = {name: (_COLOURS[n % 8], _MARKERS[(n + n // 8) % 8]) for n, name in enumerate(names)}
    style: Any = {"svg.hashsalt": "catp", "font.family": "DejaVu Sans", "font.size": 9.0, "axes.spines.top": False,
             "axes.spines.right": False}  # fmt: skip
    with mpl.rc_context(style):
        figure = Figure(figsize=(7.4 * len(drawable), 5.2), layout="constrained")
        FigureCanvasAgg(figure)
        for axes, (title, found) in zip(
            figure.subplots(1, len(drawable), squeeze=False)[0], drawable.items(), strict=True
        ):
            _panel(axes, title, found, looks)
        out = BytesIO()
        metadata = {"Date": None, "Creator": "catp"} if format == "svg" else {"Software": "catp"}
        figure.savefig(out, format=format, dpi=130, metadata=metadata)
    return out.getvalue()


def _panel(axes: Any, title: str, found: Sequence[Evaluation], looks: Mapping[str, tuple[str, str]]) -> None:
    first = next(one for one in found if one.reference is not None)
    rivals = sorted(
        (one for one in found if not one.sees_outcomes), key=lambda one: (-(one.hv_ratio or 0), one.planner)
    )
    labels = [_oracle(axes, first), *(_line(axes, one, *looks[one.planner]) for one in rivals)]
    if first.reference is not None:
        axes.plot(*_xy([first.reference]), "x", color=_QUIET, ms=7)
        axes.annotate("reference", _xy_of(first.reference), color=_QUIET, xytext=(-6, 6), textcoords="offset points",
                      ha="right")  # fmt: skip
    _label(axes, labels)
    alphas = [point.alpha for point in first.points if point.alpha is not None]
    axes.set_title(
        f"{title}: score against price, alpha {min(alphas):g} to {max(alphas):g}; share of hypervolume",
        loc="left",
        color=_INK,
    )
    axes.set_xlabel(f"mean price per input, US dollars ({first.sets} inputs, protocol {first.protocol})")
    axes.set_ylabel("mean score")
    axes.grid(color="#e8eaed", lw=0.6)
    axes.set_axisbelow(True)


def _oracle(axes: Any, one: Evaluation) -> tuple[float, float, str, str]:
    """The oracle's front as a step line: what is right of and below it is dominated."""
    best = front(one.oracle)
    x, y = _xy(best)
    axes.step(x, y, where="post", color=_INK, lw=1.2, ls=(0, (5, 2)))
    axes.plot(x, y, ".", color=_INK, ms=4)
    return x[-1], y[-1], "oracle", _INK


def _line(axes: Any, one: Evaluation, colour: str, marker: str) -> tuple[float, float, str, str]:
    told = [point for point in one.points if point.alpha is not None]
    x, y = _xy(told)
    axes.plot(x, y, color=colour, lw=1.4, marker=marker, ms=4.5, mec="white", mew=0.5)
    share = "" if one.hv_ratio is None else f"  {one.hv_ratio:.2f}"
    return x[-1], y[-1], f"{one.planner}{share}", colour


def _label(axes: Any, labels: Sequence[tuple[float, float, str, str]]) -> None:
    """Write names in a column right of the panel, each as near the height of its line's end as the others allow."""
    low, high = axes.get_ylim()
    left, right = axes.get_xlim()
    axes.set_xlim(left, right)
    axes.set_ylim(low, high)
    gap = _GAP * (high - low)
    ordered = sorted(labels, key=lambda label: (-label[1], label[2]))
    height = high
    for x, y, text, colour in ordered:
        height = min(y, height - gap) if height != high else min(y, high)
        axes.annotate(
            text, (x, y), xytext=(right + 0.02 * (right - left), height), textcoords="data", color=colour, va="center",
            annotation_clip=False, arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.5, "alpha": 0.5},
        )  # fmt: skip


def _xy(found: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [point.price / NANO_PER_USD for point in found], [point.score for point in found]


def _xy_of(point: Point) -> tuple[float, float]:
    return point.price / NANO_PER_USD, point.score
