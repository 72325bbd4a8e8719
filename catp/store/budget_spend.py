"""What settled calls do to shared budgets: the spending of each period grows, the money held for the call is free."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection

from catp.store.statements import execute, query

__all__ = ["Spend", "period_start", "spend"]


class Spend(NamedTuple):
    """The price of one settled call (run, step, element, attempt), in nano-USD, and when the call started."""

    call: tuple[str, str, int, int]
    began_ns: int
    amount: int


def period_start(period: str, at_ns: int) -> str:
    """The first day (ISO, UTC) of the `day`, `week` (from Monday) or `month` that holds a time; empty for `total`."""
    if period == "total":
        return ""
    day = datetime.fromtimestamp(at_ns // 1_000_000_000, UTC).date()
    if period == "week":
        day -= timedelta(days=day.weekday())
    elif period == "month":
        day = day.replace(day=1)
    elif period != "day":
        raise ValueError(f"{period!r} is no period; periods are total, day, week and month")
    return day.isoformat()


_ADD = """
INSERT INTO budget_periods (budget_id, period_start, spent_nano) VALUES (?, ?, ?)
ON CONFLICT (budget_id, period_start) DO UPDATE SET spent_nano = budget_periods.spent_nano + excluded.spent_nano
"""
_FREE = "DELETE FROM reservations WHERE run_id = ? AND step = ? AND element = ? AND attempt = ?"


def spend(connection: Connection, spends: Sequence[Spend]) -> None:
    """Book settled calls to every budget of their run's project and agent, and free what was held for them."""
    if not spends:
        return
    budgets: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for id_, scope, name, period in query(connection, "SELECT id, scope, name, period FROM budgets"):
        budgets.setdefault((scope, name), []).append((id_, period))
    if not budgets:
        return
    scopes: dict[str, tuple[Any, Any]] = {}
    sums: dict[tuple[str, str], int] = {}
    for call, began_ns, amount in spends:
        run_id = call[0]
        if run_id not in scopes:
            found = query(connection, "SELECT project, agent FROM runs WHERE id = ?", run_id)
            scopes[run_id] = (found[0].project, found[0].agent)
        project, agent = scopes[run_id]
        for budget, period in (*budgets.get(("project", project), ()), *budgets.get(("agent", agent), ())):
            key = (budget, period_start(period, began_ns))
            sums[key] = sums.get(key, 0) + amount
    execute(connection, _ADD, [(*key, amount) for key, amount in sorted(sums.items())])
    execute(connection, _FREE, [spent.call for spent in spends])
