"""Calls of a tool, the latest first: a sample that is read by an index, however many calls there were.

Counts, sums and times of a tool come from the daily sums (`catp.store.rollups`) and are of all its calls. What these do
not keep (single prices, estimates, input sizes, errors) comes from the latest calls, and says of how many.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple, TypeVar

from sqlalchemy import Connection

from catp.store.statements import query

__all__ = ["Call", "latest", "paid", "quantile", "versions"]

T = TypeVar("T", bound=float)


class Call(NamedTuple):
    """One call; money in nano-USD (None: unknown), times in ms or Unix nanoseconds. `held` is what was reserved."""

    run_id: str
    step: str
    element: int
    attempt: int
    version: str
    outcome: str | None
    cached: bool
    started_ns: int
    cost: int | None
    estimate: int | None
    held: int | None
    ms: float | None
    est_ms: float | None
    p95_ms: float | None
    size: int | None
    error_type: str | None
    reason: str | None


_LATEST = """
SELECT run_id, step, element, attempt, version, outcome, cached, started_ns, cost_nano, est_cost_nano, reserved_nano,
    ms, est_ms, p95_ms, size, error_type, reason
FROM calls WHERE tool = ? AND version = ? AND started_ns >= ? AND started_ns < ? ORDER BY started_ns DESC LIMIT ?
"""


def versions(connection: Connection, tool: str) -> list[str]:
    """Return the versions of a tool that were called: one look into the index for each."""
    found: list[str] = []
    first = query(connection, "SELECT MIN(version) FROM calls WHERE tool = ?", tool)[0][0]
    while first is not None:
        found.append(first)
        first = query(connection, "SELECT MIN(version) FROM calls WHERE tool = ? AND version > ?", tool, first)[0][0]
    return found


def latest(connection: Connection, tool: str, from_ns: int, until_ns: int, limit: int) -> list[Call]:
    """Return up to `limit` calls of a tool that started in [`from_ns`, `until_ns`), the latest first."""
    rows = [
        Call(*row)
        for version in versions(connection, tool)
        for row in query(connection, _LATEST, tool, version, from_ns, until_ns, limit)
    ]
    return sorted(rows, key=lambda call: (-call.started_ns, call.run_id, call.step, call.element, call.attempt))[:limit]


def paid(calls: Iterable[Call]) -> list[Call]:
    """Return those that were really made and ended well: what a tool costs and takes is told by them."""
    return [call for call in calls if call.outcome == "ok" and not call.cached]


def quantile(values: Iterable[T | None], share: float) -> T | None:
    """Return the smallest known value that `share` of the known ones do not exceed (nearest rank), None if none is."""
    known = sorted(value for value in values if value is not None)
    return known[max(0, math.ceil(share * len(known)) - 1)] if known else None
