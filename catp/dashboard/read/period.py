"""The runs of a period in figures, and two periods against each other."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from catp.dashboard.forms import usd
from catp.store.statements import query
from catp.store.stats import runs_by_status

__all__ = ["Period", "compared", "period"]

_COUNT = ("complete", "degraded", "failed")
"""Ends of runs that say something about the work; a run that somebody cancelled does not."""


@dataclass(frozen=True, slots=True)
class Period:
    """Runs that were created in a period: how many in which state, and the figures of those that have ended.

    `cost` is the mean over the `priced` runs, those without a call of unknown price, in nano-USD; `p50_ms` is the
    smallest time that half of the `timed` runs do not exceed. `met` of the runs `with_deadline` that have ended were
    complete in time. None is a mean of nothing.
    """

    statuses: Counter[str]
    cost: float | None
    priced: int
    timed: int
    p50_ms: float | None
    p95_ms: float | None
    measured: float | None
    scored: int
    predicted: float | None
    foreseen: int
    with_deadline: int
    met: int

    @property
    def success(self) -> float | None:
        """The share of complete runs among those that ended by themselves."""
        return self.statuses["complete"] / self.ended if self.ended else None

    @property
    def ended(self) -> int:
        """How many runs ended by themselves."""
        return sum(self.statuses[status] for status in _COUNT)

    @property
    def attained(self) -> float | None:
        """The share of deadlines that were met."""
        return self.met / self.with_deadline if self.with_deadline else None


_WHEN = "r.created_ns >= ? AND r.created_ns < ?"
# as an expression, so that no index over the states is taken: the runs of a period lie beside each other
_ENDED = f"(r.status || '') IN ({', '.join(repr(status) for status in _COUNT)})"
_FIGURES = f"""
SELECT AVG(CASE WHEN r.unpriced = 0 THEN r.cost_nano END) AS cost, COUNT(CASE WHEN r.unpriced = 0 THEN 1 END) AS priced,
    AVG(r.predicted_quality) AS predicted, COUNT(r.predicted_quality) AS foreseen, COUNT(r.deadline_ms) AS deadlines,
    COUNT(r.latency_ms) AS timed,
    COUNT(CASE WHEN r.status = 'complete' AND r.latency_ms <= r.deadline_ms THEN 1 END) AS met
FROM runs r WHERE {_WHEN} AND {_ENDED}
"""
_SCORES = f"""
SELECT AVG(s.value) AS mean, COUNT(*) AS n FROM scores s JOIN runs r ON r.id = s.run_id WHERE {_WHEN}
"""
_TIMES = f"""
SELECT place, latency_ms FROM (
    SELECT r.latency_ms, ROW_NUMBER() OVER (ORDER BY r.latency_ms) AS place FROM runs r
    WHERE {_WHEN} AND {_ENDED} AND r.latency_ms IS NOT NULL) AS timed
WHERE place IN (?, ?)
"""


def period(connection: Connection, from_ns: int, until_ns: int) -> Period:
    """Return the runs that were created from one time until before another, Unix nanoseconds.

    The store sorts and counts: there may be a hundred thousand.
    """
    when = (from_ns, until_ns)
    figures, scored = query(connection, _FIGURES, *when)[0], query(connection, _SCORES, *when)[0]
    timed = int(figures.timed)
    places = [max(1, math.ceil(share * timed)) for share in (0.5, 0.95)]
    found = dict(query(connection, _TIMES, *when, *places)) if timed else {}
    p50, p95 = (found.get(place) for place in places)
    return Period(
        runs_by_status(connection, _WHEN, *when), _float(figures.cost), int(figures.priced), timed, p50, p95,
        _float(scored.mean), int(scored.n), _float(figures.predicted), int(figures.foreseen), int(figures.deadlines),
        int(figures.met),
    )  # fmt: skip


def _float(mean: Any) -> float | None:
    return None if mean is None else float(mean)  # PostgreSQL has exact ones


def compared(this: Period, last: Period) -> dict[str, dict[str, Any]]:
    """Return each figure as `{"now", "before", "n"}`: `n` runs of this period are behind it, null is unknown."""
    return {
        "success": _figure(this.success, last.success, this.ended),
        "quality": _figure(this.measured, last.measured, this.scored),
        "predicted_quality": _figure(this.predicted, last.predicted, this.foreseen),
        "mean_cost": _figure(_dollars(this.cost), _dollars(last.cost), this.priced),
        "p50_ms": _figure(this.p50_ms, last.p50_ms, this.timed),
        "p95_ms": _figure(this.p95_ms, last.p95_ms, this.timed),
    }


def _figure(now: Any, before: Any, n: int) -> dict[str, Any]:
    return {"now": now, "before": before, "n": n}


def _dollars(cost: float | None) -> str | None:
    return None if cost is None else usd(round(cost))
