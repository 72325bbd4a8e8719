"""Budgets that several processes share, as rows: their caps, what was spent in each period, and what calls hold.

    budgets         a cap for a project or an agent, for all time or by the day, week or month (UTC)
    budget_periods  what was spent in a period: the sum of the ledger rows of calls that started in it
    reservations    what running calls hold, until `expires_ns` unless it is renewed
    budget_fires    which warn levels were told; never told again, not even after `catp db rebuild`

The transaction that stores a call's ledger rows adds them to `spent` and deletes what the call held
(`catp.store.budget_spend`), so `spent` is a sum of rows at any moment. Room is judged by `standings`, in one statement:
what was spent in the present period, plus all that is held, whenever it was reserved. A call's money therefore counts
in the period in which it is reserved and in the one in which it is spent, and neither can exceed its cap.

Should the clock go back into an earlier period, what was spent in the later ones counts as well: no room comes back.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, text

from catp.planlang.money import Money
from catp.runtime.ids import new_run_id
from catp.runtime.periods import PERIODS, Period, period_start

__all__ = [
    "BUDGET_SCOPES", "STANDINGS", "Budget", "Standing", "as_standing", "moment", "remove_budget", "set_budget",
    "standings",
]  # fmt: skip

BUDGET_SCOPES = ("project", "agent")

_IN_PERIOD = "CASE b.period WHEN 'day' THEN :day WHEN 'week' THEN :week WHEN 'month' THEN :month ELSE '' END"

STANDINGS = f"""
SELECT b.id, b.scope, b.name, b.period, b.limit_nano, b.warn_levels, {_IN_PERIOD},
  (SELECT CAST(COALESCE(SUM(p.spent_nano), 0) AS BIGINT) FROM budget_periods p
    WHERE p.budget_id = b.id AND p.period_start >= {_IN_PERIOD}),
  (SELECT CAST(COALESCE(SUM(r.amount_nano), 0) AS BIGINT) FROM reservations r
    WHERE r.budget_id = b.id AND r.expires_ns > :now)
