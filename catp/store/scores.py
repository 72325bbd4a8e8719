"""How good the result of a run was, from 0 to 1, as somebody said who looked at it: the measured quality of the run.

A run has one score; a new one replaces it. Scores stay until the run is pruned, `catp db rebuild` leaves them alone.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Connection

from catp.store.statements import clean, execute, query

__all__ = ["Score", "of", "put"]

_PUT = """
INSERT INTO scores (run_id, value, scored_by, note, scored_ns) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (run_id) DO UPDATE SET value = excluded.value, scored_by = excluded.scored_by, note = excluded.note,
    scored_ns = excluded.scored_ns
"""
_MOST_PARAMETERS = 500


class Score(NamedTuple):
    """What somebody said of a run, and when (Unix nanoseconds)."""

    run_id: str
    value: float
    by: str
    note: str
    at_ns: int


def put(connection: Connection, run_id: str, value: float, *, by: str, note: str = "", now_ns: int) -> Score:
    """Score a run (full id) in place of what was said before.

    Raises:
        ValueError: The value is not between 0 and 1.
        KeyError: There is no such run.
    """
    if not (math.isfinite(value) and 0 <= value <= 1):
        raise ValueError(f"a score is a number from 0 (useless) to 1 (perfect), not {value}")
    if not query(connection, "SELECT 1 FROM runs WHERE id = ?", run_id):
        raise KeyError(f"no run {run_id!r}")
    score = Score(run_id, float(value), clean(by), clean(note), now_ns)
    execute(connection, _PUT, [tuple(score)])
    return score


def of(connection: Connection, run_ids: Iterable[str]) -> dict[str, Score]:
    """Return the scores of those of the runs (full ids) that have one."""
    wanted = sorted(set(run_ids))
    found: dict[str, Score] = {}
    for start in range(0, len(wanted), _MOST_PARAMETERS):
        part = wanted[start : start + _MOST_PARAMETERS]
        rows = query(
            connection, "SELECT run_id, value, scored_by, note, scored_ns FROM scores "
            f"WHERE run_id IN ({', '.join('?' * len(part))})", *part,
        )  # fmt: skip
        found |= {row.run_id: Score(*row) for row in rows}
    return found
