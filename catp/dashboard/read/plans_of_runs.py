"""Which plan a run has, and which one the latest run of the same task had."""

import json

from sqlalchemy import Connection

from catp.store.statements import query

__all__ = ["plan_in_force", "previous_plan"]

_LOOKED_AT = 20_000
"""Runs among which the latest one of a task is looked for."""


def plan_in_force(connection: Connection, run_id: str) -> str:
    """Return the text of the plan that a run (full id) has now: the one it began with, or that of the last repair."""
    later = query(
        connection, "SELECT data_json FROM events WHERE run_id = ? AND type = 'run.replanned' "
        "ORDER BY run_seq DESC LIMIT 1", run_id,
    )  # fmt: skip
    if later:
        return str(json.loads(later[0].data_json)["source"])
    sql = "SELECT plans.source FROM plans JOIN runs ON runs.plan_hash = plans.hash WHERE runs.id = ?"
    return str(query(connection, sql, run_id)[0].source)


def previous_plan(connection: Connection, task: str, before: str | None = None) -> tuple[str, str, str] | None:
    """Return id, plan digest and plan text of the latest run of a task (before a run); None if there is none lately."""
    bound, values = ("", ()) if before is None else ("WHERE id < ? ", (before,))
    rows = query(
        connection, f"SELECT late.id, late.plan_hash, plans.source FROM (SELECT id, task, plan_hash FROM runs {bound}"
        f"ORDER BY id DESC LIMIT {_LOOKED_AT}) AS late JOIN plans ON plans.hash = late.plan_hash "
        "WHERE late.task = ? ORDER BY late.id DESC LIMIT 1", *values, task,
    )  # fmt: skip
    return (rows[0].id, rows[0].plan_hash, rows[0].source) if rows else None
