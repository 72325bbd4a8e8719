"""Daily sums: what each tool and each policy did, cost and saved, and how long it took, without reading every call.

Calls count for the UTC day in which they started, runs for the one in which they were created. Times are counted in
128 buckets, from 2 ** -6 ms on, that grow by 2 ** (1/4), so quantiles are right to about 9 % and add up over days: the
buckets of a row are a vector of 32-bit counts. Sums of runs that were pruned stay, in rows of their own.
"""

import math
from array import array
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import add
from typing import Any, Literal, NamedTuple, TypeAlias

from sqlalchemy import Connection

from catp.planlang.money import Money
from catp.runtime.periods import period_start
from catp.store.statements import execute, query

__all__ = ["LeaderRow", "Roll", "RollKind", "Rolls", "apply_rolls", "by_day", "drop_empty", "leaderboard"]

RollKind: TypeAlias = Literal["tool", "policy"]

_PER_OCTAVE, _LOWEST, _BUCKETS = 4, -6, 128
_NOTHING = bytes(4 * _BUCKETS)


@dataclass(slots=True)
class Roll:
    """Sums over calls of one tool, or runs of one policy; amounts in nano-USD, times in ms."""

    n: int = 0
    ok: int = 0
    cached: int = 0
    cost: int = 0
    saved: int = 0
    unpriced: int = 0
    ms: float = 0.0
    times: dict[int, int] = field(default_factory=dict)

    def took(self, ms: float) -> None:
        """Count one time."""
        if math.isfinite(ms) and ms >= 0:
            self.ms += ms
            octave = math.log2(max(ms, 1e-6)) - _LOWEST
            bucket = min(max(0, math.floor(octave * _PER_OCTAVE)), _BUCKETS - 1)
            self.times[bucket] = self.times.get(bucket, 0) + 1

    def add(self, other: "Roll", sign: int = 1) -> None:
        """Add the sums of `other`, or take them away."""
        self.n += sign * other.n
        self.ok += sign * other.ok
        self.cached += sign * other.cached
        self.cost += sign * other.cost
        self.saved += sign * other.saved
        self.unpriced += sign * other.unpriced
        self.ms += sign * other.ms
        for bucket, n in other.times.items():
            self.times[bucket] = self.times.get(bucket, 0) + sign * n


@dataclass(slots=True)
class Rolls:
    """What a batch of events adds to the sums; `calls` by run, day and tool, `planned` by run and day, `created` and
    `ended` by run."""

    calls: dict[tuple[str, str, str], Roll] = field(default_factory=dict)
    planned: dict[tuple[str, str], Roll] = field(default_factory=dict)
    created: list[str] = field(default_factory=list)
    ended: list[tuple[str, bool, float]] = field(default_factory=list)

    def call(self, run_id: str, began_ns: int, tool: str) -> Roll:
        """The sums to which a call belongs."""
        key = (run_id, period_start("day", began_ns), tool)
        found = self.calls.get(key)
        if found is None:
            found = self.calls[key] = Roll()
        return found

    def plan(self, run_id: str, began_ns: int) -> Roll:
        """The sums to which the planning of a run belongs: those of its policy, and of no tool."""
        return self.planned.setdefault((run_id, period_start("day", began_ns)), Roll())


class _About(NamedTuple):
    project: str
    policy: str
    day: str


_Key = tuple[str, str, str, str]  # day, project, kind, name

_KEY = "day = ? AND project = ? AND kind = ? AND name = ? AND pruned = ?"
_START = """
INSERT INTO rollup_day (day, project, kind, name, pruned, n, ok, cached, cost_nano, saved_nano, unpriced, ms_sum,
    ms_hist)
VALUES (?, ?, ?, ?, ?, 0, 0, 0, 0, 0, 0, 0, ?) ON CONFLICT (day, project, kind, name, pruned) DO NOTHING
"""
_ADD = f"""
UPDATE rollup_day SET n = n + ?, ok = ok + ?, cached = cached + ?, cost_nano = cost_nano + ?,
    saved_nano = saved_nano + ?, unpriced = unpriced + ?, ms_sum = ms_sum + ?, ms_hist = ? WHERE {_KEY}
"""


def apply_rolls(connection: Connection, rolls: Rolls, *, sign: int = 1, pruned: bool = False) -> None:
    """Add the sums of a batch (or with `sign` -1 take them away); the rows of its runs must be there."""
    sums = sorted(_by_key(rolls, _about(connection, rolls)).items())
    execute(connection, _START, [(*key, pruned, _NOTHING) for key, _ in sums])
    # others may add to the same rows of a server at the same time: in one order, each row for itself
    look = f"SELECT ms_hist FROM rollup_day WHERE {_KEY}" + (
        " FOR UPDATE" if connection.dialect.name == "postgresql" else ""
    )
    rows = []
    for key, r in sums:
        times = _counted(query(connection, look, *key, pruned)[0][0], r.times, sign)
        added = (r.n, r.ok, r.cached, r.cost, r.saved, r.unpriced, r.ms)
        rows.append((*(sign * amount for amount in added), times, *key, pruned))
    execute(connection, _ADD, rows)


def _counted(vector: bytes, times: Mapping[int, int], sign: int) -> bytes:
    if not times:
        return vector
    counts = array("I", vector)
    for bucket, n in times.items():
        counts[bucket] += sign * n
    return counts.tobytes()


