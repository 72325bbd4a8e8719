"""Spend over time, and whether it adds up: the sum of the series is the sum of the ledger rows."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from itertools import accumulate
from typing import Any, Literal, NamedTuple, TypeAlias

from sqlalchemy import Connection

from catp.dashboard.forms import known, usd
from catp.dashboard.read.span import before, bounds, days_between, length
from catp.dashboard.read.unit_costs import unit_costs
from catp.runtime.periods import period_start
from catp.runtime.planning import PLANNING_STEP
from catp.store.statements import query

__all__ = ["Bucket", "Group", "spend"]

Group = Literal["tool", "policy", "project", "agent"]
Bucket = Literal["day", "hour"]

_PLANNING, _PRUNED, _NAMELESS = "(planning)", "(runs no longer kept)", "(no name)"
_HOURS_AT_MOST = 7
_COLOURS = 8  # that a reader tells apart in one chart
_HOUR_NS = 3_600 * 10**9
_COLUMN = {"policy": "r.policy", "project": "r.project", "agent": "r.agent"}


class _Sum(NamedTuple):
    """An amount in nano-USD, and how many ledger rows without a price are not in it."""

    nano: int = 0
    unpriced: int = 0

    def plus(self, other: "_Sum") -> "_Sum":
        """Return both together."""
        return _Sum(self.nano + other.nano, self.unpriced + other.unpriced)

    def shown(self) -> str | None:
        """Return it as a decimal string, None if it is all unknown."""
        return known(self.nano, self.unpriced)


_Sums: TypeAlias = Mapping[tuple[str, str], _Sum]
"""By bucket and name."""


class _Cells(NamedTuple):
    """What the series are made of; why the buckets are not the ones that were asked for."""

    bucket: Bucket
    sums: _Sums
    note: str | None = None


def spend(connection: Connection, group: Group, since: str, until: str, bucket: Bucket = "day") -> dict[str, Any]:
    """Return spend by day or hour and tool, policy, project or agent; `total` is the sum of the series.

    `ledger_total` is the sum of the ledger rows of the same days, `pruned` what runs that are no longer kept had spent:
    total = ledger_total + pruned, else `difference` says by how much they differ. Rows without a known price are in no
    sum; `unpriced` counts them. Planning belongs to no tool and is a series of its own there. `previous` is the span of
    as many days before this one. `chart` is the series with the smallest in one, if there are more than colours.

    Daily sums keep neither the agent nor the hour. These come from the ledger, so runs that are no longer kept are a
    series of their own by agent, and there are hours only up to seven days of which everything is kept.
    """
    pruned = _rolled(connection, since, until, "pruned")
    gone = sum(one.nano for one in pruned.values())
    cells = _cells(connection, group, since, until, bucket, pruned)
    ledger, unpriced = _ledger(connection, since, until)
    total = sum(one.nano for one in cells.sums.values())
    earlier = before(since, until)
    previous = sum(one.nano for one in _rolled(connection, *earlier).values())
    whole: dict[str, _Sum] = defaultdict(_Sum)
    names: dict[str, _Sum] = defaultdict(_Sum)
    for (at, name), one in cells.sums.items():
        whole[at] = whole[at].plus(one)
        names[name] = names[name].plus(one)
    buckets = _axis(cells)
    order = sorted(names, key=lambda name: (-names[name].nano, name))
    series = [_series(name, [name], cells.sums, names, buckets) for name in order]
    rest = order[_COLOURS - 1 :] if len(order) > _COLOURS else []
    others = [_series(f"({len(rest)} others)", rest, cells.sums, names, buckets)] if rest else []
    return {
        "bucket": cells.bucket, "note": cells.note, "group": group, "from": since, "to": until, "buckets": buckets,
        "series": series, "chart": series[: len(order) - len(rest)] + others,
        "totals": [whole[at].shown() for at in buckets],
        "cumulative": [usd(nano) for nano in accumulate(whole[at].nano for at in buckets)],
        "total": usd(total), "ledger_total": usd(ledger), "pruned": usd(gone), "difference": usd(total - ledger - gone),
        "unpriced": unpriced,
        "previous": {
            "from": earlier[0], "to": earlier[1], "total": usd(previous), "delta": usd(total - previous),
            "share": (total - previous) / previous if previous else None,
        },
        "per": unit_costs(connection, since, until, total),
    }  # fmt: skip


def _series(
    key: str, of: Sequence[str], sums: _Sums, totals: Mapping[str, _Sum], buckets: Sequence[str]
) -> dict[str, Any]:
    """What some names spent together, bucket by bucket."""
    total = _together(totals[name] for name in of)
    return {
        "key": key, "total": total.shown(), "unpriced": total.unpriced,
        "values": [_together(sums.get((at, name), _Sum()) for name in of).shown() for at in buckets],
    }  # fmt: skip


def _together(sums: Iterable[_Sum]) -> _Sum:
    return reduce(_Sum.plus, sums, _Sum())


def _rolled(connection: Connection, since: str, until: str, more: str = "1 = 1") -> dict[str, _Sum]:
    """The sum of every day; that of policies holds planning as well."""
    rows = query(
        connection, "SELECT day, SUM(cost_nano) AS cost, SUM(unpriced) AS unpriced FROM rollup_day "
        f"WHERE kind = 'policy' AND day >= ? AND day <= ? AND {more} GROUP BY day", since, until,
    )  # fmt: skip
    return {row.day: _Sum(int(row.cost), int(row.unpriced)) for row in rows}


def _ledger(connection: Connection, since: str, until: str) -> tuple[int, int]:
    """The sum of the ledger rows, and how many have no price."""
    row = query(
        connection, "SELECT COALESCE(SUM(amount_nano), 0) AS n, COUNT(*) - COUNT(amount_nano) AS unpriced FROM costs "
        "WHERE ts_ns >= ? AND ts_ns < ?", *bounds(since, until),
    )[0]  # fmt: skip
    return int(row.n), int(row.unpriced)


# --- what the series are made of ------------------------------------------------------------------------------------


def _cells(
    connection: Connection, group: Group, since: str, until: str, bucket: Bucket, pruned: Mapping[str, _Sum]
) -> _Cells:
    note = None
    if bucket == "hour":
        if length(since, until) > _HOURS_AT_MOST:
            note = f"by day: hours are shown for up to {_HOURS_AT_MOST} days"
        elif pruned:
            note = "by day: runs that are no longer kept left only daily sums"
        else:
            return _Cells("hour", _from_ledger(connection, group, since, until, _HOUR_NS))
    if group != "agent":
        return _Cells("day", _from_days(connection, group, since, until), note)
    kept = _from_ledger(connection, group, since, until, 24 * _HOUR_NS)
    return _Cells("day", {**kept, **{(day, _PRUNED): one for day, one in pruned.items() if any(one)}}, note)


def _from_days(connection: Connection, group: Group, since: str, until: str) -> _Sums:
    column = "project" if group == "project" else "name"
    rows = query(
        connection, f"SELECT day, {column} AS name, SUM(cost_nano) AS cost, SUM(unpriced) AS unpriced FROM rollup_day "
        f"WHERE kind = ? AND day >= ? AND day <= ? GROUP BY day, {column}",
        "tool" if group == "tool" else "policy", since, until,
    )  # fmt: skip
    sums = {(row.day, row.name): _Sum(int(row.cost), int(row.unpriced)) for row in rows}
    if group == "tool":
        tools: dict[str, _Sum] = defaultdict(_Sum)
        for (day, _), one in sums.items():
            tools[day] = tools[day].plus(one)
        for day, one in _rolled(connection, since, until).items():
            if one != tools[day]:
                sums[day, _PLANNING] = _Sum(one.nano - tools[day].nano, one.unpriced - tools[day].unpriced)
    return sums


def _from_ledger(connection: Connection, group: Group, since: str, until: str, step: int) -> _Sums:
    name = _COLUMN.get(group, f"CASE WHEN c.step = '{PLANNING_STEP}' THEN '{_PLANNING}' ELSE c.tool END")
    rows = query(
        connection, f"SELECT c.ts_ns / {step} AS place, {name} AS name, COALESCE(SUM(c.amount_nano), 0) AS cost, "
        "COUNT(*) - COUNT(c.amount_nano) AS unpriced FROM costs c JOIN runs r ON r.id = c.run_id "
        "WHERE c.ts_ns >= ? AND c.ts_ns < ? GROUP BY 1, 2", *bounds(since, until),
    )  # fmt: skip
    return {
        (_label(int(row.place) * step, step), row.name or _NAMELESS): _Sum(int(row.cost), int(row.unpriced))
        for row in rows
    }


def _label(at_ns: int, step: int) -> str:
    day = period_start("day", at_ns)
    return day if step != _HOUR_NS else f"{day}T{at_ns // _HOUR_NS % 24:02d}:00Z"


def _axis(cells: _Cells) -> list[str]:
    """Every day or hour from the first to the last with spend."""
    seen = sorted({at for at, one in cells.sums if any(cells.sums[at, one])})
    if not seen:
        return []
    days = days_between(seen[0][:10], seen[-1][:10])
    if cells.bucket == "day":
        return days
    hours = [f"{day}T{hour:02d}:00Z" for day in days for hour in range(24)]
    return [hour for hour in hours if seen[0] <= hour <= seen[-1]]
