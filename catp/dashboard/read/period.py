"""The runs of a period in figures, and two periods against each other."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from catp.dashboard.forms import usd
from catp.store.ownership import alive
from catp.store.statements import query

__all__ = ["Period", "compared", "period"]

_COUNT = ("complete", "degraded", "failed")
"""Ends of runs that say something about the work; a run that somebody cancelled does not."""


@dataclass
class Period:
    """Runs that were created in a period: how many in which state, and the figures of those that have ended.

    `costs` (nano-USD) leaves out runs with a call of unknown price; times are in ms; `met` says of every run that had a
    deadline and has ended whether it was complete in time.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    costs: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    measured: list[float] = field(default_factory=list)
    predicted: list[float] = field(default_factory=list)
    met: list[bool] = field(default_factory=list)

    @property
    def success(self) -> float | None:
        """The share of complete runs among those that ended by themselves."""
        ended = sum(self.statuses[status] for status in _COUNT)
        return self.statuses["complete"] / ended if ended else None

    @property
    def attained(self) -> float | None:
        """The share of deadlines that were met."""
        return _mean(self.met)


def period(connection: Connection, from_ns: int, until_ns: int) -> Period:
    """Return the runs that were created from one time until before another, Unix nanoseconds."""
    found = Period()
    for row in query(
        connection, "SELECT r.status, r.owner, r.heartbeat_ns, r.cost_nano, r.unpriced, r.latency_ms, r.deadline_ms, "
        "r.predicted_quality, s.value AS quality FROM runs r LEFT JOIN scores s ON s.run_id = r.id "
        "WHERE r.created_ns >= ? AND r.created_ns < ?", from_ns, until_ns,
    ):  # fmt: skip
        lost = row.status == "running" and not alive(row.owner, row.heartbeat_ns)
        found.statuses["interrupted" if lost else row.status] += 1
        if row.quality is not None:
            found.measured.append(row.quality)
        if row.status not in _COUNT:
            continue
        if not row.unpriced:
            found.costs.append(int(row.cost_nano))
        if row.latency_ms is not None:
            found.times.append(row.latency_ms)
        if row.predicted_quality is not None:
            found.predicted.append(row.predicted_quality)
        if row.deadline_ms is not None:
            found.met.append(row.status == "complete" and (row.latency_ms or math.inf) <= row.deadline_ms)
    return found


def compared(this: Period, last: Period) -> dict[str, dict[str, Any]]:
    """Return each figure as `{"now", "before", "n"}`: `n` runs of this period are behind it, null is unknown."""
    return {
        "success": _figure(this.success, last.success, sum(this.statuses[status] for status in _COUNT)),
        "quality": _figure(_mean(this.measured), _mean(last.measured), len(this.measured)),
        "predicted_quality": _figure(_mean(this.predicted), _mean(last.predicted), len(this.predicted)),
        "mean_cost": _figure(_dollars(this.costs), _dollars(last.costs), len(this.costs)),
        "p50_ms": _figure(_at(this.times, 0.5), _at(last.times, 0.5), len(this.times)),
        "p95_ms": _figure(_at(this.times, 0.95), _at(last.times, 0.95), len(this.times)),
    }


def _figure(now: Any, before: Any, n: int) -> dict[str, Any]:
    return {"now": now, "before": before, "n": n}


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _dollars(costs: Sequence[int]) -> str | None:
    return usd(round(sum(costs) / len(costs))) if costs else None


def _at(values: Sequence[float], share: float) -> float | None:
    """The smallest value that `share` of all do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else None
