"""Predicted against actual as a picture (matplotlib, of the `tools` extra)."""

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

from catp.tools.calibration import TARGET
from catp.tools.coverage import CheckedCall, Figures, Quantity, coverage
from catp.tools.errors import ToolUnavailable

__all__ = ["FORMATS", "calibration_picture", "new_figure"]

FORMATS = ("svg", "png")
_HELD, _MISSED, _QUIET, _BAND = "#0b7285", "#c92a2a", "#7b8794", "#e3f4f7"


def calibration_picture(calls: Sequence[CheckedCall], format: str) -> bytes:
    """Draw each call's p95 against what it came to, price and time, and how much each quantile covered.

    Raises `ToolUnavailable` if matplotlib is not installed.
    """
    figure = new_figure()
    left, middle, right = figure.subplots(1, 3)
    _scatter(left, calls, lambda call: call.price, 1e-9, "price in US dollars")
    _scatter(middle, calls, lambda call: call.latency, 1.0, "time in ms")
    _reliability(right, calls)
    out = BytesIO()
    figure.savefig(out, format=format, dpi=120, metadata={"Date": None} if format == "svg" else None)
    return out.getvalue()


def new_figure() -> Any:
    """Return an empty figure; raise `ToolUnavailable` if matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ToolUnavailable("the plot", "needs matplotlib; run: pip install 'catp[tools]'") from error
    figure = Figure(figsize=(13.5, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _scatter(
    axes: Any, calls: Sequence[CheckedCall], of: Callable[[CheckedCall], Quantity | None], scale: float, unit: str
) -> None:
    """Predicted p95 (across) against actual (up): calls above the diagonal cost or took more than their p95."""
    found = [quantity for call in calls if (quantity := of(call)) is not None and quantity.at_target]
    pairs = [(q.at_target * scale, q.actual * scale) for q in found if q.at_target and q.actual > 0]
    for missed, colour in ((False, _HELD), (True, _MISSED)):
        chosen = [(x, y) for x, y in pairs if (y > x) is missed]
        name = f"above its p95: {len(chosen)} of {len(pairs)}" if missed else f"covered: {len(chosen)}"
        axes.scatter(
            [x for x, _ in chosen],
            [y for _, y in chosen],
            s=7,
            color=colour,
            alpha=0.5,
            lw=0,
            label=name,
            rasterized=True,
        )
    if pairs:
        ends = [min(min(pair) for pair in pairs), max(max(pair) for pair in pairs)]
        axes.plot(ends, ends, color=_QUIET, lw=1)
        axes.set(xscale="log", yscale="log")
    axes.set(xlabel=f"predicted 95th percentile, {unit}", ylabel=f"actual {unit}")
    axes.legend(frameon=False, fontsize="small")


def _reliability(axes: Any, calls: Sequence[CheckedCall]) -> None:
    """Share of calls a quantile should cover (across) and did cover (up)."""
    overall, _ = coverage(calls)
    axes.plot([0.45, 1], [0.45, 1], color=_QUIET, lw=1)
    axes.axhspan(TARGET - 0.02, TARGET + 0.02, color=_BAND, label="95 % ± 2 %")
    named: tuple[tuple[str, Figures | None, str], ...] = (
        ("price", overall.price, _HELD), ("time", overall.latency, "#e67700"),
    )  # fmt: skip
    for name, figures, colour in named:
        if figures is not None:
            levels = sorted(figures.covered)
            axes.plot(levels, [figures.covered[level] for level in levels], "o-", color=colour, label=name, ms=4)
    axes.set(xlabel="predicted quantile", ylabel="share of calls at or below it")
    axes.legend(frameon=False, fontsize="small", loc="lower right")
