"""What happened of late against what happened before, and what waits for somebody.

previous period │ this period │ now          each `window_s` long; figures of runs count for when they were created
"""

import time
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection

from catp.dashboard.actions import approval_json
from catp.dashboard.forms import iso, usd
from catp.dashboard.read.budgets import budgets
from catp.dashboard.read.month import days_spent, month
from catp.dashboard.read.period import Period, compared, period
from catp.runtime.periods import period_start
from catp.store.approvals import pending
from catp.store.ownership import alive
from catp.store.statements import query

__all__ = ["overview"]

_HOW = {
    "spent": "Ledger rows of calls that started in the period; those without a price are in no sum.",
    "month": "In UTC. The forecast draws each coming day from those of the last four weeks, 1,000 times; p50 is the "
    "median. If a call has no price, nobody knows the end, only what it is at least.",
    "success": "Complete runs among those that were complete, degraded or failed.",
    "quality": "Mean of the scores that people or judges gave, of runs of the period.",
    "mean_cost": "Mean over runs that ended by themselves and whose calls all have a price.",
    "p50_ms": "Half of the runs that ended by themselves took no longer.",
    "deadlines": "Complete in time, among runs that ended by themselves and had a deadline.",
}
_CAUSES = 5
_NEEDS = 100
_WAITING = 20


def overview(connection: Connection, window_s: float, now_ns: int | None = None) -> dict[str, Any]:
    """Return the last `window_s` seconds compared with as many before them, failures, budgets and what needs somebody.

    `spend.amount` sums ledger rows (`unpriced` of them have no price and are not in it). `spend.month` is this
    calendar month in UTC with a forecast of its end, see `catp.dashboard.read.month`. `deadlines` are runs that had
    one: `met` of them were complete in time.
    """
    now = time.time_ns() if now_ns is None else now_ns
    span = round(window_s * 1e9)
    this, last = period(connection, now - span, now + 1), period(connection, now - 2 * span, now - span)
    spent, before = _spent(connection, now - span, now + 1), _spent(connection, now - 2 * span, now - span)
    standing = budgets(connection, now)
    today = period_start("day", now)
    days = days_spent(connection, now, 14)
    return {
        "window_s": window_s, "from": iso(now - span), "to": iso(now),
        "runs": dict(sorted(this.statuses.items(), key=lambda pair: (-pair[1], pair[0]))),
        "spend": {
            "amount": usd(spent[0]), "unpriced": spent[1], "before": usd(before[0]), "before_unpriced": before[1],
            "today": usd(next(amount for day, amount in days if day == today)), "month": month(connection, now),
            "days": [{"day": day, "amount": usd(amount)} for day, amount in days],
        },
        "compared": compared(this, last),
        "deadlines": {"with": this.with_deadline, "met": this.met, **_share(this, last)},
        "failures": _failures(connection, now - span),
        "budgets": sorted(standing, key=lambda one: -one["share"])[:_CAUSES],
        "needs_you": [*_approvals(connection, now), *_budget_warnings(standing), *_unpriced(connection, now - span),
                      *_interrupted(connection)],
        "how": _HOW, "empty": not query(connection, "SELECT 1 FROM runs LIMIT 1"),
    }  # fmt: skip


def _share(this: Period, last: Period) -> dict[str, float | None]:
    return {"share": this.attained, "before": last.attained}


def _spent(connection: Connection, from_ns: int, until_ns: int) -> tuple[int, int]:
    """The sum of the ledger rows of calls that started in between, and how many of them have no price."""
    row = query(
        connection, "SELECT COALESCE(SUM(amount_nano), 0) AS n, COUNT(*) - COUNT(amount_nano) AS unpriced FROM costs "
        "WHERE ts_ns >= ? AND ts_ns < ?", from_ns, until_ns,
    )[0]  # fmt: skip
    return int(row.n), int(row.unpriced)


