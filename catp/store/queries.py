"""Reading runs: pages, one run, its events, values and calls. Functions of a connection, for `Database.read`."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, or_, select

from catp.planlang.money import Money
from catp.planlang.registry_view import Latency, PriceRange, Size
from catp.runtime.events import RunEvent
from catp.store import tables
from catp.store.ownership import alive
from catp.store.records import RunSummary, StoredOutput, StoredStep
from catp.store.statements import query
from catp.tools.call_fact import CallFact
from catp.tools.usage import usage_from_json

__all__ = [
    "calls_after", "costs", "driven", "events", "find", "outputs", "page", "plan_source", "steps", "summaries",
    "values",
]  # fmt: skip

_RUN_COLUMNS = (
    "id, project, agent, task, policy, plan_hash, status, created_ns, ended_ns, est_cost_lo, est_cost_p50, "
    "est_cost_hi, cost_nano, saved_nano, unpriced, budget_nano, deadline_ms, est_latency_ms, latency_ms, alpha, "
    "predicted_quality, parent_run_id, fork_step, owner, heartbeat_ns, "
    "(SELECT s.value FROM scores s WHERE s.run_id = r.id) AS quality"
)


def page(
    connection: Connection, *, limit: int, before: str | None, project: str | None, status: str | None
) -> list[RunSummary]:
    """Runs, newest first, from the one before `before`."""
    found: list[RunSummary] = []
    while len(found) < limit:
        rows = _rows(connection, limit, before, project, "running" if status == "interrupted" else status)
        summaries = [_summary(row) for row in rows]
        found += [summary for summary in summaries if status in (None, summary.status)]
        if len(rows) < limit:
            break
        before = rows[-1].id
    return found[:limit]


def _rows(
    connection: Connection, limit: int, before: str | None, project: str | None, status: str | None
) -> Sequence[Any]:
    asked = [("id < ?", before), ("project = ?", project), ("status = ?", status)]
    where = " AND ".join(test for test, value in asked if value is not None)
    sql = f"SELECT {_RUN_COLUMNS} FROM runs r {'WHERE ' + where if where else ''} ORDER BY id DESC LIMIT ?"
    return query(connection, sql, *(value for _, value in asked if value is not None), limit)


def summaries(connection: Connection, where: str, *values: Any) -> list[RunSummary]:
    """Runs by an SQL test of `runs r`, with its order and limit; `values` are its parameters."""
    return [_summary(row) for row in query(connection, f"SELECT {_RUN_COLUMNS} FROM runs r WHERE {where}", *values)]


def driven(connection: Connection) -> list[str]:
    """The owners of runs that are alive: a run that says `running` is driven if its owner is one of them."""
    rows = query(
        connection, "SELECT owner, MAX(heartbeat_ns) AS beat FROM runs WHERE status = 'running' "
        "AND owner IS NOT NULL GROUP BY owner",
    )  # fmt: skip
    return [row.owner for row in rows if alive(row.owner, row.beat)]


def find(connection: Connection, run_id: str, store: str) -> RunSummary:
    """One run by its id or an unambiguous part of it; raise `KeyError` naming what was found instead."""
    wanted = run_id.upper()
    exact = query(connection, f"SELECT {_RUN_COLUMNS} FROM runs r WHERE id = ?", wanted)
    if exact:
        return _summary(exact[0])
    # ULIDs of one day share their first characters, so people copy the end as often as the start.
    column = tables.runs.c.id
    pattern = wanted.replace("%", "").replace("_", "").replace("\\", "")
    tests = or_(column.like(f"{pattern}%"), column.like(f"%{pattern}"))
    found = connection.execute(select(column).where(tests).order_by(column.desc()).limit(3)).scalars().all()
    if not pattern or not found:
        raise KeyError(f"no run {run_id!r} in {store}; `catp runs list` shows what is there")
    if len(found) > 1:
        raise KeyError(f"{run_id!r} fits several runs: {', '.join(found)}; write more of the id")
    return find(connection, found[0], store)


def _summary(row: Any) -> RunSummary:
    status = row.status
    if status == "running" and not alive(row.owner, row.heartbeat_ns):
        status = "interrupted"
    return RunSummary(
        id=row.id, project=row.project, agent=row.agent, task=row.task, policy=row.policy, plan_hash=row.plan_hash,
        status=status, created_ns=row.created_ns, ended_ns=row.ended_ns,
        estimate=PriceRange(row.est_cost_lo, row.est_cost_p50, row.est_cost_hi), cost=row.cost_nano,
        saved=row.saved_nano, unpriced=row.unpriced, budget=row.budget_nano, deadline_ms=row.deadline_ms,
        est_latency_ms=row.est_latency_ms, latency_ms=row.latency_ms, alpha=row.alpha,
        predicted_quality=row.predicted_quality, parent=row.parent_run_id, fork_step=row.fork_step,
        quality=row.quality,
    )  # fmt: skip


def plan_source(connection: Connection, plan_hash: str) -> str:
    """The text of a plan."""
    return str(query(connection, "SELECT source FROM plans WHERE hash = ?", plan_hash)[0].source)


def steps(connection: Connection, run_id: str) -> list[StoredStep]:
    """The steps of a run that something happened to, in the order in which it did."""
    rows = query(
        connection,
        "SELECT step, status, reason, tool, calls, ready_ns, started_ns, ended_ns, cost_nano, saved_nano FROM steps "
        "WHERE run_id = ? ORDER BY coalesce(ready_ns, ended_ns, started_ns), step",
        run_id,
    )
    return [StoredStep(*row) for row in rows]


def costs(connection: Connection, run_id: str) -> list[dict[str, Any]]:
    """The ledger rows of a run, in order."""
    wanted = select(tables.costs).where(tables.costs.c.run_id == run_id).order_by(tables.costs.c.seq)
    return [dict(row._mapping) for row in connection.execute(wanted)]


def events(connection: Connection, run_id: str, after_seq: int = 0, most: int | None = None) -> list[RunEvent]:
    """The events of a run after one of them, in order; the first `most` of them."""
    rows = query(
        connection,
        "SELECT run_seq, run_id, ts_ns, type, step, attempt, element, data_json FROM events "
        f"WHERE run_id = ? AND run_seq > ? ORDER BY run_seq{'' if most is None else ' LIMIT ?'}",
        run_id, after_seq, *(() if most is None else (most,)),
    )  # fmt: skip
    return [
        RunEvent(r.run_seq, r.run_id, r.ts_ns, r.type, r.step, r.attempt, r.element, json.loads(r.data_json))
        for r in rows
    ]


def values(connection: Connection, run_id: str) -> Sequence[Any]:
    """The kept values of a run: kind, name, element, codec, mime, inline bytes, digest."""
    return query(
        connection,
        "SELECT kind, name, element, codec, mime, inline, sha256 FROM node_io WHERE run_id = ? "
        "ORDER BY kind, name, element",
        run_id,
    )


def outputs(connection: Connection, run_id: str) -> list[StoredOutput]:
    """The outputs of a finished run, in the order of the plan; none while it is going on."""
    found = query(
        connection,
        "SELECT data_json FROM events WHERE run_id = ? AND type IN ('run.finished', 'run.waiting') "
        "ORDER BY run_seq DESC LIMIT 1",
        run_id,
    )
    if not found:
        return []
    kept = {row.name: row for row in values(connection, run_id) if row.kind == "output"}
    ends = json.loads(found[0].data_json).get("outputs", {})
    return [_output(name, end, kept.get(name)) for name, end in ends.items()]


def _output(name: str, end: dict[str, Any], row: Any | None) -> StoredOutput:
    if end["status"] != "ok" or row is None:
        return StoredOutput(name, end["status"], end.get("reason"))
    return StoredOutput(name, "ok", end.get("reason"), row.mime, _text(row), row.sha256)


def _text(row: Any) -> str | None:
    """What people read of a short value; the exact form of a record is not for them."""
    if row.inline is None:
        return None
    if row.codec == "value/1":
        from catp.runtime.codec import DecodeError, decode
        from catp.runtime.codec_shown import shown

        try:
            return shown(decode(row.codec, bytes(row.inline)))[1].decode()
        except DecodeError:  # a class that this process does not know
            return json.dumps(json.loads(bytes(row.inline)).get("value"))
    return bytes(row.inline).decode("utf-8", "replace")


# --- calls ----------------------------------------------------------------------------------------------------------

_CALLS = """
SELECT tool, version, ended_ns, size, output_json, usage_json, cost_nano, reserved_nano, est_cost_nano, est_ms, p95_ms,
    outcome, run_id, step, element, attempt
