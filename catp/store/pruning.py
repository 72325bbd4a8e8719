"""Removing old runs from a store that others write to meanwhile: in batches, files after the rows that name them."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection

from catp.store.retention import doomed, prune
from catp.store.statements import query
from catp.store.store import RunStore

__all__ = ["Removed", "held", "old_runs", "remove_runs"]

_BATCH = 200


class Removed(NamedTuple):
    """How many runs, events and files went."""

    runs: int = 0
    events: int = 0
    files: int = 0


def old_runs(store: RunStore, *, before_ns: int, project: str | None = None, keep: int = 0) -> list[str]:
    """Return the ids of the runs that would go; see `catp.store.retention.doomed`."""
    return store.database.read(partial(doomed, before_ns=before_ns, project=project, keep=keep))


def held(store: RunStore, run_ids: Sequence[str]) -> Removed:
    """Return how many runs and events these are; files are known only when they have gone, others may share them."""
    events = sum(
        store.database.read(partial(_events, run_ids=run_ids[start : start + _BATCH]))
        for start in range(0, len(run_ids), _BATCH)
    )
    return Removed(len(run_ids), events)


def remove_runs(
    store: RunStore, run_ids: Sequence[str], progress: Callable[[int, int], None] = lambda done, total: None
) -> Removed:
    """Remove runs with their events, values and files; sums and budgets keep counting them.

    Args:
        store: to remove from.
        run_ids: of `old_runs`.
        progress: told how many are gone, of how many.
    """
    total = Removed()
    for start in range(0, len(run_ids), _BATCH):
        gone = store.database.write(partial(prune, run_ids=run_ids[start : start + _BATCH]))
        store.artifacts.drop(gone.files)
        total = Removed(total.runs + gone.runs, total.events + gone.events, total.files + len(gone.files))
        progress(total.runs, len(run_ids))
    return total


def _events(connection: Connection, run_ids: Sequence[str]) -> int:
    marks = ", ".join("?" * len(run_ids))
    return int(query(connection, f"SELECT COUNT(*) AS n FROM events WHERE run_id IN ({marks})", *run_ids)[0].n)
