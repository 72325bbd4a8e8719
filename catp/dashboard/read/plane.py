"""Evaluations of a training run on a plane of two figures, and those that no other beats in both."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["plane"]

_MORE = re.compile(r"(^|_)quality(@|$)")


def plane(points: Sequence[Mapping[str, Any]], x: str | None = None, y: str | None = None) -> dict[str, Any]:
    """Return `{x, y, names, points: [{step, x, y, front, best}]}`; of figures but quality less is better.

    Without a choice x is the cost and y the quality if they were measured, else the regrets at the smallest and the
    largest weight of quality. `best` is the one that was kept as best, the last that was said to be.
    """
    names = sorted({name for point in points for name in point["figures"]})
    x, y = (name if name in names else otherwise for name, otherwise in zip((x, y), _usual(names), strict=True))
    known = [
        (point, point["figures"][x], point["figures"][y])
        for point in points
        if point["figures"].get(x) is not None and point["figures"].get(y) is not None
    ]
    best = next((point["step"] for point, _, _ in reversed(known) if point["best"]), None)
    places = [(_less(x, a), _less(y, b)) for _, a, b in known]
    return {
        "x": x, "y": y, "names": names,
        "points": [
            {"step": point["step"], "x": a, "y": b, "best": point["step"] == best,
             "front": not any(p <= here[0] and q <= here[1] and (p, q) != here for p, q in places)}
            for (point, a, b), here in zip(known, places, strict=True)
        ],
    }  # fmt: skip


def _usual(names: Sequence[str]) -> tuple[str | None, str | None]:
    alphas = [name.removeprefix("cost@") for name in names if name.startswith("cost@")]
    both = [alpha for alpha in alphas if f"quality@{alpha}" in names]
    if both:
        alpha = "0.8" if "0.8" in both else both[0]
        return f"cost@{alpha}", f"quality@{alpha}"
    regrets = [name for name in names if name.startswith("regret@")] or list(names)
    return (regrets[0], regrets[-1]) if regrets else (None, None)


def _less(name: str | None, value: float) -> float:
    return -value if name is not None and _MORE.search(name) else value
