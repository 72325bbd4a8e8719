"""What tools cost, how long they take, how often they fail and what they are good for, over days."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from catp.dashboard.forms import known, usd
from catp.dashboard.read.span import bounds
from catp.dashboard.read.tool_calls import Call, latest, paid, quantile
from catp.dashboard.read.tool_use import ToolUse, uses
from catp.store.rollups import LeaderRow, leaderboard

__all__ = ["bias", "tool_row", "tools"]

_SAMPLE = 500


def tools(connection: Connection, since: str, until: str) -> dict[str, Any]:
    """Return tools by falling cost over the days `since` to `until` (ISO dates, both included).

    Counts, sums and times are of all calls. `price` and `timeout` are of the latest 500 calls of each tool (`sample`),
    use, frontier and quality of the latest 2,000 runs (`runs`, of which `frontier_runs` are on a frontier).
    """
    first, last = bounds(since, until)
    found = uses(connection, first, last)
    rows = leaderboard(connection, "tool", since=since, until=until)
    nobody = ToolUse(0.0 if found.runs else None, 0.0 if found.frontier else None, None)
    return {
        "items": [
            tool_row(row, latest(connection, row.name, first, last, _SAMPLE), found.tools.get(row.name, nobody))
            for row in rows
        ],
        "runs": found.runs, "frontier_runs": found.frontier,
    }  # fmt: skip


def tool_row(row: LeaderRow, calls: Sequence[Call], use: ToolUse) -> dict[str, Any]:
    """Return a tool as the leaderboard shows it; `calls` are its latest ones."""
    made = paid(calls)
    told = [call for call in made if call.cost is not None and call.estimate is not None]
    return {
        "name": row.name, "n": row.n, "ok": row.ok, "cached": row.cached, "cost": known(row.cost, row.unpriced),
        "saved": usd(row.saved), "unpriced": row.unpriced, "priced": row.unpriced == 0,
        "fail": (row.n - row.ok) / row.n if row.n else None,
        "timeout": sum(call.outcome == "timeout" for call in calls) / len(calls) if calls else None,
        "cache_hit": row.cached / row.n if row.n else None,
        "mean_ms": row.mean_ms, "p50_ms": row.p50_ms, "p95_ms": row.p95_ms, "p99_ms": row.p99_ms,
        "price": {
            "p50": usd(quantile((call.cost for call in made), 0.5)),
            "est_p50": usd(quantile((call.estimate for call in told), 0.5)),
            "bias": bias((call.estimate, call.cost) for call in told),
        },
        "sample": len(calls), "use": use.share, "frontier": use.frontier_share,
        "quality": None if use.quality is None else use.quality._asdict(),
    }  # fmt: skip


def bias(pairs: Any) -> float | None:
    """Return by how much estimates are too low: sum of what was / sum of what was said - 1, over (said, was).

    None if nothing was said, or only 0: then there is no share of it.
    """
    said = was = 0.0
    for estimate, actual in pairs:
        said += estimate
        was += actual
    return was / said - 1 if said else None
