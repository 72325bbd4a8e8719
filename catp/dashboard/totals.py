"""Sums over many runs: tools, spend by day, and what needs somebody. Functions of a connection."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection

from catp.dashboard.actions import approval_json
from catp.dashboard.forms import usd
from catp.dashboard.runs import RunFilter, facets
from catp.store.approvals import pending
from catp.store.rollups import leaderboard
from catp.store.statements import query

__all__ = ["Group", "overview", "spend", "tools"]

Group = Literal["tool", "policy", "project"]
_PLANNING = "(planning)"


def tools(connection: Connection, since: str, until: str) -> dict[str, Any]:
    """Return tools by falling cost over the days `since` to `until` (ISO dates, both included)."""
    return {
        "items": [
            {
                "name": row.name, "n": row.n, "ok": row.ok, "cached": row.cached, "cost": usd(row.cost),
                "saved": usd(row.saved), "unpriced": row.unpriced, "priced": row.unpriced == 0,
                "fail": (row.n - row.ok) / row.n if row.n else None, "mean_ms": row.mean_ms, "p50_ms": row.p50_ms,
                "p95_ms": row.p95_ms, "p99_ms": row.p99_ms,
            }
            for row in leaderboard(connection, "tool", since=since, until=until)
        ]
    }  # fmt: skip


def spend(connection: Connection, group: Group, since: str, until: str) -> dict[str, Any]:
    """Return spend by day and tool, policy or project; `total` is the sum of the series.

    `ledger_total` is the sum of the ledger rows of the same days, `pruned` what runs that are no longer kept had spent:
    total = ledger_total + pruned. Planning belongs to no tool and is a series of its own there.
    """
    column = "project" if group == "project" else "name"
    kind = "tool" if group == "tool" else "policy"
    chosen = "SELECT day, {} AS name, SUM(cost_nano) AS cost FROM rollup_day WHERE kind = ? AND day >= ? AND day <= ?"
    rows = query(connection, f"{chosen.format(column)} GROUP BY day, {column}", kind, since, until)
    cells = {(row.day, row.name): int(row.cost) for row in rows}
    if group == "tool":
        for day, _, whole in query(connection, f"{chosen.format('day')} GROUP BY day", "policy", since, until):
            planning = int(whole) - sum(cost for (of, _), cost in cells.items() if of == day)
            if planning:
                cells[day, _PLANNING] = planning
    days = sorted({day for day, _ in cells})
    names = sorted({name for _, name in cells}, key=lambda n: (-sum(c for (_, of), c in cells.items() if of == n), n))
    first, last = _bounds(since, until)
    ledger = query(
        connection, "SELECT COALESCE(SUM(amount_nano), 0) AS n, COUNT(*) - COUNT(amount_nano) AS unpriced FROM costs "
        "WHERE ts_ns >= ? AND ts_ns < ?", first, last,
    )[0]  # fmt: skip
    pruned = query(
        connection, "SELECT COALESCE(SUM(cost_nano), 0) AS n FROM rollup_day WHERE kind = 'policy' AND pruned "
        "AND day >= ? AND day <= ?", since, until,
    )[0]  # fmt: skip
    return {
        "bucket": "day", "group": group, "buckets": days,
        "series": [{"key": name, "values": [usd(cells.get((day, name), 0)) for day in days]} for name in names],
        "total": usd(sum(cells.values())), "ledger_total": usd(ledger.n), "pruned": usd(pruned.n),
        "unpriced": int(ledger.unpriced),
    }  # fmt: skip


def _bounds(since: str, until: str) -> tuple[int, int]:
    first = datetime.fromisoformat(since).replace(tzinfo=UTC)
    last = datetime.fromisoformat(until).replace(tzinfo=UTC) + timedelta(days=1)
    return round(first.timestamp()) * 10**9, round(last.timestamp()) * 10**9


def overview(connection: Connection, window_s: float) -> dict[str, Any]:
    """Return what happened in the last `window_s` seconds, and what waits for somebody."""
    now_ns = time.time_ns()
    from_ns = now_ns - round(window_s * 1e9)
    counts = facets(connection, RunFilter(from_ns=from_ns))
    spent = query(
        connection, "SELECT COALESCE(SUM(amount_nano), 0) AS n, COUNT(*) - COUNT(amount_nano) AS unpriced FROM costs "
        "WHERE ts_ns >= ?", from_ns,
    )[0]  # fmt: skip
    failures = query(
        connection, "SELECT error_type, COUNT(*) AS n, MAX(run_id) AS sample FROM calls WHERE started_ns >= ? "
        "AND error_type IS NOT NULL GROUP BY error_type ORDER BY COUNT(*) DESC, error_type LIMIT 5", from_ns,
    )  # fmt: skip
    return {
        "window_s": window_s,
        "spend": {"amount": usd(spent.n), "unpriced": int(spent.unpriced)},
        "runs": dict(counts["status"]),
        "failures": [{"type": row.error_type, "count": int(row.n), "sample_run": row.sample} for row in failures],
        "needs_you": [
            {"kind": "approval", **approval_json(question)} for question in pending(connection, now_ns=now_ns)[:100]
        ],
    }  # fmt: skip
