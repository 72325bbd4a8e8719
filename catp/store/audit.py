"""Does everything add up? The same money is shown as rows, steps, calls, runs, days and budgets: `audit` compares."""

from typing import NamedTuple

from sqlalchemy import Connection

from catp.runtime.losses import EAGER
from catp.runtime.periods import period_start
from catp.runtime.planning import PLANNING
from catp.store.statements import query

__all__ = ["Discrepancy", "audit"]


class Discrepancy(NamedTuple):
    """One figure that is not the sum of its ledger rows, in nano-USD; `where` names the run, step, day or budget."""

    where: str
    shown: int
    rows: int

    def __str__(self) -> str:
        return f"{self.where}: shown {self.shown}, its rows add up to {self.rows} (nano-USD)"


_PAIRS = {
    "run {0}": """
        SELECT r.id, r.cost_nano, COALESCE(SUM(c.amount_nano), 0)
        FROM runs r LEFT JOIN costs c ON c.run_id = r.id GROUP BY r.id, r.cost_nano""",
    "run {0}, saved": """
        SELECT r.id, r.saved_nano, COALESCE(SUM(c.saved_nano), 0)
        FROM runs r LEFT JOIN costs c ON c.run_id = r.id GROUP BY r.id, r.saved_nano""",
    "run {0}, step {1}": """
        SELECT s.run_id, s.step, COALESCE(s.cost_nano, 0), COALESCE(SUM(c.amount_nano), 0)
        FROM steps s LEFT JOIN costs c ON c.run_id = s.run_id AND c.step = s.step
        GROUP BY s.run_id, s.step, s.cost_nano""",
    "run {0}, step {1}, element {2}, call {3}": """
        SELECT k.run_id, k.step, k.element, k.attempt, COALESCE(k.cost_nano, 0), COALESCE(SUM(c.amount_nano), 0)
        FROM calls k LEFT JOIN costs c ON c.run_id = k.run_id AND c.step = k.step AND c.attempt = k.attempt
            AND COALESCE(c.element, -1) = k.element
        GROUP BY k.run_id, k.step, k.element, k.attempt, k.cost_nano""",
}
"""Names, the figure that is shown, and the sum of its ledger rows."""


def audit(connection: Connection) -> list[Discrepancy]:
    """Return every figure that differs from the sum of its rows; none if all is well."""
    found = []
    for title, sql in _PAIRS.items():
        for *names, shown, rows in query(connection, sql):
            if int(shown) != int(rows):
                found.append(Discrepancy(title.format(*names), int(shown), int(rows)))
    return [*found, *_days(connection), *_budgets(connection)]


def _days(connection: Connection) -> list[Discrepancy]:
    """Roll-ups of kept runs by day, project and tool, and their sums by policy, against the rows."""
    rows: dict[tuple[str, str, str, str], int] = {}
    for ts_ns, project, policy, charge, tool, amount in query(
        connection,
        "SELECT c.ts_ns, r.project, r.policy, c.kind, c.tool, c.amount_nano FROM costs c "
        "JOIN runs r ON r.id = c.run_id WHERE c.amount_nano IS NOT NULL",
    ):
        day = period_start("day", ts_ns)
        belongs = [("policy", policy)] if charge in (PLANNING, EAGER) else [("tool", tool), ("policy", policy)]
        for kind, name in belongs:
            key = (day, project, kind, name)
            rows[key] = rows.get(key, 0) + amount
    shown = {
        (day, project, kind, name): int(cost)
        for day, project, kind, name, cost in query(
            connection, "SELECT day, project, kind, name, cost_nano FROM rollup_day WHERE NOT pruned"
        )
    }
    return [
        Discrepancy(f"{key[0]}, project {key[1]}, {key[2]} {key[3]}", shown.get(key, 0), rows.get(key, 0))
        for key in sorted(shown.keys() | rows.keys())
        if shown.get(key, 0) != rows.get(key, 0)
    ]


def _budgets(connection: Connection) -> list[Discrepancy]:
    found = []
    for id_, scope, name, period in query(connection, "SELECT id, scope, name, period FROM budgets"):
        rows: dict[str, int] = {}
        column = "project" if scope == "project" else "agent"
        for ts_ns, amount in query(
            connection,
            "SELECT c.ts_ns, c.amount_nano FROM costs c JOIN runs r ON r.id = c.run_id "
            f"WHERE c.amount_nano IS NOT NULL AND r.{column} = ?",
            name,
        ):
            start = period_start(period, ts_ns)
            rows[start] = rows.get(start, 0) + amount
        shown = {
            start: int(spent) - int(pruned)
            for start, spent, pruned in query(
                connection, "SELECT period_start, spent_nano, pruned_nano FROM budget_periods WHERE budget_id = ?", id_
            )
        }
        found += [
            Discrepancy(f"budget {scope}:{name} per {period} {start}".rstrip(), shown.get(start, 0), rows.get(start, 0))
            for start in sorted(shown.keys() | rows.keys())
            if shown.get(start, 0) != rows.get(start, 0)
        ]
    return found
