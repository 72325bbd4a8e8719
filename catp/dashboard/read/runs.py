"""The list of runs: filters, pages in any order, counts by facet. Functions of a connection, for `Database.read`.

A page ends with a cursor: the figure it is sorted by and the id of its last run, so the next page goes on after that
run whatever has been added meanwhile. Ids are ULIDs: their order is that of creation.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from sqlalchemy import Connection

from catp.dashboard.forms import WORKED, run_row
from catp.dashboard.problems import Problem
from catp.store.queries import driven, summaries
from catp.store.records import RunSummary
from catp.store.statements import query

__all__ = ["SORTS", "Cursor", "RunFilter", "Sort", "facets", "page", "selected"]

Sort: TypeAlias = Literal["-created", "created", "-cost", "cost", "-latency", "latency"]
SORTS: tuple[str, ...] = get_args(Sort)

_COUNTED = 10_000
_SAMPLED = 5_000
_NAMED = 500
_ID = re.compile("[0-9A-Z]{26}")
_FIGURES = {"cost": re.compile(r"-?\d{1,18}"), "latency": re.compile(r"\d{1,18}(\.\d{1,20})?(e[+-]\d{2,3})?")}
_COLUMNS = {"cost": "r.cost_nano", "latency": "r.latency_ms"}
_QUALITY = "COALESCE((SELECT s.value FROM scores s WHERE s.run_id = r.id), r.predicted_quality)"


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs; None or empty means all. Amounts in nano-USD, times in Unix nanoseconds (`until_ns` excluded).

    `tool` may name several, with commas: runs that called all of them. Quality is the measured one, else the predicted.
    """

    status: tuple[str, ...] = ()
    policy: str | None = None
    project: str | None = None
    tool: str | None = None
    text: str | None = None
    cost_min: int | None = None
    cost_max: int | None = None
    from_ns: int | None = None
    until_ns: int | None = None
    plan: str | None = None
    quality_min: float | None = None
    quality_max: float | None = None

    def where(self, alive: Sequence[str] = ()) -> tuple[str, list[Any]]:
        """Return the SQL test of `runs r` and its parameters; `alive` are the owners that are (`queries.driven`)."""
        tests, values = ["1 = 1"], list[Any]()
        if self.status:
            test, those = self._of_status(alive)
            tests.append(test)
            values += those
        asked = [
            ("r.policy = ?", self.policy), ("r.project = ?", self.project), ("r.cost_nano >= ?", self.cost_min),
            ("r.cost_nano <= ?", self.cost_max), ("r.created_ns >= ?", self.from_ns),
            ("r.created_ns < ?", self.until_ns), ("r.plan_hash = ?", self.plan),
            (f"{_QUALITY} >= ?", self.quality_min), (f"{_QUALITY} <= ?", self.quality_max),
            *(("r.id IN (SELECT c.run_id FROM calls c WHERE c.tool = ?)", tool) for tool in _names(self.tool)),
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

    def _of_status(self, alive: Sequence[str]) -> tuple[str, list[Any]]:
        """The store has no `interrupted`: such a run says `running`, and no living process drives it."""
        plain = [status for status in dict.fromkeys(self.status) if status not in ("running", "interrupted")]
        tests, values = [f"r.status IN ({_marks(plain)})"] if plain else [], list[Any](plain)
        if {"running", "interrupted"} <= set(self.status):
            tests.append("r.status = 'running'")
        elif "running" in self.status:
            tests.append(f"r.status = 'running' AND r.owner IN ({_marks(alive)})" if alive else "1 = 0")
            values += alive
        elif "interrupted" in self.status:
            lost = f" AND (r.owner IS NULL OR r.owner NOT IN ({_marks(alive)}))" if alive else ""
            tests.append(f"r.status = 'running'{lost}")
            values += alive
        return f"({' OR '.join(tests)})", values


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page ended: the figure of the run it is sorted by (None: it has none) and the run's id."""

    value: float | None
    run_id: str

    def __str__(self) -> str:
        """Return it as it stands in a query."""
        return self.run_id if self.value is None else f"{self.value!r}:{self.run_id}"

    @classmethod
    def read(cls, text: str, sort: Sort) -> "Cursor":
        """Read what `str` wrote; raise `Problem` if it is nothing that this server sent for this order."""
        value, _, run_id = text.rpartition(":")
        name = sort.lstrip("-")
        if not _ID.fullmatch(run_id) or (value and not (name in _FIGURES and _FIGURES[name].fullmatch(value))):
            raise Problem(422, "query", f"cursor={text[:60]!r} is no `next` of this list sorted by {sort}")
        return cls(None if not value else int(value) if name == "cost" else float(value), run_id)


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def selected(
    connection: Connection, wanted: RunFilter, *, sort: Sort = "-created", after: Cursor | None = None, limit: int
) -> list[RunSummary]:
    """Return up to `limit` runs; those without the figure they are sorted by come last, the newest first."""
    where, values = wanted.where(driven(connection))
    found: list[RunSummary] = []
    for more, those, order in _stretches(sort, after):
        if len(found) < limit:
            test = f"{where}{more} ORDER BY {order} LIMIT ?"
            found += summaries(connection, test, *values, *those, limit - len(found))
    return found


def _stretches(sort: Sort, after: Cursor | None) -> Iterator[tuple[str, list[Any], str]]:
    """The parts of the list in order: a test, its parameters and the order; what lies before the cursor is left out."""
    down = sort.startswith("-")
    name, sign, word = sort.lstrip("-"), "<" if down else ">", "DESC" if down else "ASC"
    if name == "created":
        more, those = ("", []) if after is None else (f" AND r.id {sign} ?", [after.run_id])
        yield more, those, f"r.id {word}"
        return
    column = _COLUMNS[name]
    if after is None:
        yield f" AND {column} IS NOT NULL", [], f"{column} {word}, r.id {word}"
    elif after.value is not None:
        yield f" AND ({column}, r.id) {sign} (?, ?)", [after.value, after.run_id], f"{column} {word}, r.id {word}"
    if after is not None and after.value is None:
        yield f" AND {column} IS NULL AND r.id < ?", [after.run_id], "r.id DESC"
    else:
        yield f" AND {column} IS NULL", [], "r.id DESC"


def page(
    connection: Connection, wanted: RunFilter, *, sort: Sort = "-created", limit: int, after: Cursor | None = None
) -> dict[str, Any]:
    """Return `{"items", "next", "total_estimate"}`; `after` is the `next` of the page before."""
    found = selected(connection, wanted, sort=sort, after=after, limit=limit + 1)
    where, values = wanted.where(driven(connection))
    total = query(
        connection, f"SELECT COUNT(*) AS n FROM (SELECT 1 FROM runs r WHERE {where} LIMIT {_COUNTED}) AS counted",
        *values,
    )[0].n  # fmt: skip
    shown = found[:limit]
    done = _progress(connection, shown)
    return {
        "items": [{**run_row(run), "progress": done[run.id]} for run in shown],
        "next": str(_cursor(shown[-1], sort)) if len(found) > limit else None, "total_estimate": int(total),
    }  # fmt: skip


def _cursor(run: RunSummary, sort: Sort) -> Cursor:
    figures: dict[str, float | None] = {"created": None, "cost": run.cost, "latency": run.latency_ms}
    return Cursor(figures[sort.lstrip("-")], run.id)


def _progress(connection: Connection, runs: Sequence[RunSummary]) -> dict[str, dict[str, int]]:
    """How many steps the plan of each run has, and how many steps of the run are done."""
    if not runs:
        return {}
    hashes = sorted({run.plan_hash for run in runs})
    steps = dict(query(connection, f"SELECT hash, n_nodes FROM plans WHERE hash IN ({_marks(hashes)})", *hashes))
    worked: Counter[str] = Counter()
    known: Counter[str] = Counter()
    for row in query(
        connection, f"SELECT run_id, status, COUNT(*) AS n FROM steps WHERE run_id IN ({_marks(runs)}) "
        "GROUP BY run_id, status", *(run.id for run in runs),
    ):  # fmt: skip
        worked[row.run_id] += int(row.n) * (row.status in WORKED)
        known[row.run_id] += int(row.n)
    found = {}
    for run in runs:
        total = int(steps.get(run.plan_hash, 0))
        # of a plan that was done, what nothing is known of was needed by no output
        unneeded = total - known[run.id] if run.status in ("complete", "degraded") else 0
        found[run.id] = {"total": total, "done": max(0, min(total, worked[run.id] + unneeded))}
    return found


def facets(connection: Connection, wanted: RunFilter) -> dict[str, Any]:
    """Return how many of the runs there are by status, policy, project and tool, most first, up to 500 of each.

    Tools are counted in the newest `tools_of` of them: reading the calls of all would take seconds.
    """
    alive = driven(connection)
    where, values = wanted.where(alive)
    counts: dict[str, Counter[str]] = {name: Counter() for name in ("status", "policy", "project")}
    # two questions: the first is answered from an index alone, and `running` needs the owner as well
    ended = query(
        connection, "SELECT r.status, r.policy, r.project, COUNT(*) AS n FROM runs r "
        f"WHERE {where} AND r.status <> 'running' GROUP BY r.status, r.policy, r.project", *values,
    )  # fmt: skip
    rest = query(
        connection, "SELECT r.owner, r.policy, r.project, COUNT(*) AS n FROM runs r "
        f"WHERE {where} AND r.status = 'running' GROUP BY r.owner, r.policy, r.project", *values,
    )  # fmt: skip
    groups = [tuple(row) for row in ended]
    groups += [("running" if owner in alive else "interrupted", *row) for owner, *row in rest]
    for status, policy, project, n in groups:
        for name, value in (("status", status), ("policy", policy), ("project", project)):
            counts[name][value] += int(n)
    total = counts["status"].total()
    return {
        **{name: _counted(found) for name, found in counts.items()},
        "tool": _counted(_tools(connection, where, values)), "tools_of": min(total, _SAMPLED),
    }  # fmt: skip


def _tools(connection: Connection, where: str, values: Sequence[Any]) -> Counter[str]:
    rows = query(
        connection, "SELECT k.tool, COUNT(DISTINCT k.run_id) AS n FROM calls k WHERE k.run_id IN "
        f"(SELECT r.id FROM runs r WHERE {where} ORDER BY r.id DESC LIMIT {_SAMPLED}) GROUP BY k.tool", *values,
    )  # fmt: skip
    return Counter({row.tool: int(row.n) for row in rows})


def _counted(counts: Counter[str]) -> list[list[Any]]:
    return [[name, n] for name, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_NAMED]]


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))