FROM calls
WHERE outcome IS NOT NULL AND ended_ns IS NOT NULL AND usage_json IS NOT NULL AND cached = {false} {more}
ORDER BY ended_ns, run_id, step, element, attempt LIMIT ?
"""
_GAVE_NOTHING = frozenset({"error", "timeout", "rejected"})


def calls_after(
    connection: Connection, *, tool: str | None, since_ns: int, after: tuple[Any, ...] | None, limit: int
) -> list[tuple[CallFact, tuple[Any, ...]]]:
    """One page of metered calls by the time they ended, each with the key that the next page goes on after."""
    tests = ["ended_ns >= ?"]
    parameters: list[Any] = [since_ns]
    if tool is not None:
        tests.append("tool = ?")
        parameters.append(tool)
    if after is not None:
        tests.append("(ended_ns, run_id, step, element, attempt) > (?, ?, ?, ?, ?)")
        parameters.extend(after)
    false = "FALSE" if connection.dialect.name == "postgresql" else "0"
    sql = _CALLS.format(false=false, more="".join(f" AND {test}" for test in tests))
    return [_fact(row) for row in query(connection, sql, *parameters, limit)]


def _fact(row: Any) -> tuple[CallFact, tuple[Any, ...]]:
    predicted = None
    if row.est_cost_nano is not None:
        predicted = PriceRange(row.est_cost_nano, row.est_cost_nano, row.reserved_nano or row.est_cost_nano)
    times = None if row.est_ms is None else Latency(row.est_ms, row.p95_ms or row.est_ms)
    output = None if row.output_json is None else Size(*json.loads(row.output_json))
    usage = usage_from_json(json.loads(row.usage_json))
    amount = None if row.cost_nano is None else Money(row.cost_nano)
    fact = CallFact(
        row.tool, row.version, row.ended_ns, row.size or 1, output, usage, amount, predicted, times,
        row.outcome in _GAVE_NOTHING,
    )  # fmt: skip
    return fact, (row.ended_ns, row.run_id, row.step, row.element, row.attempt)
