"""Projections made anew from the truth: the events, and the sums that pruning left behind."""

import json
from collections.abc import Callable

from sqlalchemy import Connection

from catp.runtime.events import RunEvent
from catp.store.projector import project
from catp.store.statements import query

__all__ = ["rebuild"]

_BATCH = 20_000


def rebuild(connection: Connection, progress: Callable[[int, int], None] = lambda done, total: None) -> int:
    """Project every event again, in order; return how many there were. Readers see the old rows until it commits.

    `progress` is told how many events of how many are done.
    """
    for table in ("candidates", "steps", "calls", "costs"):
        connection.exec_driver_sql(f"DELETE FROM {table}")
    connection.exec_driver_sql("DELETE FROM rollup_day WHERE NOT pruned")
    connection.exec_driver_sql("UPDATE budget_periods SET spent_nano = pruned_nano")
    total = int(query(connection, "SELECT COUNT(*) FROM events")[0][0])
    done = last = 0
    while events := query(
        connection,
        "SELECT seq, run_id, run_seq, ts_ns, type, step, attempt, element, data_json FROM events WHERE seq > ? "
        f"ORDER BY seq LIMIT {_BATCH}",
        last,
    ):
        project(
            connection,
            [
                RunEvent(e.run_seq, e.run_id, e.ts_ns, e.type, e.step, e.attempt, e.element, json.loads(e.data_json))
                for e in events
            ],
        )
        last = events[-1].seq
        done += len(events)
        progress(done, total)
    return done
