"""The latest calls of one tool, one by one: what tells how far actual use lies from the usual, and whether it moved.

Histograms (`catp.tools.histogram`) remember a thousand calls by input size and give the *shape* of use against size.
This window of `WINDOW` calls gives its present *level* and spread: each call's use is divided by the shape at its own
size, so calls of all sizes count together, and their weight halves every `HALF_LIFE` calls.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from catp.tools.usage import Usage

__all__ = ["HALF_LIFE", "WINDOW", "RecentCall", "Recents", "unusable", "used"]

WINDOW = 200
"""Calls that are kept one by one."""
HALF_LIFE = 100
"""Further calls after which a call counts half."""


class RecentCall(NamedTuple):
    """One successful call: its input size and what it used, by quantity.

    Quantities are `cpu_ms`, `peak_mb`, `wall_ms` (of warm calls only), `unit:NAME` and `reported` (nano-USD).
    """

    size: int
    uses: Mapping[str, float]


def used(usage: Usage) -> dict[str, float]:
    """Return the quantities of a call by name."""
    found = {"cpu_ms": float(usage.cpu_ms), "peak_mb": float(usage.peak_mb)}
    if not usage.cold_cpu_ms:
        found["wall_ms"] = float(usage.wall_ms)
    found.update((f"unit:{name}", float(amount)) for name, amount in usage.units.items())
    if usage.reported is not None:
        found["reported"] = float(usage.reported)
    return found


def unusable(usage: Usage) -> str | None:
    """Return why nothing can be learned from this usage (a negative or infinite quantity), or None."""
    quantities = {"wall_ms": usage.wall_ms, "cold_cpu_ms": usage.cold_cpu_ms, **used(usage)}
    for name, amount in quantities.items():
        if not (math.isfinite(amount) and amount >= 0):
            return f"{name} is {amount!r}"
    return None


class Recents:
    """The last `WINDOW` successful calls, oldest first."""

    def __init__(self, calls: Sequence[RecentCall] = ()) -> None:
        self.calls = list(calls)[-WINDOW:]

    def add(self, call: RecentCall) -> None:
        """Remember one more call, and forget the oldest beyond `WINDOW`."""
        self.calls.append(call)
        del self.calls[:-WINDOW]

    def of(self, name: str) -> list[tuple[int, float]]:
        """Return (input size, use) of the calls that had this quantity, oldest first."""
        return [(call.size, call.uses[name]) for call in self.calls if name in call.uses]

    def merged(self, newer: "Recents") -> "Recents":
        """Return the last calls of both, those of `newer` being the later ones."""
        return Recents([*self.calls, *newer.calls])

    def to_json(self) -> dict[str, Any]:
        """Return one list per quantity, in the order of the calls; null where a call did not have it."""
        names = sorted({name for call in self.calls for name in call.uses})
        columns = {name: [_short(call.uses.get(name)) for call in self.calls] for name in names}
        return {"size": [call.size for call in self.calls], "uses": columns}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Recents":
        """Read what `to_json` wrote; raise `ValueError`, `KeyError`, `TypeError` or `AttributeError` if malformed."""
        sizes, columns = data["size"], data["uses"]
        if any(len(column) != len(sizes) for column in columns.values()):
            raise ValueError("columns of recent calls differ in length")
        return cls(
            [
                RecentCall(
                    _size(size), {str(k): _amount(col[i]) for k, col in columns.items() if col[i] is not None}
                )
                for i, size in enumerate(sizes)
            ]
        )  # fmt: skip


def _short(amount: float | None) -> float | None:
    return None if amount is None else float(f"{amount:.5g}")


def _size(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{value!r} is no input size")
    return value


def _amount(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{value!r} is no amount")
    return float(value)
