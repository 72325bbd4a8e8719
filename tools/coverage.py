"""Predicted against actual: how often calls stayed at or below the quantiles predicted before they were made.

A quantile at level q is calibrated if a share q of the calls stays at or below it. Prices are whole nano-USD, so a tool
that nearly always costs the same is covered more often than that: no smaller price would cover it at all.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from catp.planlang.money import Money, format_usd
from catp.tools.calibration import TARGET
from catp.tools.call_fact import CallFact
from catp.tools.share import Share

__all__ = ["CheckedCall", "Coverage", "Figures", "Quantity", "coverage", "from_fact"]


@dataclass(frozen=True, slots=True)
class Quantity:
    """One quantity of one call: predicted quantiles by level, and what it came to. Prices in nano-USD, times in ms."""

    predicted: Mapping[float, float]
    actual: float

    @property
    def at_target(self) -> float | None:
        """The predicted 95th percentile, if there was one."""
        return self.predicted.get(TARGET)


@dataclass(frozen=True, slots=True)
class CheckedCall:
    """One call beside its prediction; `price` and `latency` are None where nothing was predicted, or it failed."""

    tool: str
    price: Quantity | None
    latency: Quantity | None
    failed: bool


@dataclass(frozen=True, slots=True)
class Figures:
    """One quantity over many calls: medians of what was predicted and of what it came to, and the covered shares."""

    calls: int
    predicted: Mapping[float, float]
    actual: float
    covered: Mapping[float, float]
    distinct: int
    """How many different values there were."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """Calls of one tool, or of all (`tool` is empty), beside their predictions."""

    tool: str
    calls: int
    failures: int
    price: Figures | None
    latency: Figures | None

    @property
    def failing(self) -> Share:
        """The share of calls that failed."""
        return Share(self.calls, self.failures)

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON values, money as decimal strings, shares by percentile (`p95`)."""
        return {
            "tool": self.tool or None,
            "calls": self.calls,
            "failures": self.failures,
            "failure_interval": [round(end, 4) for end in self.failing.interval],
            "price_usd": None if self.price is None else _figures_json(self.price, _usd),
            "latency_ms": None if self.latency is None else _figures_json(self.latency, lambda ms: round(ms, 3)),
        }


def coverage(calls: Iterable[CheckedCall]) -> tuple[Coverage, tuple[Coverage, ...]]:
    """Return the figures over all calls, and those of each tool by name."""
    every = list(calls)
    by_tool: dict[str, list[CheckedCall]] = {}
    for call in every:
        by_tool.setdefault(call.tool, []).append(call)
    return _coverage("", every), tuple(_coverage(tool, by_tool[tool]) for tool in sorted(by_tool))


def from_fact(fact: CallFact) -> CheckedCall:
    """Return a call of the ledger beside what was predicted then: the 95th percentile."""
    price = latency = None
    if not fact.failed and fact.predicted is not None and fact.predicted.p95 is not None and fact.amount is not None:
        price = Quantity({TARGET: float(fact.predicted.p95)}, float(fact.amount))
    if not fact.failed and fact.predicted_ms is not None and 0 < fact.predicted_ms.p95_ms < math.inf:
        latency = Quantity({TARGET: fact.predicted_ms.p95_ms}, fact.usage.wall_ms)
    return CheckedCall(fact.tool, price, latency, fact.failed)


def _coverage(tool: str, calls: Sequence[CheckedCall]) -> Coverage:
    return Coverage(
        tool,
        len(calls),
        sum(call.failed for call in calls),
        _figures([call.price for call in calls if call.price is not None]),
        _figures([call.latency for call in calls if call.latency is not None]),
    )


def _figures(quantities: Sequence[Quantity]) -> Figures | None:
    if not quantities:
        return None
    levels = sorted({level for quantity in quantities for level in quantity.predicted})
    given = {level: [(q.predicted[level], q.actual) for q in quantities if level in q.predicted] for level in levels}
    return Figures(
        len(quantities),
        {level: median(predicted for predicted, _ in pairs) for level, pairs in given.items()},
        median(q.actual for q in quantities),
        {level: sum(actual <= bound for bound, actual in pairs) / len(pairs) for level, pairs in given.items()},
        len({q.actual for q in quantities}),
    )


def _figures_json(figures: Figures, shown: Any) -> dict[str, Any]:
    return {
        "calls": figures.calls,
        "distinct": figures.distinct,
        "actual": shown(figures.actual),
        "predicted": {_percentile(level): shown(value) for level, value in figures.predicted.items()},
        "covered": {_percentile(level): round(share, 4) for level, share in figures.covered.items()},
    }


def _percentile(level: float) -> str:
    return f"p{level * 100:.0f}"


def _usd(nano: float) -> str:
    return format_usd(Money(round(nano)))