def _failures(connection: Connection, from_ns: int) -> list[dict[str, Any]]:
    """The most frequent ways in which calls failed (not those that were stopped), or steps were refused, with a run."""
    rows = query(
        connection, "SELECT tool, error_type AS cause, COUNT(*) AS n, COUNT(DISTINCT run_id) AS runs, "
        "MAX(run_id) AS sample, MAX(reason) AS reason FROM calls WHERE started_ns >= ? AND error_type IS NOT NULL "
        "AND outcome <> 'cancelled' "
        "GROUP BY tool, error_type", from_ns,
    )  # fmt: skip
    rows = [*rows, *query(
        connection, "SELECT s.tool, 'Refused' AS cause, COUNT(*) AS n, COUNT(DISTINCT s.run_id) AS runs, "
        "MAX(s.run_id) AS sample, MAX(s.reason) AS reason FROM steps s JOIN runs r ON r.id = s.run_id "
        "WHERE s.status = 'refused' AND r.created_ns >= ? GROUP BY s.tool", from_ns,
    )]  # fmt: skip
    most = sorted(rows, key=lambda row: (-row.n, row.cause, row.tool or ""))[:_CAUSES]
    return [
        {"type": row.cause, "tool": row.tool, "count": int(row.n), "runs": int(row.runs), "sample_run": row.sample,
         "reason": row.reason}
        for row in most
    ]  # fmt: skip


def _need(kind: str, says: str, more: str, to: str, at: str | None = None, **rest: Any) -> dict[str, Any]:
    """`says` and `more` are one sentence, of which the first half leads to a page; `at` is since when."""
    return {"kind": kind, "says": says, "more": more, "to": to, "at": at, **rest}


def _approvals(connection: Connection, now_ns: int) -> list[dict[str, Any]]:
    found = []
    for one in pending(connection, now_ns=now_ns)[:_NEEDS]:
        told = approval_json(one)
        most = "" if told["cap"] is None else f"of up to ${told['cap']}"
        says = f"{one.step or 'A plan'} waits for approval"
        found.append(_need("approval", says, most, f"runs/{one.run_id}", told["requested"], **told))
    return found


def _budget_warnings(standing: list[dict[str, Any]]) -> list[dict[str, Any]]:
    keys = ("id", "title", "spent", "limit", "share", "state", "runs_out")
    found = []
    for one in standing:
        if one["state"] != "ok":
            ends = (one["runs_out"] or {}).get("p50")
            more = f"of ${one['limit']}" + (f"; it runs out on {ends}" if ends else "")
            told = {key: one[key] for key in keys}
            found.append(_need("budget", f"{one['title']} is {100 * one['share']:.0f} % spent", more, "spend", **told))
    return found


def _unpriced(connection: Connection, from_ns: int) -> list[dict[str, Any]]:
    rows = query(
        connection, "SELECT tool, COUNT(*) AS n, MAX(run_id) AS sample FROM costs WHERE ts_ns >= ? "
        "AND amount_nano IS NULL GROUP BY tool ORDER BY COUNT(*) DESC, tool", from_ns,
    )  # fmt: skip
    return [
        _need(
            "unpriced", f"{row.tool} has no price", f"({row.n} {'row is' if row.n == 1 else 'rows are'} in no sum)",
            f"tools/{quote(row.tool, '')}", tool=row.tool, rows=int(row.n), sample_run=row.sample,
        )
        for row in rows
    ]  # fmt: skip


def _interrupted(connection: Connection) -> list[dict[str, Any]]:
    """The latest runs that nobody drives although they have not ended, however old."""
    rows = query(
        connection, "SELECT id, task, created_ns, owner, heartbeat_ns FROM runs WHERE status = 'running' "
        "ORDER BY id DESC LIMIT ?", _NEEDS,
    )  # fmt: skip
    left = [row for row in rows if not alive(row.owner, row.heartbeat_ns)][:_WAITING]
    return [
        _need("interrupted", row.task or row.id, "was interrupted", f"runs/{row.id}", iso(row.created_ns), run=row.id)
        for row in left
    ]
