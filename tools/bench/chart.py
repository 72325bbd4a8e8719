"""Price against accuracy as plain SVG: small panels, one per capability, that need no plotting library."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Dot", "fronts_svg"]

_WIDTH, _HEIGHT, _COLUMNS = 360, 250, 3
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 16, 34, 40
_INK, _QUIET, _FRONT, _GRID = "#1f2933", "#7b8794", "#0b7285", "#e4e7eb"


@dataclass(frozen=True, slots=True)
class Dot:
    """One tool: price in US dollars, accuracy in [0, 1], and whether no rival beats it."""

    name: str
    usd: float
    accuracy: float
    on_front: bool


def fronts_svg(panels: Mapping[str, Sequence[Dot]]) -> str:
    """Return one SVG document; each panel's price axis is logarithmic and fitted to its tools."""
    rows = max(1, math.ceil(len(panels) / _COLUMNS))
    width, height = _WIDTH * min(_COLUMNS, max(1, len(panels))), _HEIGHT * rows
    body = [
        f'<g transform="translate({_WIDTH * (number % _COLUMNS)} {_HEIGHT * (number // _COLUMNS)})">'
        f"{_panel(name, dots)}</g>"
        for number, (name, dots) in enumerate(panels.items())
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="system-ui, sans-serif" font-size="10" role="img" '
        f'aria-label="Price against accuracy of the tools of each capability">'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(body)}</svg>\n'
    )


def _panel(name: str, dots: Sequence[Dot]) -> str:
    prices = [max(dot.usd, 1e-9) for dot in dots]
    low, high = math.log10(min(prices)) - 0.15, math.log10(max(prices)) + 0.15
    bottom = max(0.0, math.floor(min(dot.accuracy for dot in dots) * 10 - 0.5) / 10)

    def x(usd: float) -> float:
        return _LEFT + (math.log10(max(usd, 1e-9)) - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def y(accuracy: float) -> float:
        return _TOP + (1.0 - accuracy) / (1.0 - bottom) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [f'<text x="{_LEFT}" y="20" font-size="13" font-weight="600" fill="{_INK}">{escape(name)}</text>']
    for step in range(5):
        level = bottom + (1 - bottom) * step / 4
        parts.append(
            f'<path d="M{_LEFT} {y(level):.1f}H{_WIDTH - _RIGHT}" stroke="{_GRID}"/>'
            f'<text x="{_LEFT - 6}" y="{y(level) + 3:.1f}" text-anchor="end" fill="{_QUIET}">{level:.2f}</text>'
        )
    foot = f'y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle" fill="{_QUIET}"'
    parts.extend(f'<text x="{x(usd):.1f}" {foot}>${usd:.1e}</text>' for usd in sorted({min(prices), max(prices)}))
    front = sorted((dot for dot in dots if dot.on_front), key=lambda dot: (dot.usd, dot.accuracy))
    best: list[Dot] = []
    for dot in front:
        if not best or dot.accuracy > best[-1].accuracy:
            best.append(dot)
    line = " ".join(f"{x(dot.usd):.1f},{y(dot.accuracy):.1f}" for dot in best)
    parts.append(f'<polyline points="{line}" fill="none" stroke="{_FRONT}" stroke-width="1.5"/>')
    parts.extend(_mark(name, dot, x(dot.usd), y(dot.accuracy)) for dot in dots)
    return "".join(parts)


def _mark(panel: str, dot: Dot, x: float, y: float) -> str:
    colour = _FRONT if dot.on_front else _QUIET
    label = dot.name.removeprefix(f"{panel}_")
    anchor, shift = ("end", -6) if x > _WIDTH * 0.62 else ("start", 6)
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour if dot.on_front else "white"}" stroke="{colour}">'
        f"<title>{escape(dot.name)}: ${dot.usd:.2e}, accuracy {dot.accuracy:.3f}</title></circle>"
        f'<text x="{x + shift:.1f}" y="{y - 5:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(label)}</text>'
    )
