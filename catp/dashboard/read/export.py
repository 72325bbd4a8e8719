"""One run as a file that needs no store.

| format | what |
|---|---|
| `json` | everything but the values |
| `csv` | the ledger |
| `otlp` | OpenTelemetry spans, as the run had them (`catp.telemetry.stored`) |
| `html` | a page to read and to send, with inputs and outputs (`catp.dashboard.report`) |
"""

import json
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

from catp.dashboard.read.node_calls import ledger_rows
from catp.dashboard.read.node_page import value_json
from catp.dashboard.read.run_page import run_page
from catp.dashboard.report import Shown, report
from catp.dashboard.sheet import csv_of
from catp.store.records import StoredRun, StoredValue
from catp.store.statements import query
from catp.store.store import RunStore
from catp.tools.catalogue import Catalogue

__all__ = ["Export", "Format", "NoTelemetry", "export"]

Format: TypeAlias = Literal["json", "csv", "otlp", "html"]
Tools: TypeAlias = Callable[[], Catalogue]

_PICTURE, _PICTURES = 2_000_000, 16_000_000
"""Most bytes of one picture in a page, and of all; of larger ones the small copy is put in."""

_COLUMNS = [
    "seq", "at", "step", "attempt", "element", "tool", "kind", "quantity", "unit", "unit_price", "amount", "source",
    "priced", "estimate", "overrun", "saved", "note",
]  # fmt: skip


class Export(NamedTuple):
    """A file: its name, its media type and its bytes."""

    name: str
    mime: str
    data: bytes


class NoTelemetry(RuntimeError):
    """OpenTelemetry is not installed."""


def export(store: RunStore, run_id: str, format: Format, tools: Tools) -> Export:
    """Return a run, by its id or an unambiguous part of it; `tools` gives the tools it ran with, as far as there are.

    Raises:
        KeyError: There is no such run.
        NoTelemetry: `otlp` needs the extra `otel`.
    """
    run = store.get(run_id)
    data, mime = _WRITERS[format](store, run, tools)
    ending = "otlp.json" if format == "otlp" else format
    return Export(f"{run.summary.id}.{ending}", mime, data.encode("utf-8", "replace"))


def _page(store: RunStore, run: StoredRun) -> dict[str, Any]:
    return store.database.read(partial(run_page, run_id=run.summary.id, store=store.name))


def _rows(run: StoredRun) -> list[dict[str, Any]]:
    return ledger_rows([dict(row) for row in run.costs])


def _json(store: RunStore, run: StoredRun, _: Tools) -> tuple[str, str]:
    whole = {
        "schema": "catp.run-export/1", "run": _page(store, run), "plan": run.plan_source, "ledger": _rows(run),
        "events": [event.to_json() for event in run.events],
    }  # fmt: skip
    return json.dumps(whole, ensure_ascii=False), "application/json"


def _otlp(store: RunStore, run: StoredRun, tools: Tools) -> tuple[str, str]:
    try:
        from catp.telemetry.otlp_json import otlp_json
        from catp.telemetry.stored import stored_spans
    except ModuleNotFoundError as error:
        raise NoTelemetry(f"spans need {error.name}, which is not installed: pip install 'catp[otel]'") from None
    from catp.telemetry.names import Conventions

    return json.dumps(otlp_json(stored_spans(run, tools(), Conventions.chosen()))), "application/json"


def _html(store: RunStore, run: StoredRun, _: Tools) -> tuple[str, str]:
    kept = [value for value in store.values(run.summary.id) if value.kind in ("input", "output")]
    room = _PICTURES
    values = []
    for value in kept:
        picture = _picture(store, value, min(room, _PICTURE))
        room -= len(picture or b"")
        values.append(Shown(value.kind, value.name, value_json(store, value), picture))
    there = {value.name for value in kept if value.kind == "output"}
    ended = [end for end in run.outputs if end.name not in there or end.status != "ok"]
    values = [value for value in values if not (value.kind == "output" and value.name in {end.name for end in ended})]
    values += [Shown("output", end.name, {"status": end.status, "reason": end.reason}, None) for end in ended]
    source = store.plan_source(run.summary.plan_hash)
    return report(_page(store, run), source, _rows(run), values), "text/html; charset=utf-8"


def _picture(store: RunStore, value: StoredValue, most: int) -> bytes | None:
    """The bytes of a picture, or of its small copy; None if there is none that fits or can be read."""
    if value.sha256 is None or not value.mime.startswith("image/"):
        return None
    sql = "SELECT bytes, thumb_sha256 AS small FROM artifacts WHERE sha256 = ?"
    about = store.database.read(lambda connection: query(connection, sql, value.sha256))[0]
    whole = about.bytes <= most and value.mime != "image/tiff"
    digest = value.sha256 if whole else about.small
    try:
        data = None if digest is None else store.artifact(digest)
    except (FileNotFoundError, ValueError):  # gone, or changed
        return None
    return data if data is not None and len(data) <= most else None


def _csv(store: RunStore, run: StoredRun, _: Tools) -> tuple[str, str]:
    return csv_of(_COLUMNS, _rows(run)), "text/csv; charset=utf-8"


_WRITERS = {"json": _json, "csv": _csv, "otlp": _otlp, "html": _html}
