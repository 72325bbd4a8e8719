"""Calibration: does the 95th percentile that budgets reserve cover 95 % of the calls?

Each tool keeps count of how often actual price and latency stayed at or below the p95 predicted *before* the call, and
corrects the level it asks its quantiles for: adaptive conformal inference (Gibbs and Candes, "Adaptive conformal
inference under distribution shift", NeurIPS 2021). The share of calls that the next p95 is asked to miss moves by
step x (5 % - 1) if it missed and by step x 5 % if it held, so that in the long run 5 % are missed whatever the tool
does; what the model of use gets wrong (several quantities billed at once, too few calls to know a tail, starts that
come as a surprise) is made up for. A p95 that is already the least it can be (the expected price) is not lowered by
holding.

A tool's own calls are few, so the same is done over the calls of all tools of a book, in smaller steps that add up to
quicker ones; a p95 asks for the sum of both corrections (`calibrated`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from catp.tools.call_fact import CallFact
from catp.tools.share import Share

__all__ = ["OVERALL_STEP", "STEP", "TARGET", "Calibration", "Tracker", "calibrated"]

TARGET = 0.95
"""What a p95 is to cover."""
STEP = 0.01
"""How far one call of a tool moves its level: larger follows faster and wavers more."""
OVERALL_STEP = 0.005
"""How far one call of any tool moves the level of all."""
_MISS = 1.0 - TARGET
_TAIL = 0.9
_LEAST, _MOST = 0.005, 0.15
"""The share of calls a p95 may be asked to miss."""


@dataclass(frozen=True, slots=True)
class Tracker:
    """One p95: how often it held, and the share of calls to ask the next one to miss so that it misses 5 %."""

    miss: float = _MISS
    held: Share = field(default_factory=Share)

    def after(self, actual: float, predicted: float, least: float, step: float) -> "Tracker":
        """Return the tracker after a call that was predicted to stay at or below `predicted`, which is >= `least`."""
        holds = actual <= predicted
        held = self.held.plus(holds)
        if holds and predicted <= least:
            return Tracker(self.miss, held)
        moved = self.miss + step * (_MISS - (not holds))
        return Tracker(min(max(moved, _LEAST), _MOST), held)

    def merged(self, newer: "Tracker") -> "Tracker":
        """Return the calls of both and the later level, if it is one."""
        return Tracker(newer.miss if newer.held.weight else self.miss, self.held.merged(newer.held))

    def to_json(self) -> dict[str, Any]:
        """Return the tracker as JSON values."""
        return {"miss": round(self.miss, 6), "held": self.held.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Tracker":
        """Read what `to_json` wrote; raise `ValueError`, `KeyError` or `TypeError` if malformed."""
        miss = float(data["miss"])
        if not (math.isfinite(miss) and _LEAST <= miss <= _MOST):
            raise ValueError(f"{miss!r} is no share of calls to miss")
        return cls(miss, Share.from_json(data["held"]))


@dataclass(frozen=True, slots=True)
class Calibration:
    """The p95 of the price and of the latency, of one tool or over all."""

    price: Tracker = field(default_factory=Tracker)
    latency: Tracker = field(default_factory=Tracker)

    def after(self, fact: CallFact, step: float) -> "Calibration":
        """Return the calibration after a call, as far as its fact says what was predicted. Cold starts count too."""
        price, latency, found = fact.predicted, fact.predicted_ms, self
        if price is not None and fact.amount is not None and price.p95 is not None and price.expected is not None:
            found = replace(found, price=found.price.after(fact.amount, price.p95, price.expected, step))
        if latency is not None and 0 < latency.p95_ms < math.inf:
            found = replace(found, latency=found.latency.after(fact.usage.wall_ms, latency.p95_ms, 0.0, step))
        return found

    def merged(self, newer: "Calibration") -> "Calibration":
        """Return the calls of both."""
        return Calibration(self.price.merged(newer.price), self.latency.merged(newer.latency))

    def to_json(self) -> dict[str, Any]:
        """Return both as JSON values."""
        return {"price": self.price.to_json(), "latency": self.latency.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Calibration":
        """Read what `to_json` wrote; raise `ValueError`, `KeyError` or `TypeError` if malformed."""
        return cls(Tracker.from_json(data["price"]), Tracker.from_json(data["latency"]))


def calibrated(level: float, tool: Tracker, overall: Tracker) -> float:
    """Return the level to ask for in place of `level`; the tails beyond 90 % are corrected in proportion to the p95."""
    if level < _TAIL:
        return level
    miss = min(max(tool.miss + overall.miss - _MISS, _LEAST), _MOST)
    return 1.0 - miss / _MISS * (1.0 - level)
