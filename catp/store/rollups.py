"""Daily sums: what each tool and each policy did, cost and saved, and how long it took, without reading every call.

Calls count for the UTC day in which they started, runs for the one in which they were created. Times are counted in
buckets that grow by 2 ** (1/8), so quantiles are right to about 4.5 % and add up over days. Sums of runs that were
pruned stay, in rows of their own.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from sqlalchemy import Connection

from catp.planlang.money import Money
from catp.runtime.periods import period_start
from catp.store.statements import execute, query

__all__ = ["LeaderRow", "Roll", "RollKind", "Rolls", "apply_rolls", "drop_empty", "leaderboard"]

RollKind: TypeAlias = Literal["tool", "policy"]

_PER_OCTAVE = 8


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
            bucket = round(math.log2(max(ms, 1e-6)) * _PER_OCTAVE)
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
    """What a batch of events adds to the sums; `calls` by run, day and tool, `created` and `ended` by run."""

    calls: dict[tuple[str, str, str], Roll] = field(default_factory=dict)
    created: list[str] = field(default_factory=list)
    ended: list[tuple[str, bool, float]] = field(default_factory=list)

    def call(self, run_id: str, began_ns: int, tool: str) -> Roll:
        """The sums to which a call belongs."""
        key = (run_id, period_start("day", began_ns), tool)
        found = self.calls.get(key)
        if found is None:
            found = self.calls[key] = Roll()
        return found


class _About(NamedTuple):
    project: str
    policy: str
    day: str


_Key = tuple[str, str, str, str]  # day, project, kind, name

_ADD = """
INSERT INTO rollup_day (day, project, kind, name, pruned, n, ok, cached, cost_nano, saved_nano, unpriced, ms_sum)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (day, project, kind, name, pruned) DO UPDATE SET n = rollup_day.n + excluded.n,
    ok = rollup_day.ok + excluded.ok, cached = rollup_day.cached + excluded.cached,
    cost_nano = rollup_day.cost_nano + excluded.cost_nano, saved_nano = rollup_day.saved_nano + excluded.saved_nano,
    unpriced = rollup_day.unpriced + excluded.unpriced, ms_sum = rollup_day.ms_sum + excluded.ms_sum
"""
_ADD_TIMES = """
INSERT INTO rollup_ms (day, project, kind, name, pruned, bucket, n) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (day, project, kind, name, pruned, bucket) DO UPDATE SET n = rollup_ms.n + excluded.n
"""


def apply_rolls(connection: Connection, rolls: Rolls, *, sign: int = 1, pruned: bool = False) -> None:
    """Add the sums of a batch (or with `sign` -1 take them away); the rows of its runs must be there."""
    sums = _by_key(rolls, _about(connection, rolls))
    rows = [
        (*key, pruned, sign * r.n, sign * r.ok, sign * r.cached, sign * r.cost, sign * r.saved, sign * r.unpriced,
         sign * r.ms)
        for key, r in sorted(sums.items())
    ]  # fmt: skip
    execute(connection, _ADD, rows)
    times = [(*key, pruned, bucket, sign * n) for key, r in sorted(sums.items()) for bucket, n in r.times.items()]
    execute(connection, _ADD_TIMES, times)


def _about(connection: Connection, rolls: Rolls) -> Mapping[str, _About]:
    runs = {run for run, _, _ in rolls.calls} | {run for run, _, _ in rolls.ended} | {*rolls.created}
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
    times: dict[str, dict[int, int]] = {}
    for name, bucket, n in query(
        connection,
        f"SELECT name, bucket, SUM(n) FROM rollup_ms WHERE {where} GROUP BY name, bucket",
        *given,
    ):
        times.setdefault(name, {})[bucket] = int(n)
    rows = []
    for name, n, ok, cached, cost, saved, unpriced, ms in sums:
        seen = times.get(name, {})
        counted = sum(seen.values())
        quantiles = [_quantile(seen, q) for q in (0.5, 0.95, 0.99)]
        mean = float(ms) / counted if counted else None
        rows.append(
            LeaderRow(
                name, int(n), int(ok), int(cached), Money(int(cost)), Money(int(saved)), int(unpriced), mean, *quantiles
            )
        )
    return sorted(rows, key=lambda row: (-row.cost, row.name))


def _quantile(times: Mapping[int, int], q: float) -> float | None:
    left = q * sum(times.values())
    for bucket, n in sorted(times.items()):
        left -= n
        if n and left <= 1e-9:
            return float(2.0 ** (bucket / _PER_OCTAVE))
    return None


def drop_empty(connection: Connection) -> None:
    """Remove sums of nothing, which taking away leaves behind."""
    execute(connection, "DELETE FROM rollup_ms WHERE n = ?", [(0,)])
    execute(connection, "DELETE FROM rollup_day WHERE n = ? AND cost_nano = 0 AND saved_nano = 0", [(0,)])
