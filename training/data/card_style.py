"""How the pictures of data cards look, and how they become small files with the same bytes for the same data."""

import re
from contextlib import AbstractContextManager
from io import BytesIO
from typing import Any

__all__ = ["BAND", "BLUE", "GREEN", "ORANGE", "QUIET", "SKY", "drawing", "log_prices", "rendered", "short"]

BLUE, SKY, ORANGE, GREEN = "#0072B2", "#56B4E9", "#D55E00", "#009E73"
"""Okabe and Ito's colours: people tell them apart whatever their colour vision, and they differ in brightness."""

QUIET, BAND = "#9aa3ab", "#f1f4f6"
"""Lines that are not the point, and what is behind all."""

_INK = "#222222"
_RC: dict[Any, Any] = {
    "svg.hashsalt": "catp", "svg.fonttype": "path", "font.size": 10, "font.family": "DejaVu Sans",
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": QUIET, "axes.labelcolor": _INK,
    "axes.titlesize": 10, "xtick.color": _INK, "ytick.color": _INK,
}  # fmt: skip
_DPI = {"svg": 72, "png": 96}  # of pixels inside of an SVG, too
_INDENTATION = re.compile(rb"\n +")
_LONG_NUMBER = re.compile(rb"(?<![\d.])([1-9]\d*\.\d)\d+")
_GLYPH = re.compile(rb"DejaVuSans-")
_SHIFT = re.compile(rb'(<use [^>]*)transform="translate\(([\d.]+) 0\)"')


def drawing() -> AbstractContextManager[None]:
    """Set matplotlib up, for as long as pictures are drawn and rendered."""
    import matplotlib as mpl

    return mpl.rc_context(_RC)


def rendered(figure: Any, format: str) -> bytes:
    """Return a figure as `svg` or `png`, without a date."""
    out = BytesIO()
    figure.savefig(out, format=format, dpi=_DPI[format], metadata={"Date": None} if format == "svg" else None)
    return _lighter(out.getvalue()) if format == "svg" else out.getvalue()


def log_prices(axes: Any, low: float, high: float) -> str:
    """Make the axis across a logarithmic one of prices, in dollars or millionths; return the unit.

    Ranges below two decades get ticks at 2 and 5, too.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator

    micro = high < 0.01
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda usd, _: f"{usd * 1e6 if micro else usd:,.6g}"))
    axes.minorticks_off()
    return "10⁻⁶ US dollars" if micro else "US dollars"


def short(name: str, columns: int = 30) -> str:
    """Cut a name to a number of letters, in its middle: names that belong together differ at their ends."""
    if len(name) <= columns:
        return name
    end = columns // 3
    return f"{name[: columns - end - 1]}…{name[-end:]}"


def _lighter(svg: bytes) -> bytes:
    """Drop indentation, long names and places of letters, and all beyond tenths of a point: half of the file.

    Numbers below 1 are scales and stay, as does what is inside of pixels (base64 has neither points nor hyphens).
    """
    short_ = _GLYPH.sub(b"g", _LONG_NUMBER.sub(rb"\1", _INDENTATION.sub(b"\n", svg)))
    return _SHIFT.sub(rb'\1x="\2"', short_)
