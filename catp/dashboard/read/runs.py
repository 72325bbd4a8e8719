"""The list of runs: filters, keyset pages (ids are ULIDs, so their order is that of creation), counts by facet.

Functions of a connection, for `Database.read`. Whether a run that says `running` is still driven by a living process
is not in the database, so `running` and `interrupted` are told apart row by row.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from catp.dashboard.forms import run_row
from catp.store import queries
from catp.store.ownership import alive
from catp.store.statements import query

__all__ = ["RunFilter", "facets", "page"]

_COUNTED = 10_000
_DRIVEN = ("running", "interrupted")


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs; None or empty means all. Amounts in nano-USD, times in Unix nanoseconds (`until_ns` excluded)."""

    status: tuple[str, ...] = ()
    policy: str | None = None
    project: str | None = None
    tool: str | None = None
    text: str | None = None
    cost_min: int | None = None
    cost_max: int | None = None
    from_ns: int | None = None
    until_ns: int | None = None

    def where(self) -> tuple[str, list[Any]]:
        """Return the SQL test and its parameters; it may let through runs that `accepts` refuses."""
        tests, values = ["1 = 1"], list[Any]()
        statuses = sorted({"running" if status == "interrupted" else status for status in self.status})
        if statuses:
            tests.append(f"r.status IN ({', '.join('?' * len(statuses))})")
            values += statuses
        asked = [
            ("r.policy = ?", self.policy), ("r.project = ?", self.project), ("r.cost_nano >= ?", self.cost_min),
            ("r.cost_nano <= ?", self.cost_max), ("r.created_ns >= ?", self.from_ns),
            ("r.created_ns < ?", self.until_ns),
            ("EXISTS (SELECT 1 FROM calls c WHERE c.run_id = r.id AND c.tool = ?)", self.tool),
        ]  # fmt: skip
        for test, value in asked:
            if value is not None:
                tests.append(test)
                values.append(value)
        if self.text:
            tests.append("(LOWER(r.task) LIKE ? ESCAPE '!' OR r.id LIKE ? ESCAPE '!')")
            pattern = self.text.replace("!", "!!").replace("%", "!%").replace("_", "!_")
            values += [f"%{pattern.lower()}%", f"%{pattern.upper()}%"]
        return " AND ".join(tests), values

    def accepts(self, status: str) -> bool:
        """True if a run whose real status is this one is asked for."""
        return not self.status or status in self.status

    @property
    def exact(self) -> bool:
        """True if the SQL test alone decides."""
        asked = [status in self.status for status in _DRIVEN]
        return all(asked) or not any(asked)


def page(connection: Connection, wanted: RunFilter, *, limit: int, before: str | None, store: str) -> dict[str, Any]:
    """Return `{"items", "next", "total_estimate"}`, newest first; `before` is the `next` of the page before."""
    where, values = wanted.where()
    items: list[dict[str, Any]] = []
    cursor = before
    while len(items) <= limit:
        more, bound = ("", []) if cursor is None else (" AND r.id < ?", [cursor])
        rows = query(
            connection, f"SELECT r.id FROM runs r WHERE {where}{more} ORDER BY r.id DESC LIMIT ?",
            *values, *bound, limit + 1,
        )  # fmt: skip
        found = [queries.find(connection, row.id, store) for row in rows]
        items += [run_row(run) for run in found if wanted.accepts(run.status)]
        if len(rows) <= limit:
            break
        cursor = rows[-1].id
    total = query(
        connection, f"SELECT COUNT(*) AS n FROM (SELECT 1 FROM runs r WHERE {where} LIMIT {_COUNTED}) AS counted",
        *values,
    )[0].n  # fmt: skip
    shown = items[:limit]
    return {
        "items": shown, "next": shown[-1]["id"] if len(items) > limit else None, "total_estimate": int(total),
    }  # fmt: skip


def facets(connection: Connection, wanted: RunFilter) -> dict[str, list[list[Any]]]:
    """Return how many of the runs there are by status, policy, project and tool, most first."""
    where, values = wanted.where()
    rows = query(connection, f"SELECT r.id, r.status, r.policy, r.project, r.owner, r.heartbeat_ns "
                             f"FROM runs r WHERE {where}", *values)  # fmt: skip
    status: Counter[str] = Counter()
    policy: Counter[str] = Counter()
    project: Counter[str] = Counter()
    kept: set[str] = set()
    for row in rows:
        real = row.status
        if real == "running" and not alive(row.owner, row.heartbeat_ns):
            real = "interrupted"
        if wanted.accepts(real):
            status[real] += 1
            policy[row.policy] += 1
            project[row.project] += 1
            kept.add(row.id)
    return {
        "status": _counted(status), "policy": _counted(policy), "project": _counted(project),
        "tool": _counted(_tools(connection, wanted, where, values, kept)),
    }  # fmt: skip


def _tools(
    connection: Connection, wanted: RunFilter, where: str, values: Sequence[Any], kept: set[str]
) -> Counter[str]:
    if wanted.exact:
        rows = query(
            connection, "SELECT k.tool, COUNT(DISTINCT k.run_id) AS n FROM calls k JOIN runs r ON r.id = k.run_id "
            f"WHERE {where} GROUP BY k.tool", *values,
        )  # fmt: skip
        return Counter({row.tool: int(row.n) for row in rows})
    pairs = query(
        connection, f"SELECT DISTINCT k.run_id, k.tool FROM calls k JOIN runs r ON r.id = k.run_id WHERE {where}",
        *values,
    )  # fmt: skip
    return Counter(pair.tool for pair in pairs if pair.run_id in kept)


def _counted(counts: Counter[str]) -> list[list[Any]]:
    return [[name, n] for name, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
