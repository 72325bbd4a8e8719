"""How the money of one run was spent over time: every ledger row counts when its call ended, planning when it was done.

sum of all points = sum of the ledger rows = cost of the run
"""

from typing import Any

from sqlalchemy import Connection

from catp.dashboard.forms import ms_between, usd
from catp.store import queries
from catp.store.statements import query
from catp.store.tables import NO_ELEMENT

__all__ = ["spend_curve"]

_POINTS = """
SELECT COALESCE(calls.ended_ns, costs.ts_ns) AS at_ns, SUM(amount_nano) AS amount, COUNT(*) AS n,
    COUNT(amount_nano) AS priced
FROM costs LEFT JOIN calls ON calls.run_id = costs.run_id AND calls.step = costs.step
    AND calls.element = COALESCE(costs.element, ?) AND calls.attempt = costs.attempt
WHERE costs.run_id = ? GROUP BY COALESCE(calls.ended_ns, costs.ts_ns) ORDER BY at_ns
"""


def spend_curve(connection: Connection, run_id: str, store: str) -> dict[str, Any]:
    """Return `{"points": [[ms since the run began, amount]], …}`; raise `KeyError` if there is no such run."""
    run = queries.find(connection, run_id, store)
    rows = query(connection, _POINTS, NO_ELEMENT, run.id)
    priced = [row for row in rows if row.priced]
    return {
        "run": run.id, "points": [[ms_between(run.created_ns, int(row.at_ns)), usd(row.amount)] for row in priced],
        "total": usd(sum(int(row.amount) for row in priced)), "unpriced": sum(row.n - row.priced for row in rows),
        "budget": usd(run.budget),
    }  # fmt: skip
