"""Spend by day, and whether it adds up: the sum of the series is the sum of the ledger rows."""

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection

from catp.dashboard.forms import usd
from catp.store.statements import query

__all__ = ["Group", "spend"]

Group = Literal["tool", "policy", "project"]
_PLANNING = "(planning)"


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
