"""What a run, a successful run, a point of quality and a thousand tokens cost over some days."""

import json
from typing import Any

from sqlalchemy import Connection

from catp.dashboard.forms import usd
from catp.dashboard.read.span import bounds
from catp.dashboard.read.tool_calls import versions
from catp.store.statements import query

__all__ = ["unit_costs"]

_CALLS = 500
_DIRECTIONS = ("tokens_in", "tokens_out")


def unit_costs(connection: Connection, since: str, until: str, total: int) -> dict[str, Any]:
    """Return unit costs of the days; amounts are None where there is nothing to divide by.

    run and ok: `total` (nano-USD) / runs created in these days, and those of them that ended complete. quality: cost of
    the runs with a known quality / points, a point being one hundredth of full quality: measured if any run has a
    measured one, else predicted. tokens: price of the calls whose usage says their tokens / thousands of tokens, read
    and written, over the latest 500 calls of each version of a tool.
    """
    runs = query(
        connection, "SELECT COALESCE(SUM(n), 0) AS n, COALESCE(SUM(ok), 0) AS ok FROM rollup_day "
        "WHERE kind = 'policy' AND day >= ? AND day <= ?", since, until,
    )[0]  # fmt: skip
    first, last = bounds(since, until)
    return {
        "run": _share(total, int(runs.n)), "ok": _share(total, int(runs.ok)),
        "quality": _quality(connection, first, last), "tokens": _tokens(connection, first, last),
    }  # fmt: skip


def _share(amount: int, n: int) -> dict[str, Any]:
    return {"amount": usd(round(amount / n)) if n else None, "n": n}


def _quality(connection: Connection, first: int, last: int) -> dict[str, Any]:
    scored = query(
        connection, "SELECT COALESCE(SUM(r.cost_nano), 0) AS cost, COUNT(*) AS n, SUM(s.value) AS quality FROM runs r "
        "JOIN scores s ON s.run_id = r.id WHERE r.created_ns >= ? AND r.created_ns < ?", first, last,
    )[0]  # fmt: skip
    source, row = "measured", scored
    if not scored.n:
        source = "predicted"
        row = query(
            connection, "SELECT COALESCE(SUM(cost_nano), 0) AS cost, COUNT(*) AS n, SUM(predicted_quality) AS quality "
            "FROM runs WHERE predicted_quality IS NOT NULL AND created_ns >= ? AND created_ns < ?", first, last,
        )[0]  # fmt: skip
    points = 100 * float(row.quality or 0)
    return {
        "amount": usd(round(int(row.cost) / points)) if points > 0 else None, "n": int(row.n), "points": points,
        "source": source if row.n else None,
    }  # fmt: skip


def _tokens(connection: Connection, first: int, last: int) -> dict[str, Any]:
    cost = calls = 0
    tokens = 0.0
    names = query(connection, "SELECT DISTINCT name FROM rollup_day WHERE kind = 'tool'")
    for tool, version in [(row.name, version) for row in names for version in versions(connection, row.name)]:
        for row in query(
            connection, "SELECT cost_nano, usage_json FROM calls WHERE tool = ? AND version = ? AND started_ns >= ? "
            "AND started_ns < ? ORDER BY started_ns DESC LIMIT ?", tool, version, first, last, _CALLS,
        ):  # fmt: skip
            if row.cost_nano is None or "tokens_" not in (row.usage_json or ""):
                continue
            units = json.loads(row.usage_json).get("units", {})
            found = sum(float(units.get(direction, 0)) for direction in _DIRECTIONS)
            if found > 0:
                cost, tokens, calls = cost + int(row.cost_nano), tokens + found, calls + 1
    return {"amount": usd(round(1000 * cost / tokens)) if tokens else None, "tokens": tokens, "calls": calls}
