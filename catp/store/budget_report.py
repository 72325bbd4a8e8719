"""What a person wants to see of a budget: earlier periods, who holds money, warnings told, calls dearer than held."""

from typing import NamedTuple

from sqlalchemy import Connection, text

from catp.planlang.money import Money
from catp.store.budgets import Budget

__all__ = ["BudgetReport", "Holding", "Overruns", "Told", "report_on"]


class Holding(NamedTuple):
    """Money held for one running call; expired if the run stopped renewing it."""

    run_id: str
    step: str
    amount: Money
    expired: bool


class Told(NamedTuple):
    """A warn level that was reached, when, and in which run."""

    level: float
    start: str
    at_ns: int
    run_id: str | None


class Overruns(NamedTuple):
    """Calls of a project or agent that cost more than was held for them, and by how much in all."""

    calls: int
    amount: Money


class BudgetReport(NamedTuple):
    """`periods` are (first day, spent), latest first."""

    periods: tuple[tuple[str, Money], ...]
    holdings: tuple[Holding, ...]
    told: tuple[Told, ...]
    overruns: Overruns


_PERIODS = (
    "SELECT period_start, spent_nano FROM budget_periods WHERE budget_id = :id ORDER BY period_start DESC LIMIT 12"
)
_HOLDINGS = """
SELECT run_id, step, amount_nano, expires_ns FROM reservations WHERE budget_id = :id ORDER BY amount_nano DESC LIMIT 50
"""
_TOLD = """
SELECT level, period_start, fired_ns, run_id FROM budget_fires WHERE budget_id = :id ORDER BY fired_ns DESC LIMIT 12
"""
_OVERRUNS = """
SELECT COUNT(*), CAST(COALESCE(SUM(c.cost_nano - c.reserved_nano), 0) AS BIGINT)
FROM calls c JOIN runs r ON r.id = c.run_id
WHERE c.cost_nano > c.reserved_nano AND r.{scope} = :name
"""


def report_on(connection: Connection, budget: Budget, now_ns: int) -> BudgetReport:
    """Gather what there is to see of one budget."""
    own = {"id": budget.id}
    overruns = connection.execute(text(_OVERRUNS.format(scope=budget.scope)), {"name": budget.name}).one()
    return BudgetReport(
        tuple((start, Money(spent)) for start, spent in connection.execute(text(_PERIODS), own)),
        tuple(
            Holding(run_id, step, Money(amount), expires <= now_ns)
            for run_id, step, amount, expires in connection.execute(text(_HOLDINGS), own)
        ),
        tuple(Told(*row) for row in connection.execute(text(_TOLD), own)),
        Overruns(overruns[0], Money(overruns[1])),
    )
