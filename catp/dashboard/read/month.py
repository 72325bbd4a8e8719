"""Spending by day, and where the present month is heading."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from catp.dashboard.forms import iso, usd
from catp.dashboard.read.forecast import HISTORY_DAYS, forecast
from catp.dashboard.read.span import days_between
from catp.runtime.periods import period_end_ns, period_start
from catp.store.statements import query

__all__ = ["days_spent", "month"]

_DAY_NS = 86_400 * 10**9


def days_spent(connection: Connection, now_ns: int, days: int) -> list[tuple[str, int]]:
    """Return what was spent (nano-USD) on each of the last days in UTC, today last; runs no longer kept included."""
    first = str(datetime.fromtimestamp((now_ns - (days - 1) * _DAY_NS) / 1e9, UTC).date())
    rows = query(
        connection, "SELECT day, SUM(cost_nano) AS cost FROM rollup_day WHERE kind = 'policy' AND day >= ? "
        "GROUP BY day", first,
    )  # fmt: skip
    found = {row.day: int(row.cost) for row in rows}
    return [(day, found.get(day, 0)) for day in days_between(first, period_start("day", now_ns))]


def month(connection: Connection, now_ns: int) -> dict[str, Any]:
    """Return what this month (UTC) has cost so far and what it will have cost at its end.

    Method: `catp.dashboard.read.forecast` over the whole days of the last four weeks since the first run; nothing is
    foretold with less than three such days. If a ledger row of this month has no price, nobody knows where it ends:
    `forecast` is null then, and `at_least` what the priced calls come to (p50).
    """
    start, end_ns = period_start("month", now_ns), period_end_ns("month", now_ns)
    assert end_ns is not None
    past = days_spent(connection, now_ns, HISTORY_DAYS + 1)
    since = str(query(connection, "SELECT MIN(day) AS day FROM rollup_day")[0].day or past[-1][0])
    history = [amount for day, amount in past[:-1] if day >= since]
    spent = sum(amount for day, amount in days_spent(connection, now_ns, 31) if day >= start)
    begin_ns = round(datetime.fromisoformat(start).replace(tzinfo=UTC).timestamp()) * 10**9
    unpriced = int(query(
        connection, "SELECT COUNT(*) - COUNT(amount_nano) AS n FROM costs WHERE ts_ns >= ?", begin_ns
    )[0].n)  # fmt: skip
    ahead = len(days_between(period_start("day", now_ns), period_start("day", end_ns - 1)))
    cone = forecast(spent, history, 1 - now_ns % _DAY_NS / _DAY_NS, ahead)
    foretold = None if cone is None else {"p50": usd(cone.p50[-1]), "p90": usd(cone.p90[-1])}
    says = "no forecast yet"
    if cone is not None:
        rest = f" or more: {unpriced} unpriced" if unpriced else f", p90 {_short(cone.p90[-1])}"
        says = f"ends at {_short(cone.p50[-1])}{rest}"
    return {
        "says": says, "spent": usd(spent), "unpriced": unpriced, "end": iso(end_ns), "days_left": ahead,
        "forecast": None if unpriced else foretold, "at_least": None if foretold is None else foretold["p50"],
    }  # fmt: skip


def _short(nano: int) -> str:
    """An amount in three digits, in cents from $1 on."""
    dollars = nano / 1e9
    return f"${dollars:,.2f}" if dollars >= 1 else f"${dollars:.3g}"
