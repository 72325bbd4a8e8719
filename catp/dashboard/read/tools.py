"""What tools cost, how long they take and how often they fail, over days."""

from typing import Any

from sqlalchemy import Connection

from catp.dashboard.forms import usd
from catp.store.rollups import leaderboard

__all__ = ["tools"]


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
