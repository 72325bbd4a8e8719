"""What a step of a tool used to cost and take: quantiles over the latest steps that ended well and were really made.

Only the newest thousand calls of the tool are looked through for them: a store may have millions.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from sqlalchemy import Connection

from catp.store.statements import query

__all__ = ["Typical", "typical"]

T = TypeVar("T")

_LATEST = 200
_LOOKED_AT = 1_000


class Typical(NamedTuple):
    """p50 and p90 of cost (nano-USD, None if a price is unknown) and time (ms) over `n` steps."""

    n: int
    cost: tuple[int, int] | None
    ms: tuple[float, float]


_STEPS = f"""
SELECT run_id, step, SUM(cost_nano) AS cost, COUNT(*) AS n, COUNT(cost_nano) AS priced, MIN(started_ns) AS began,
    MAX(ended_ns) AS ended
FROM calls WHERE tool = ? AND outcome = 'ok' AND cached = {{false}} AND run_id <> ? AND run_id >= (
    SELECT MIN(run_id) FROM (SELECT run_id FROM calls WHERE tool = ? ORDER BY run_id DESC LIMIT {_LOOKED_AT}) AS latest)
GROUP BY run_id, step ORDER BY run_id DESC, step LIMIT ?
"""


def typical(connection: Connection, tool: str, *, without: str) -> Typical | None:
    """Return what steps of a tool took in other runs than `without`, None if there are none."""
    false = "FALSE" if connection.dialect.name == "postgresql" else "0"
    rows = query(connection, _STEPS.format(false=false), tool, without, tool, _LATEST)
    if not rows:
        return None
    costs = sorted(int(row.cost) for row in rows if row.priced == row.n)
    times = sorted((row.ended - row.began) / 1e6 for row in rows)
    # a tool some of whose steps had no price has no price that could be forecast
    known = (_at(costs, 0.5), _at(costs, 0.9)) if len(costs) == len(rows) else None
    return Typical(len(rows), known, (_at(times, 0.5), _at(times, 0.9)))


def _at(ordered: Sequence[T], share: float) -> T:
    """The smallest value that `share` of all do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
