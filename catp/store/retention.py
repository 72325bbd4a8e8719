"""Pruning: runs that are old enough go, with their events, values and files; their daily sums and spending stay.

Only runs that have ended are pruned. What they add to roll-ups and budgets moves to the part marked as pruned, so
totals over time do not change and `catp db rebuild` keeps them.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from catp.store.budget_spend import move_to_pruned
from catp.store.folding import fold
from catp.store.queries import events
from catp.store.rollups import apply_rolls, drop_empty
from catp.store.statements import execute, query

__all__ = ["Pruned", "doomed", "drop_orphans", "prune"]

_ENDED = ("complete", "degraded", "failed", "cancelled")
_TABLES = (
    "costs", "calls", "steps", "node_io", "approvals", "reservations", "candidates", "scores", "stops", "events",
)  # fmt: skip


class Pruned(NamedTuple):
    """What a batch removed: runs, events, and digests of files that nothing refers to any more."""

    runs: int
    events: int
    files: tuple[str, ...]


def doomed(connection: Connection, *, before_ns: int, project: str | None = None, keep: int = 0) -> list[str]:
    """Return the ids of ended runs created before a time, oldest first, sparing the newest `keep` of all runs."""
    spared = query(connection, "SELECT id FROM runs ORDER BY id DESC LIMIT ?", keep) if keep else ()
    first_spared = min((row.id for row in spared), default="~")
    of_project = "" if project is None else " AND project = ?"
    marks = ", ".join("?" * len(_ENDED))
    return [
        row.id
        for row in query(
            connection,
            f"SELECT id FROM runs WHERE created_ns < ? AND id < ? AND status IN ({marks}){of_project} ORDER BY id",
            before_ns, first_spared, *_ENDED, *(() if project is None else (project,)),
        )
    ]  # fmt: skip


def prune(connection: Connection, run_ids: Sequence[str]) -> Pruned:
    """Remove these runs. Call it with batches of some hundred: others can write in between."""
    gone = 0
    for run_id in run_ids:
        found = events(connection, run_id, 0)
        gone += len(found)
        changes = fold(found)
        apply_rolls(connection, changes.rolls, sign=-1)
        apply_rolls(connection, changes.rolls, pruned=True)
        move_to_pruned(connection, changes.spends)
    drop_empty(connection)
    ids = [(run_id,) for run_id in run_ids]
    for table in _TABLES:
        execute(connection, f"DELETE FROM {table} WHERE run_id = ?", ids)
    execute(connection, "DELETE FROM runs WHERE id = ?", ids)
    return Pruned(len(ids), gone, drop_orphans(connection))


def drop_orphans(connection: Connection) -> tuple[str, ...]:
    """Forget plans that no run has or considered, and artefacts that no value, thumbnail or cached result is.

    Returns the digests of the artefacts.
    """
    connection.exec_driver_sql(
        "DELETE FROM plans WHERE NOT EXISTS (SELECT 1 FROM runs WHERE runs.plan_hash = plans.hash) "
        "AND NOT EXISTS (SELECT 1 FROM candidates WHERE candidates.plan_hash = plans.hash)"
    )
    found = query(
        connection,
        "SELECT sha256 FROM artifacts a WHERE NOT EXISTS (SELECT 1 FROM node_io n WHERE n.sha256 = a.sha256) "
        "AND NOT EXISTS (SELECT 1 FROM cache c WHERE c.sha256 = a.sha256) "
        "AND NOT EXISTS (SELECT 1 FROM artifacts b WHERE b.thumb_sha256 = a.sha256 "
        "AND b.sha256 <> a.sha256)",
    )
    orphans = [row.sha256 for row in found]
    if orphans:
        thumbs = _thumbs(connection, orphans)
        _forget(connection, orphans)
        return (*orphans, *_forget_unused(connection, thumbs))
    return ()


def _thumbs(connection: Connection, orphans: Iterable[str]) -> list[str]:
    found = (query(connection, "SELECT thumb_sha256 FROM artifacts WHERE sha256 = ?", sha)[0][0] for sha in orphans)
    return sorted({thumb for thumb in found if thumb is not None})


def _forget_unused(connection: Connection, thumbs: Sequence[str]) -> list[str]:
    unused = [
        thumb
        for thumb in thumbs
        if not query(
            connection,
            "SELECT 1 FROM artifacts WHERE thumb_sha256 = ? UNION ALL SELECT 1 FROM node_io WHERE sha256 = ? "
            "UNION ALL SELECT 1 FROM cache WHERE sha256 = ?",
            thumb, thumb, thumb,
        )
    ]  # fmt: skip
    _forget(connection, unused)
    return unused


def _forget(connection: Connection, digests: Sequence[str]) -> None:
    execute(connection, "DELETE FROM artifacts WHERE sha256 = ?", [(sha,) for sha in digests])
