"""What happened of late, and what waits for somebody."""

import time
from typing import Any

from sqlalchemy import Connection

from catp.dashboard.actions import approval_json
from catp.dashboard.forms import usd
from catp.dashboard.read.runs import RunFilter, facets
from catp.store.approvals import pending
from catp.store.statements import query

__all__ = ["overview"]


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
