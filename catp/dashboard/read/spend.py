"""Spend over time, and whether it adds up: the sum of the series is the sum of the ledger rows."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection

from catp.dashboard.forms import usd
from catp.dashboard.read.span import before, bounds, days_between, length
from catp.dashboard.read.unit_costs import unit_costs
from catp.runtime.periods import period_start
from catp.runtime.planning import PLANNING_STEP
from catp.store.statements import query

__all__ = ["Bucket", "Group", "spend"]

Group = Literal["tool", "policy", "project", "agent"]
Bucket = Literal["day", "hour"]

_PLANNING, _PRUNED = "(planning)", "(runs no longer kept)"
_HOURS_AT_MOST = 7
_HOUR_NS = 3_600 * 10**9
_COLUMN = {"policy": "r.policy", "project": "r.project", "agent": "r.agent"}


class _Cells(NamedTuple):
    """Amounts in nano-USD by bucket and name; why the buckets are not the ones that were asked for."""

    bucket: Bucket
    amounts: Mapping[tuple[str, str], int]
    note: str | None = None


def spend(connection: Connection, group: Group, since: str, until: str, bucket: Bucket = "day") -> dict[str, Any]:
    """Return spend by day or hour and tool, policy, project or agent; `total` is the sum of the series.

    `ledger_total` is the sum of the ledger rows of the same days, `pruned` what runs that are no longer kept had spent:
    total = ledger_total + pruned, else `difference` says by how much they differ. Rows without a known price are in no
    sum; `unpriced` counts them. Planning belongs to no tool and is a series of its own there. `previous` is the span of
    as many days before this one.

    Daily sums keep neither the agent nor the hour. These come from the ledger, so runs that are no longer kept are a
    series of their own by agent, and there are hours only up to seven days of which everything is kept.
    """
    pruned = _rolled(connection, since, until, "pruned = TRUE" if _postgres(connection) else "pruned")
    cells = _cells(connection, group, since, until, bucket, pruned)
    ledger, unpriced = _ledger(connection, since, until)
    total = sum(cells.amounts.values())
    earlier = before(since, until)
    previous = sum(_rolled(connection, *earlier).values())
    buckets = _axis(cells)
    whole: dict[str, int] = defaultdict(int)
    names: dict[str, int] = defaultdict(int)
    for (at, name), amount in cells.amounts.items():
        whole[at] += amount
        names[name] += amount
    running, cumulative = 0, list[str | None]()
    for at in buckets:
        running += whole[at]
        cumulative.append(usd(running))
    return {
        "bucket": cells.bucket, "note": cells.note, "group": group, "from": since, "to": until, "buckets": buckets,
        "series": [
            {
                "key": name, "total": usd(names[name]),
                "values": [usd(cells.amounts.get((at, name), 0)) for at in buckets],
            }
            for name in sorted(names, key=lambda name: (-names[name], name))
        ],
        "totals": [usd(whole[at]) for at in buckets], "cumulative": cumulative,
        "total": usd(total), "ledger_total": usd(ledger), "pruned": usd(sum(pruned.values())),
        "difference": usd(total - ledger - sum(pruned.values())), "unpriced": unpriced,
        "previous": {
            "from": earlier[0], "to": earlier[1], "total": usd(previous), "delta": usd(total - previous),
            "share": (total - previous) / previous if previous else None,
        },
        "per": unit_costs(connection, since, until, total),
    }  # fmt: skip


def _postgres(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"


def _rolled(connection: Connection, since: str, until: str, more: str = "1 = 1") -> dict[str, int]:
    """The sum of every day; that of policies holds planning as well."""
    rows = query(
        connection, "SELECT day, SUM(cost_nano) AS cost FROM rollup_day WHERE kind = 'policy' AND day >= ? "
        f"AND day <= ? AND {more} GROUP BY day", since, until,
    )  # fmt: skip
    return {row.day: int(row.cost) for row in rows}


def _ledger(connection: Connection, since: str, until: str) -> tuple[int, int]:
    """The sum of the ledger rows, and how many have no price."""
    row = query(
        connection, "SELECT COALESCE(SUM(amount_nano), 0) AS n, COUNT(*) - COUNT(amount_nano) AS unpriced FROM costs "
        "WHERE ts_ns >= ? AND ts_ns < ?", *bounds(since, until),
    )[0]  # fmt: skip
    return int(row.n), int(row.unpriced)


# --- what the series are made of ------------------------------------------------------------------------------------


def _cells(
    connection: Connection, group: Group, since: str, until: str, bucket: Bucket, pruned: Mapping[str, int]
) -> _Cells:
    note = None
    if bucket == "hour":
        if length(since, until) > _HOURS_AT_MOST:
            note = f"by day: hours are shown for up to {_HOURS_AT_MOST} days"
        elif any(pruned.values()):
            note = "by day: runs that are no longer kept left only daily sums"
        else:
            return _Cells("hour", _from_ledger(connection, group, since, until, _HOUR_NS))
    if group != "agent":
        return _Cells("day", _from_days(connection, group, since, until), note)
    cells = _from_ledger(connection, group, since, until, 24 * _HOUR_NS)
    return _Cells("day", {**cells, **{(day, _PRUNED): cost for day, cost in pruned.items() if cost}}, note)


def _from_days(connection: Connection, group: Group, since: str, until: str) -> dict[tuple[str, str], int]:
    column = "project" if group == "project" else "name"
    rows = query(
        connection, f"SELECT day, {column} AS name, SUM(cost_nano) AS cost FROM rollup_day WHERE kind = ? AND day >= ? "
        f"AND day <= ? GROUP BY day, {column}", "tool" if group == "tool" else "policy", since, until,
    )  # fmt: skip
    cells = {(row.day, row.name): int(row.cost) for row in rows}
    if group == "tool":
        tools: dict[str, int] = defaultdict(int)
        for (day, _), cost in cells.items():
            tools[day] += cost
        for day, cost in _rolled(connection, since, until).items():
            if cost != tools[day]:
                cells[day, _PLANNING] = cost - tools[day]
    return cells


def _from_ledger(connection: Connection, group: Group, since: str, until: str, step: int) -> dict[tuple[str, str], int]:
    name = _COLUMN.get(group, f"CASE WHEN c.step = '{PLANNING_STEP}' THEN '{_PLANNING}' ELSE c.tool END")
    rows = query(
        connection, f"SELECT c.ts_ns / {step} AS place, {name} AS name, SUM(c.amount_nano) AS cost FROM costs c "
        "JOIN runs r ON r.id = c.run_id WHERE c.ts_ns >= ? AND c.ts_ns < ? AND c.amount_nano IS NOT NULL "
        "GROUP BY 1, 2", *bounds(since, until),
    )  # fmt: skip
    return {(_label(int(row.place) * step, step), row.name or "(no name)"): int(row.cost) for row in rows}


def _label(at_ns: int, step: int) -> str:
    day = period_start("day", at_ns)
    return day if step != _HOUR_NS else f"{day}T{at_ns // _HOUR_NS % 24:02d}:00Z"


def _axis(cells: _Cells) -> list[str]:
    """Every day or hour from the first to the last with spend."""
    seen = sorted({at for at, _ in cells.amounts})
    if not seen:
        return []
    days = days_between(seen[0][:10], seen[-1][:10])
    if cells.bucket == "day":
        return days
    hours = [f"{day}T{hour:02d}:00Z" for day in days for hour in range(24)]
    return [hour for hour in hours if seen[0] <= hour <= seen[-1]]
