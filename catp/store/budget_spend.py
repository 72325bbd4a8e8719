"""What settled calls do to shared budgets: the spending of each period grows, the money held for the call is free."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection

from catp.runtime.periods import Period, period_start
from catp.store.statements import execute, query

__all__ = ["Spend", "move_to_pruned", "spend"]


class Spend(NamedTuple):
    """The price of one settled call (run, step, element, attempt), in nano-USD, and when the call started."""

    call: tuple[str, str, int, int]
    began_ns: int
    amount: int


_ADD = """
INSERT INTO budget_periods (budget_id, period_start, spent_nano) VALUES (?, ?, ?)
ON CONFLICT (budget_id, period_start) DO UPDATE SET spent_nano = budget_periods.spent_nano + excluded.spent_nano
"""
_PRUNE = "UPDATE budget_periods SET pruned_nano = pruned_nano + ? WHERE budget_id = ? AND period_start = ?"
_FREE = "DELETE FROM reservations WHERE run_id = ? AND step = ? AND element = ? AND attempt = ?"


def spend(connection: Connection, spends: Sequence[Spend]) -> None:
    """Book settled calls to every budget of their run's project and agent, and free what was held for them."""
    sums = _sums(connection, spends)
    if sums is not None:
        execute(connection, _ADD, [(*key, amount) for key, amount in sorted(sums.items())])
        execute(connection, _FREE, [spent.call for spent in spends])


def move_to_pruned(connection: Connection, spends: Sequence[Spend]) -> None:
    """The runs of these calls are about to be pruned: what they spent still counts."""
    sums = _sums(connection, spends) or {}
    execute(connection, _PRUNE, [(amount, *key) for key, amount in sorted(sums.items())])


def _sums(connection: Connection, spends: Sequence[Spend]) -> dict[tuple[str, str], int] | None:
    """Amounts by budget and period; None if there are no budgets at all."""
    if not spends:
        return None
    budgets: dict[tuple[str, str], list[tuple[str, Period]]] = {}
    for id_, scope, name, period in query(connection, "SELECT id, scope, name, period FROM budgets"):
        budgets.setdefault((scope, name), []).append((id_, period))
    if not budgets:
        return None
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
    return sums
