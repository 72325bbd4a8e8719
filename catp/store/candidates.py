"""The plans that were considered when a run was planned: which, what was expected of them, and which one was taken.

They are told by the `run.created` event; the plans themselves are kept as long as the run is.
"""

from typing import NamedTuple

from sqlalchemy import Connection

from catp.store.statements import query

__all__ = ["Rival", "of"]


class Rival(NamedTuple):
    """A plan and what was expected of it: prices in nano-USD, time in ms, quality 0 to 1; None is unknown.

    `rank` is its place in the planner's order, 1 is the best; `chosen` is the plan that the run began with.
    """

    rank: int
    plan_hash: str
    est_low: int | None
    est_cost: int | None
    est_p95: int | None
    est_ms: float | None
    quality: float | None
    utility: float | None
    chosen: bool


def of(connection: Connection, run_id: str) -> list[Rival]:
    """Return what was considered for a run (full id), in the planner's order; nothing for a plan that was given."""
    rows = query(
        connection, "SELECT rank, plan_hash, est_low, est_cost, est_p95, est_ms, quality, utility, chosen "
        "FROM candidates WHERE run_id = ? ORDER BY rank", run_id,
    )  # fmt: skip
    return [Rival._make((*row[:8], bool(row.chosen))) for row in rows]
