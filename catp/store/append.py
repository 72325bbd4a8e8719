"""One batch into the store: events, values, artefacts, projections and owners, all or nothing."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection

from catp.runtime.events import RunEvent
from catp.store import ownership
from catp.store.artifacts import Artifact
from catp.store.errors import RunOwned, StoreConflict
from catp.store.plans import PlanRow, add_plans
from catp.store.projector import project
from catp.store.statements import execute, query

__all__ = ["Batch", "ValueRow", "append"]


class ValueRow(NamedTuple):
    """A row of `node_io`; `artifacts` are what it refers to, the value's own first, its thumbnail second."""

    run_id: str
    kind: str
    name: str
    element: int
    codec: str | None
    mime: str
    inline: bytes | None
    artifacts: tuple[Artifact, ...] = ()


@dataclass(slots=True)
class Batch:
    """What is written together. `released` runs are over for this process; `touched` runs must appear in the commit.

    `plans` are those that created runs have and considered.
    """

    events: list[RunEvent] = field(default_factory=list)
    values: list[ValueRow] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    touched: list[str] = field(default_factory=list)
    plans: list[PlanRow] = field(default_factory=list)


_ADD_EVENT = """
INSERT INTO events (run_id, run_seq, ts_ns, type, step, attempt, element, data_json) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_ADD_ARTIFACT = """
INSERT INTO artifacts (sha256, mime, bytes, width, height, thumb_sha256, created_ns, content)
VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (sha256) DO NOTHING
"""
_ADD_VALUE = """
INSERT INTO node_io (run_id, kind, name, element, codec, mime, inline, sha256) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (run_id, kind, name, element) DO UPDATE SET codec = excluded.codec, mime = excluded.mime,
    inline = excluded.inline, sha256 = excluded.sha256
"""
_OWN = "UPDATE runs SET owner = ?, heartbeat_ns = ? WHERE id = ?"
_MOST_PARAMETERS = 500

_encode = json.JSONEncoder(default=str, separators=(",", ":")).encode


def append(connection: Connection, batch: Batch, *, owner: str, in_rows: bool) -> None:
    """Write a batch. Events that are there already are left out, so a batch may be written again after any failure.

    Args:
        connection: In a transaction.
        batch: What to write; the events of each run in order.
        owner: The process that drives the runs.
        in_rows: True if the bytes of artefacts belong into their rows.

    Raises:
        StoreConflict: An event is missing before one of these, or its run does not exist.
        RunOwned: Another process has taken over one of the runs.
    """
    known = _known(connection, {*(e.run_id for e in batch.events), *batch.touched}, owner)
    events = _new(batch.events, known)
    add_plans(connection, batch.plans)  # they were kept before, but nothing has held them
    project(connection, events)
    execute(connection, _ADD_EVENT, [_event_row(event) for event in events])
    _add_values(connection, batch.values, in_rows)
    now = time.time_ns()
    execute(connection, _OWN, [(owner, now, event.run_id) for event in events if event.type == "run.created"])
    ownership.beat(connection, batch.touched, owner=owner)
    ownership.release(connection, batch.released, owner=owner)


def _known(connection: Connection, run_ids: Iterable[str], owner: str) -> dict[str, int]:
    """The number of the last event of each run that exists; raise if another process drives it."""
    known: dict[str, int] = {}
    wanted = sorted(run_ids)
    for start in range(0, len(wanted), _MOST_PARAMETERS):
        part = wanted[start : start + _MOST_PARAMETERS]
        sql = (
            "SELECT id, owner, (SELECT max(run_seq) FROM events WHERE run_id = runs.id) AS last FROM runs "
            f"WHERE id IN ({', '.join('?' * len(part))})"
        )
        for row in query(connection, sql, *part):
            if row.owner not in (None, owner):
                raise RunOwned(f"run {row.id} was taken over by another process ({row.owner})")
            known[row.id] = row.last or 0
    return known


def _new(events: Sequence[RunEvent], known: dict[str, int]) -> list[RunEvent]:
    new = []
    for event in events:
        last = known.get(event.run_id, 0)
        if event.seq <= last:
            continue  # a commit whose answer was lost had written it
        if event.seq != last + 1 or (event.run_id not in known and event.type != "run.created"):
            raise StoreConflict(
                f"event {event.seq} of run {event.run_id} does not follow the last one in the store, {last}"
            )
        known[event.run_id] = event.seq
        new.append(event)
    return new


def _event_row(event: RunEvent) -> tuple[Any, ...]:
    data: Mapping[str, Any] = event.data
    text = _encode(data if type(data) is dict else dict(data)) if data else "{}"
    return (event.run_id, event.seq, event.at_ns, event.type, event.step, event.attempt, event.element, text)


def _add_values(connection: Connection, values: Sequence[ValueRow], in_rows: bool) -> None:
    if not values:
        return
    rows: dict[str, tuple[Any, ...]] = {}
    for value in values:
        thumb = value.artifacts[1].sha256 if len(value.artifacts) > 1 else None
        for artifact, small in zip(value.artifacts, (thumb, None), strict=False):
            digest = artifact.sha256
            if digest in rows and small is None:
                continue
            rows[digest] = (
                digest, artifact.mime, len(artifact.data), artifact.width, artifact.height, small, time.time_ns(),
                artifact.data if in_rows else None,
            )  # fmt: skip
    execute(connection, _ADD_ARTIFACT, [rows[digest] for digest in sorted(rows)])
    execute(connection, _ADD_VALUE, [_value_row(value) for value in values])


def _value_row(value: ValueRow) -> tuple[Any, ...]:
    digest = value.artifacts[0].sha256 if value.artifacts else None
    return (
        value.run_id, value.kind, value.name, value.element, value.codec, value.mime, value.inline, digest,
    )  # fmt: skip