FROM budgets b
WHERE (b.scope = 'project' AND b.name = :project) OR (b.scope = 'agent' AND b.name = :agent)
"""
"""One row per budget of a project and an agent: a `Standing`. Parameters: those of `moment`, `project`, `agent`."""

_ALL_STANDINGS = text(STANDINGS.partition("WHERE (b.scope")[0] + "ORDER BY b.scope, b.name, b.period")

_ADD = text("""
INSERT INTO budget_periods (budget_id, period_start, spent_nano) VALUES (:budget, :start, :amount)
ON CONFLICT (budget_id, period_start) DO UPDATE SET spent_nano = budget_periods.spent_nano + excluded.spent_nano
""")
_ROWS = """
SELECT c.ts_ns, c.amount_nano FROM costs c JOIN runs r ON r.id = c.run_id
WHERE c.amount_nano IS NOT NULL AND r.{scope} = :name
"""


class Budget(NamedTuple):
    """A cap in the store; `warn` are ascending shares of it."""

    id: str
    scope: str
    name: str
    period: Period
    cap: Money
    warn: tuple[float, ...] = ()

    @property
    def title(self) -> str:
        """How messages call it: `project:demo (per day)`."""
        return f"{self.scope}:{self.name}" + ("" if self.period == "total" else f" (per {self.period})")


class Standing(NamedTuple):
    """A budget at one moment: the period it is in, what was spent in it and what running calls hold."""

    budget: Budget
    start: str
    spent: Money
    reserved: Money

    @property
    def available(self) -> Money:
        """What may still be reserved; negative after an overrun."""
        return Money(self.budget.cap - self.spent - self.reserved)


def moment(now_ns: int) -> dict[str, str | int]:
    """Return the parameters of `STANDINGS` that depend on the time."""
    periods: tuple[Period, ...] = ("day", "week", "month")
    return {"now": now_ns, **{period: period_start(period, now_ns) for period in periods}}


def standings(connection: Connection, now_ns: int) -> list[Standing]:
    """Return every budget as it stands at `now_ns` (Unix nanoseconds)."""
    return [as_standing(row) for row in connection.execute(_ALL_STANDINGS, moment(now_ns))]


def as_standing(row: Sequence[object]) -> Standing:
    """Read a row of `STANDINGS`."""
    id_, scope, name, period, cap, warn, start, spent, reserved = row
    assert period in PERIODS
    budget = Budget(str(id_), str(scope), str(name), period, Money(int(str(cap))), _levels(str(warn)))
    return Standing(budget, str(start), Money(int(str(spent))), Money(int(str(reserved))))


def _budgets_of(connection: Connection, scope: str, name: str) -> list[Budget]:
    statement = text("SELECT id, period, limit_nano, warn_levels FROM budgets WHERE scope = :scope AND name = :name")
    rows = connection.execute(statement, {"scope": scope, "name": name})
    return [Budget(id_, scope, name, period, Money(cap), _levels(warn)) for id_, period, cap, warn in rows]


def _levels(text_: str) -> tuple[float, ...]:
    return tuple(float(level) for level in text_.split(",") if level)


def set_budget(
    connection: Connection, scope: str, name: str, period: Period, cap: Money, warn: Sequence[float], now_ns: int
) -> Budget:
    """Make a budget or change its cap and warn levels. What was spent in its scope before counts.

    Raises:
        ValueError: An unknown scope, a cap that is not above zero, or a warn level that is no share.
    """
    if scope not in BUDGET_SCOPES:
        raise ValueError(f"a budget is for a project or an agent, not for {scope!r}")
    if cap <= 0:
        raise ValueError("a budget must be more than $0; remove it to run without one")
    if not all(0 < level <= 1 for level in warn):
        raise ValueError("warn levels must be above 0 % and at most 100 %")
    if connection.dialect.name == "postgresql":  # rows that are being written must be counted here or by their writer
        connection.execute(text("LOCK TABLE costs IN SHARE MODE"))
    levels = ",".join(f"{level:g}" for level in sorted(set(warn)))
    values = {"scope": scope, "name": name, "period": period, "cap": cap, "warn": levels, "id": new_run_id()}
    connection.execute(
        text("""
        INSERT INTO budgets (id, scope, name, period, limit_nano, warn_levels, created_ns)
        VALUES (:id, :scope, :name, :period, :cap, :warn, :now)
        ON CONFLICT (scope, name, period) DO UPDATE SET limit_nano = :cap, warn_levels = :warn
        """),
        {**values, "now": now_ns},
    )
    found = next(budget for budget in _budgets_of(connection, scope, name) if budget.period == period)
    if found.id == values["id"]:  # a new one
        _count(connection, found)
    return found


def remove_budget(connection: Connection, scope: str, name: str, period: Period | None) -> int:
    """Remove the budget of one period, or all of a scope (None); return how many there were."""
    found = [b for b in _budgets_of(connection, scope, name) if period is None or b.period == period]
    for budget in found:
        for table in ("reservations", "budget_fires", "budget_periods"):
            connection.execute(text(f"DELETE FROM {table} WHERE budget_id = :id"), {"id": budget.id})
        connection.execute(text("DELETE FROM budgets WHERE id = :id"), {"id": budget.id})
    return len(found)


def _count(connection: Connection, budget: Budget) -> None:
    sums: dict[str, int] = {}
    for at_ns, amount in connection.execute(text(_ROWS.format(scope=budget.scope)), {"name": budget.name}):
        start = period_start(budget.period, at_ns)
        sums[start] = sums.get(start, 0) + amount
    if sums:
        connection.execute(_ADD, [{"budget": budget.id, "start": s, "amount": a} for s, a in sorted(sums.items())])