def _about(connection: Connection, rolls: Rolls) -> Mapping[str, _About]:
    runs = {run for run, _, _ in (*rolls.calls, *rolls.ended)} | {run for run, _ in rolls.planned} | {*rolls.created}
    found = {}
    for run in runs:
        for project, policy, created_ns in query(
            connection, "SELECT project, policy, created_ns FROM runs WHERE id = ?", run
        ):
            found[run] = _About(project, policy, period_start("day", created_ns))
    return found


def _by_key(rolls: Rolls, about: Mapping[str, _About]) -> dict[_Key, Roll]:
    sums: dict[_Key, Roll] = {}

    def at(day: str, project: str, kind: RollKind, name: str) -> Roll:
        return sums.setdefault((day, project, kind, name), Roll())

    for (run, day, tool), roll in rolls.calls.items():
        project, policy, _ = about[run]
        at(day, project, "tool", tool).add(roll)
        of_policy = at(day, project, "policy", policy)
        of_policy.cost += roll.cost
        of_policy.saved += roll.saved
        of_policy.unpriced += roll.unpriced
    for (run, day), roll in rolls.planned.items():
        project, policy, _ = about[run]
        at(day, project, "policy", policy).add(roll)
    for run in rolls.created:
        project, policy, day = about[run]
        at(day, project, "policy", policy).n += 1
    for run, ok, ms in rolls.ended:
        project, policy, day = about[run]
        of_policy = at(day, project, "policy", policy)
        of_policy.ok += ok
        of_policy.took(ms)
    return sums


class LeaderRow(NamedTuple):
    """A tool or policy over some days. `n` counts calls (runs of a policy); quantiles are of those that ended well and
    were really made, None if there are none."""

    name: str
    n: int
    ok: int
    cached: int
    cost: Money
    saved: Money
    unpriced: int
    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


def leaderboard(
    connection: Connection, kind: RollKind = "tool", *, project: str | None = None, since: str = "", until: str = "9999"
) -> list[LeaderRow]:
    """Return tools or policies by falling cost, over the days `since` to `until` (ISO dates, both included)."""
    where = "kind = ? AND day >= ? AND day <= ?" + ("" if project is None else " AND project = ?")
    given = (kind, since, until, *(() if project is None else (project,)))
    sums = query(
        connection,
        "SELECT name, SUM(n), SUM(ok), SUM(cached), SUM(cost_nano), SUM(saved_nano), SUM(unpriced), SUM(ms_sum) "
        f"FROM rollup_day WHERE {where} GROUP BY name",
        *given,
    )
    times: dict[str, list[bytes]] = {}
    for name, vector in query(connection, f"SELECT name, ms_hist FROM rollup_day WHERE {where}", *given):
        times.setdefault(name, []).append(vector)
    rows = [
        LeaderRow(
            name, int(n), int(ok), int(cached), Money(int(cost)), Money(int(saved)), int(unpriced),
            *_times(times[name], float(ms)),
        )
        for name, n, ok, cached, cost, saved, unpriced, ms in sums
    ]  # fmt: skip
    return sorted(rows, key=lambda row: (-row.cost, row.name))


def by_day(
    connection: Connection, name: str, kind: RollKind = "tool", *, since: str = "", until: str = "9999"
) -> list[tuple[str, LeaderRow]]:
    """Return one tool or policy day by day, as `leaderboard` would each; days on which it did nothing are left out."""
    days: dict[str, list[Any]] = {}
    for row in query(
        connection, "SELECT day, n, ok, cached, cost_nano, saved_nano, unpriced, ms_sum, ms_hist FROM rollup_day "
        "WHERE kind = ? AND name = ? AND day >= ? AND day <= ? ORDER BY day", kind, name, since, until,
    ):  # fmt: skip
        days.setdefault(row.day, []).append(row)
    found = []
    for day, rows in days.items():
        n, ok, cached, cost, saved, unpriced = (sum(int(row[column]) for row in rows) for column in range(1, 7))
        times = _times([row.ms_hist for row in rows], sum(row.ms_sum for row in rows))
        found.append((day, LeaderRow(name, n, ok, cached, Money(cost), Money(saved), unpriced, *times)))
    return found


def _times(vectors: Sequence[bytes], total_ms: float) -> tuple[float | None, float | None, float | None, float | None]:
    """Mean, p50, p95 and p99. Without numpy, which a server that only shows runs would load for this alone."""
    counts = [0] * _BUCKETS
    for vector in vectors:
        counts = list(map(add, counts, array("I", vector)))
    upto = list(accumulate(counts))
    n = upto[-1]
    if not n:
        return None, None, None, None
    places = (bisect_left(upto, share * n - 1e-9) for share in (0.5, 0.95, 0.99))
    p50, p95, p99 = (2.0 ** ((place + 0.5) / _PER_OCTAVE + _LOWEST) for place in places)
    return total_ms / n, p50, p95, p99


def drop_empty(connection: Connection) -> None:
    """Remove sums of nothing, which taking away leaves behind."""
    execute(
        connection, "DELETE FROM rollup_day WHERE n = ? AND cost_nano = 0 AND saved_nano = 0 AND unpriced = 0", [(0,)]
    )
