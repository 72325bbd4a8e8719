"""One run as a file that needs no store: JSON (everything but the values), CSV (its ledger)."""

import csv
import io
import json
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

from catp.dashboard.read.node_page import ledger_rows
from catp.dashboard.read.run_page import run_page
from catp.store.records import StoredRun
from catp.store.store import RunStore

__all__ = ["Export", "Format", "export"]

Format: TypeAlias = Literal["json", "csv"]

_COLUMNS = [
    "seq", "at", "step", "attempt", "element", "tool", "kind", "quantity", "unit", "unit_price", "amount", "source",
    "priced", "estimate", "overrun", "saved", "note",
]  # fmt: skip


class Export(NamedTuple):
    """A file: its name, its media type and its bytes."""

    name: str
    mime: str
    data: bytes


def export(store: RunStore, run_id: str, format: Format) -> Export:
    """Return a run, by its id or an unambiguous part of it; raise `KeyError` if there is none."""
    run = store.get(run_id)
    text, mime = _WRITERS[format](store, run)
    return Export(f"{run.summary.id}.{format}", mime, text.encode("utf-8", "replace"))


def _json(store: RunStore, run: StoredRun) -> tuple[str, str]:
    shown = store.database.read(partial(run_page, run_id=run.summary.id, store=store.name))
    whole = {
        "schema": "catp.run-export/1", "run": shown, "plan": run.plan_source,
        "ledger": ledger_rows([dict(row) for row in run.costs]), "events": [event.to_json() for event in run.events],
    }  # fmt: skip
    return json.dumps(whole, ensure_ascii=False), "application/json"


def _csv(store: RunStore, run: StoredRun) -> tuple[str, str]:
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, _COLUMNS)
    table.writeheader()
    rows = ledger_rows([dict(row) for row in run.costs])
    table.writerows({key: _tame(value) for key, value in row.items()} for row in rows)
    return text.getvalue(), "text/csv; charset=utf-8"


def _tame(value: Any) -> Any:
    """A text that a spreadsheet would compute is quoted with an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


_WRITERS = {"json": _json, "csv": _csv}
