"""Learning curves of a run as one picture: the loss and its parts, and what the evaluations found."""

from collections.abc import Mapping, Sequence
from typing import Any

from catp.training.data.card_style import BLUE, GREEN, ORANGE, QUIET, SKY, drawing, rendered
from catp.training.evaluate.pictures import MissingPlotter

__all__ = ["curves_picture"]

_SMOOTH = 0.03
"""The bold line is a mean over this share of the steps."""

_COLOURS = (SKY, GREEN, "#CC79A7", "#E69F00")


def curves_picture(events: Sequence[Mapping[str, Any]]) -> bytes:
    """Draw a run; return a PNG.

    Args:
        events: as `catp.training.caorl.metrics.read_metrics` returns them.

    Raises:
        MissingPlotter: matplotlib is not installed.
        ValueError: no step was told.
    """
    steps = [event for event in events if event["event"] == "step"]
    measured = [event for event in events if event["event"] == "evaluated"]
    if not steps:
        raise ValueError("there is no step to draw")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise MissingPlotter from error
    with drawing():
        figure = Figure(figsize=(9.6, 3.6) if measured else (5.0, 3.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, 2 if measured else 1, squeeze=False)[0]
        _losses(axes[0], steps)
        if measured:
            _regrets(axes[1], measured)
        for one in axes:
            one.set_xlabel("optimiser step")
            one.xaxis.set_major_locator(MaxNLocator(7, integer=True))
            one.grid(color="#e8eaed", lw=0.6)
            one.set_axisbelow(True)
        return rendered(figure, "png")


def _losses(axes: Any, steps: Sequence[Mapping[str, Any]]) -> None:
    at = [event["step"] for event in steps]
    loss = [_number(event["loss"]) for event in steps]
    axes.plot(at, loss, color=QUIET, lw=0.5, alpha=0.6)
    axes.plot(at, _smooth(loss), color=BLUE, lw=1.6, label="loss", marker="o" if len(at) == 1 else None)
    for name, colour in zip(sorted(steps[-1]["parts"]), _COLOURS, strict=False):
        values = [_number(event["parts"].get(name)) for event in steps]
        axes.plot(at, _smooth(values), color=colour, lw=1.1, label=name)
    axes.set_title("loss of training, mean of neighbouring steps", loc="left")
    axes.legend(frameon=False, fontsize=9)


def _regrets(axes: Any, measured: Sequence[Mapping[str, Any]]) -> None:
    at = [event["step"] for event in measured]
    known = [name for name in measured[-1]["figures"] if name.startswith("regret") and name != "regret"]
    for name, colour in zip(sorted(known), _COLOURS * len(known), strict=False):
        axes.plot(at, _values(measured, name), color=colour, lw=0.9, marker=".", ms=4, label=name)
    axes.plot(at, _values(measured, "regret"), color=BLUE, lw=1.8, marker="o", ms=4, label="regret")
    best = [event for event in measured if event["best"]]
    if best:
        x, y = best[-1]["step"], best[-1]["figures"]["regret"]
        axes.plot([x], [y], "o", mfc="none", mec=ORANGE, mew=1.6, ms=10)
        axes.annotate(f"best: {y:.3f}", (x, y), xytext=(0, -16), textcoords="offset points", ha="center", color=ORANGE)
        axes.margins(y=0.15)
    axes.set_title("normalised regret on the validation side", loc="left")
    axes.legend(frameon=False, fontsize=9)


def _values(measured: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [_number(event["figures"].get(name)) for event in measured]


def _number(value: float | None) -> float:
    """What was told; null stands for a number that is none."""
    return float("nan") if value is None else float(value)


def _smooth(values: Sequence[float]) -> list[float]:
    """Mean over a window around each value; the window is cut at the ends."""
    half = int(len(values) * _SMOOTH / 2)
    windows = (values[max(0, place - half) : place + half + 1] for place in range(len(values)))
    return [sum(window) / len(window) for window in windows]
