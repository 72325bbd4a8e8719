"""The audit trail: who changed what, and when. Deeds are only added; they outlive the runs they are about."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection

from catp.store.statements import clean, query

__all__ = ["Deed", "latest", "note"]

_ADD = "INSERT INTO deeds (at_ns, actor, action, target, detail_json) VALUES (?, ?, ?, ?, ?) RETURNING id"


class Deed(NamedTuple):
    """One change: what was done (`cancel`, `budget.set`), to what (a run id, a name), with which `detail` (JSON)."""

    id: int
    at_ns: int
    actor: str
    action: str
    target: str
    detail: Mapping[str, Any]


def note(
    connection: Connection, *, actor: str, action: str, target: str, detail: Mapping[str, Any], now_ns: int
) -> Deed:
    """Add a deed; values that JSON does not have are kept as their text."""
    text = json.dumps(dict(detail), default=str)
    actor, action, target = clean(actor), clean(action), clean(target)
    number = query(connection, _ADD, now_ns, actor, action, target, text)[0].id
    return Deed(int(number), now_ns, actor, action, target, json.loads(text))


def latest(connection: Connection, limit: int, before: int | None = None) -> list[Deed]:
    """Return the newest deeds, newest first; `before` is the id of the last one of the page before."""
    columns = "SELECT id, at_ns, actor, action, target, detail_json FROM deeds"
    if before is None:
        rows = query(connection, f"{columns} ORDER BY id DESC LIMIT ?", limit)
    else:
        rows = query(connection, f"{columns} WHERE id < ? ORDER BY id DESC LIMIT ?", before, limit)
    return [
        Deed(int(row.id), row.at_ns, row.actor, row.action, row.target, json.loads(row.detail_json)) for row in rows
    ]
