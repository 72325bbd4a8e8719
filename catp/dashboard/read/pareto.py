"""What quality costs: groups of runs as points of mean price and mean quality, and the front of those worth having.

A run counts if it is over, every row of its ledger has a price and its quality is known; what does not is counted under
`missing`, never taken as 0. A predicted quality is that of a run that gave its outputs: of one that failed nothing is
known until somebody has scored it. Where the points did not have the same tasks, `note` begins with that.

Intervals are the 95 % confidence intervals of a mean after Student, mean +- t(n - 1) * s / sqrt(n), cut off at what is
possible (no price below 0, no quality outside 0..1); one run has none. The front is that of the means
(`catp.planners.front`). `scale` is the price that weighs as much as quality 1 in the planner's utility

    alpha * quality - (1 - alpha) * price / scale

the price of the cheapest point about as good as the best one (docs/adr/0002).
"""

import math
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from sqlalchemy import Connection

from catp.dashboard.forms import usd
from catp.dashboard.read.runs import RunFilter
from catp.planlang.parser import parse
from catp.planlang.render.labels import clip
from catp.planlang.render.view import view
from catp.planners.front import pareto as front
from catp.planners.search import AS_GOOD
from catp.store import queries
from catp.store.statements import query

__all__ = ["By", "Quality", "pareto"]

By: TypeAlias = Literal["policy", "plan", "tools", "project", "run"]
Quality: TypeAlias = Literal["measured", "predicted", "best"]

_MOST = 1_000
"""Points that are shown besides the front."""
_ENDED = "('complete', 'degraded', 'failed', 'cancelled')"
_PREDICTED = "CASE WHEN r.status IN ('complete', 'degraded') THEN r.predicted_quality END"
_QUALITY = {"measured": "s.value", "predicted": _PREDICTED, "best": f"COALESCE(s.value, {_PREDICTED})"}
_CHOICES = ("policy", "plan", "tools")
"""Groups between which one can choose; projects and runs are work of their own anyhow."""
_TOOLS = {
    "sqlite": "(SELECT GROUP_CONCAT(tool, ', ') FROM (SELECT DISTINCT c.tool FROM calls c WHERE c.run_id = r.id "
              "ORDER BY c.tool))",
    "postgresql": "(SELECT STRING_AGG(DISTINCT c.tool, ', ' ORDER BY c.tool) FROM calls c WHERE c.run_id = r.id)",
}  # fmt: skip
_KEY = {"policy": "r.policy", "plan": "r.plan_hash", "project": "r.project", "run": "r.id"}

_BASE = """
WITH base AS (
    SELECT {key} AS grp, r.task AS task, r.cost_nano AS cost, r.unpriced AS unpriced, r.latency_ms AS ms,
        {quality} AS quality
    FROM runs r LEFT JOIN scores s ON s.run_id = r.id WHERE {where} AND r.status IN {ended}
), known AS MATERIALIZED (SELECT * FROM base WHERE unpriced = 0 AND quality IS NOT NULL)
"""
_POINTS = """
SELECT grp, COUNT(*) AS n, MAX(cost_mean) AS cost, MAX(quality_mean) AS quality,
    SUM((cost - cost_mean) * (cost - cost_mean)) AS cost_squares,
    SUM((quality - quality_mean) * (quality - quality_mean)) AS quality_squares,
    AVG(CASE WHEN place IN ((timed + 1) / 2, (timed + 2) / 2) THEN ms END) AS ms
FROM (
    SELECT grp, cost, quality, ms, AVG(cost * 1.0) OVER (PARTITION BY grp) AS cost_mean,
        AVG(quality) OVER (PARTITION BY grp) AS quality_mean, COUNT(ms) OVER (PARTITION BY grp) AS timed,
        ROW_NUMBER() OVER (PARTITION BY grp ORDER BY ms IS NULL, ms) AS place
    FROM known
) AS placed GROUP BY grp
"""
_RUNS = "SELECT grp, 1 AS n, cost, quality, 0 AS cost_squares, 0 AS quality_squares, ms FROM known"
_MISSING = """
SELECT COUNT(*) AS runs, SUM(CASE WHEN quality IS NULL THEN 1 ELSE 0 END) AS no_quality,
    SUM(CASE WHEN unpriced > 0 THEN 1 ELSE 0 END) AS unpriced FROM base
"""
_SHARED = """
SELECT COUNT(*) AS tasks, SUM(CASE WHEN held = ? THEN 1 ELSE 0 END) AS shared
FROM (SELECT COUNT(DISTINCT COALESCE(grp, '')) AS held FROM known GROUP BY task) AS by_task
"""
_UNPRICED = "SELECT grp, COUNT(*) AS n FROM base WHERE unpriced > 0 GROUP BY grp"

_T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""0.975 quantiles of Student's t for 1 to 30 degrees of freedom; beyond that 1.96 is right to 4 %."""


