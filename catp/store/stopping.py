"""Asking the process that drives a run to cancel it, whichever process that is.

The request is a row; a process that drives runs looks for rows about them (`catp.store.writer`) and stops those runs
as Ctrl-C would. A row goes when its run is given up or taken over (`catp.store.ownership`), so it never stops a later
life of the run.
"""

from typing import NamedTuple

from sqlalchemy import Connection

from catp.store.ownership import alive
from catp.store.statements import clean, execute, query

__all__ = ["LOOK_S", "Stop", "ask", "asked"]

LOOK_S = 0.5
"""How often a process looks whether it is asked to stop one of its runs."""

_ASK = """
INSERT INTO stops (run_id, asked_by, reason, asked_ns) VALUES (?, ?, ?, ?)
ON CONFLICT (run_id) DO NOTHING
"""


class Stop(NamedTuple):
    """A request: who wants a run cancelled, why, and since when (Unix nanoseconds)."""

    run_id: str
    by: str
    reason: str
    at_ns: int

    def __str__(self) -> str:
        """Return what the run's record gives as the reason of its end."""
        return f"cancelled by {self.by}" + (f": {self.reason}" if self.reason else "")


def ask(connection: Connection, run_id: str, *, by: str, reason: str, now_ns: int) -> bool:
    """Ask for a run (full id) to be cancelled; False if no living process drives it, so nobody would see it.

    The first request counts. The run may still end by itself before its process looks.
    """
    lock = " FOR UPDATE" if connection.dialect.name == "postgresql" else ""  # SQLite has one writer anyway
    found = query(connection, f"SELECT owner, heartbeat_ns FROM runs WHERE id = ?{lock}", run_id)
    if not found or not alive(found[0].owner, found[0].heartbeat_ns):
        return False
    execute(connection, _ASK, [(run_id, clean(by), clean(reason), now_ns)])
    return True


def asked(connection: Connection) -> list[Stop]:
    """Return every request; there are hardly ever any."""
    return [Stop(*row) for row in query(connection, "SELECT run_id, asked_by, reason, asked_ns FROM stops")]
