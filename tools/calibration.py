"""Calibration: does the 95th percentile that budgets reserve cover 95 % of the calls?

Each tool keeps count of how often actual price and latency stayed at or below the p95 predicted *before* the call, and
corrects the level it asks its quantiles for: adaptive conformal inference (Gibbs and Candes, "Adaptive conformal
inference under distribution shift", NeurIPS 2021). The share of calls that the next p95 is asked to miss moves by
`STEP` x (5 % - 1 if it missed, 5 % - 0 if it held), so that in the long run 5 % are missed whatever the tool does; what
the model of use gets wrong (several quantities billed at once, starts that come as a surprise, whole nano-USD) is made
up for. A p95 that is already the least it can be (the expected price) is not lowered by holding.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from catp.tools.share import Share

__all__ = ["STEP", "TARGET", "Calibration", "Tracker"]

TARGET = 0.95
"""What a p95 is to cover."""
STEP = 0.01
"""How far one call moves the level: larger follows faster and wavers more."""
_LEAST, _MOST = 0.005, 0.15
"""The share of calls a p95 may be asked to miss."""


@dataclass(frozen=True, slots=True)
class Tracker:
    """One p95 of one tool: how often it held, and the level that makes it hold for 95 %."""

    miss: float = 1.0 - TARGET
    held: Share = field(default_factory=Share)

    @property
    def level(self) -> float:
        """The quantile level to ask for, in place of 0.95."""
        return 1.0 - self.miss

    def after(self, actual: float, predicted: float, least: float) -> "Tracker":
        """Return the tracker after a call that was predicted to stay at or below `predicted`, which is >= `least`."""
        holds = actual <= predicted
        if holds and predicted <= least:
            return Tracker(self.miss, self.held.plus(True))
        moved = self.miss + STEP * ((1.0 - TARGET) - (not holds))
        return Tracker(min(max(moved, _LEAST), _MOST), self.held.plus(holds))

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
    """The two p95 of one tool."""

    price: Tracker = Tracker()
    latency: Tracker = Tracker()

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