def pareto(connection: Connection, wanted: RunFilter, *, group: By, quality: Quality) -> dict[str, Any]:
    """Return `{"points", "frontier", "scale", "missing", "left_out"}`, the points by rising price.

    At most `_MOST` points are shown besides the front: those of most runs, of single runs the latest.
    """
    where, values = wanted.where()
    key = _KEY.get(group) or _TOOLS[connection.dialect.name]
    base, plain = (
        _BASE.format(key=of, quality=_QUALITY[quality], where=where, ended=_ENDED) for of in (key, "r.policy")
    )
    rows = query(connection, base + (_RUNS if group == "run" else _POINTS), *values)
    best = front(rows, lambda row: (float(row.cost), -float(row.quality)))
    on_front = {row.grp for row in best}
    rest = [row for row in rows if row.grp not in on_front]
    rest.sort(key=lambda row: (row.n, row.grp or ""), reverse=True)
    shown = sorted([*best, *rest[:_MOST]], key=lambda row: (row.cost, -row.quality, row.grp or ""))
    unpriced = {} if group == "run" else {row.grp: int(row.n) for row in query(connection, base + _UNPRICED, *values)}
    labels = _labels(connection, group, [row.grp for row in shown])
    missing = query(connection, plain + _MISSING, *values)[0]
    left_out = len(rows) - len(shown)
    apart = group in _CHOICES and len(rows) > 1
    alike = query(connection, base + _SHARED, *values, len(rows))[0] if apart else None
    return {
        "group": group, "quality": quality,
        "points": [
            {
                "key": row.grp or "", "id": row.grp or "",
                "label": labels.get(row.grp, row.grp or "no tool"), "n": int(row.n),
                "cost": _cost(row), "quality": _quality(row),
                "latency_p50": None if row.ms is None else round(float(row.ms), 3),
                "unpriced_runs": unpriced.get(row.grp, 0), "frontier": row.grp in on_front,
                "front": "on the front" if row.grp in on_front else "dominated",
                "filter": _filter(group, row.grp),
            }
            for row in shown
        ],
        "frontier": [row.grp or "" for row in best],
        "scale": usd(_scale(rows)),
        "missing": {
            "runs": int(missing.runs), "no_quality": int(missing.no_quality or 0),
            "unpriced": int(missing.unpriced or 0),
        },
        "left_out": left_out, "note": _uneven(alike) + _note(missing, left_out),
    }  # fmt: skip


def _uneven(alike: Any) -> str:
    """A warning where the points did not have the same tasks, since then the tasks may be what differs."""
    if alike is None or alike.shared == alike.tasks:
        return ""
    return (
        f"These points did not do the same work: {alike.shared or 0:,} of {alike.tasks:,} tasks are in every point. "
        "Easy tasks look like a good choice; one project, or scores of the same tasks, compare like with like. "
    )


def _note(missing: Any, left_out: int) -> str:
    """What a reader of the chart must know."""
    less = f" {left_out:,} dominated points are left out." if left_out else ""
    return (
        f"Of {missing.runs:,} ended runs {missing.no_quality or 0:,} have no known quality and "
        f"{missing.unpriced or 0:,} a row without a price; they are in no point.{less} Whiskers: 95 % confidence "
        "(Student), none for one run. Larger is slower."
    )


def _scale(rows: Sequence[Any]) -> int | None:
    """The price of the cheapest point about as good as the best one, None without points."""
    if not rows:
        return None
    best = max(float(row.quality) for row in rows)
    return round(min(float(row.cost) for row in rows if row.quality >= best - AS_GOOD)) or 1


def _cost(row: Any) -> dict[str, Any]:
    spread = _spread(row.n, row.cost_squares)
    low, high = (None, None) if spread is None else (max(0.0, row.cost - spread), row.cost + spread)
    return {name: None if v is None else usd(round(v)) for name, v in (("mean", row.cost), ("lo", low), ("hi", high))}


def _quality(row: Any) -> dict[str, Any]:
    spread = _spread(row.n, row.quality_squares)
    low, high = (None, None) if spread is None else (max(0.0, row.quality - spread), min(1.0, row.quality + spread))
    return {"mean": row.quality, "lo": low, "hi": high}


def _spread(n: int, squares: float) -> float | None:
    """Half the width of the interval."""
    if n < 2:
        return None
    return (_T95[n - 2] if n - 2 < len(_T95) else 1.96) * math.sqrt(max(0.0, float(squares)) / (n - 1) / n)


def _filter(group: By, key: str | None) -> dict[str, str]:
    """Parameters of the list of runs that lead to the runs of a point."""
    name = {"policy": "policy", "plan": "plan", "project": "project", "run": "q", "tools": "tool"}[group]
    return {} if key is None else {name: key}


def _labels(connection: Connection, group: By, keys: Sequence[str]) -> dict[str, str]:
    """What people call the points; those not named are called by their key."""
    if group == "plan":
        return {key: _plan_label(key, queries.plan_source(connection, key)) for key in keys}
    if group != "run":
        return {}
    found: dict[str, str] = {}
    for start in range(0, len(keys), 500):
        part = keys[start : start + 500]
        rows = query(connection, f"SELECT id, task FROM runs WHERE id IN ({', '.join('?' * len(part))})", *part)
        found |= {row.id: f"{clip(row.task, 60)} ({row.id[-6:]})" for row in rows}
    return found


def _plan_label(digest: str, source: str) -> str:
    plan = view(parse(source))
    steps = sum(node.kind == "step" for node in plan.nodes)
    return f"{clip(plan.title, 50)} {digest[:8]}, {steps} steps"
