"""What the first layout kept in columns of runs and costs, written into the events, so that they tell everything."""

import json
from typing import Any

from sqlalchemy import Connection, RowMapping, text

from catp.planlang.money import Money, format_usd, parse_usd

__all__ = ["copy_events", "copy_outputs"]

_CODECS = {
    "text/plain; charset=utf-8": "text", "application/octet-stream": "bytes", "image/png": "png", "image/tiff": "tiff",
}  # fmt: skip
_ADD_EVENT = text(
    "INSERT INTO events (seq, run_id, run_seq, ts_ns, type, step, attempt, element, data_json) "
    "VALUES (:seq, :run_id, :run_seq, :ts_ns, :type, :step, :attempt, :element, :data_json)"
)
_ADD_VALUE = text(
    "INSERT INTO node_io (run_id, kind, name, element, codec, mime, inline, sha256) "
    "VALUES (:run_id, 'output', :name, -1, :codec, :mime, :inline, :sha256)"
)


def copy_events(connection: Connection) -> None:
    """Copy every event; `run.created` gets what is known of the run, `node.settled` its ledger rows."""
    for run in connection.execute(text("SELECT * FROM old_runs ORDER BY id")).all():
        rows = _rows_by_call(connection, run.id)
        seq = max((row["seq"] for call in rows.values() for row in call), default=0)
        found = connection.execute(text("SELECT * FROM old_events WHERE run_id = :id ORDER BY run_seq"), {"id": run.id})
        events = []
        for event in found.mappings():
            data = json.loads(event["data_json"])
            if event["type"] == "run.created":
                data = {**_about(run), **data}
            elif event["type"] == "node.settled":
                charged = rows.get((event["step"], event["attempt"], event["element"]))
                if charged is None and data.get("amount") is not None and parse_usd(data["amount"]):
                    seq += 1  # the run was killed before its ledger was written
                    charged = [_unwritten(seq, data["amount"])]
                data["rows"] = charged or []
            events.append({**event, "data_json": json.dumps(data)})
        if events:
            connection.execute(_ADD_EVENT, events)


def _about(run: Any) -> dict[str, Any]:
    price = {"low": run.est_cost_lo, "expected": run.est_cost_p50, "p95": run.est_cost_hi}
    return {
        "task": run.task, "policy": run.policy, "project": "default", "agent": "", "alpha": run.alpha,
        "quality": run.predicted_quality, "latency_ms": run.est_latency_ms,
        "price": {name: _usd(amount) for name, amount in price.items()},
    }  # fmt: skip


def _rows_by_call(connection: Connection, run_id: str) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    costs = connection.execute(text("SELECT * FROM old_costs WHERE run_id = :id ORDER BY seq"), {"id": run_id})
    for cost in costs.mappings():
        found.setdefault((cost["step"], cost["attempt"], cost["element"]), []).append(_ledger_row(cost))
    return found


def _ledger_row(cost: RowMapping) -> dict[str, Any]:
    full = {
        "seq": cost["seq"], "kind": cost["kind"], "quantity": cost["quantity"], "unit": cost["unit"],
        "unit_price": cost["unit_price_usd"], "amount": _usd(cost["amount_nano"]), "source": cost["source"],
        "priced": bool(cost["priced"]), "estimate": _usd(cost["estimate_nano"]),
        "overrun": bool(cost["overrun"]) or None, "note": cost["note"] or None,
    }  # fmt: skip
    return {key: value for key, value in full.items() if value is not None}


def _unwritten(seq: int, amount: str) -> dict[str, Any]:
    return {
        "seq": seq, "kind": "call", "quantity": 1.0, "unit": "call", "amount": amount, "source": "measured",
        "priced": True, "note": "the run ended before its ledger was written",
    }  # fmt: skip


def _usd(amount: int | None) -> str | None:
    return None if amount is None else format_usd(Money(amount))


def copy_outputs(connection: Connection) -> None:
    """Copy the values of outputs; records were kept as plain JSON, which can only be shown."""
    found = connection.execute(text("SELECT * FROM old_outputs WHERE mime IS NOT NULL"))
    values = [
        {
            "run_id": row["run_id"], "name": row["name"], "codec": _CODECS.get(row["mime"]), "mime": row["mime"],
            "inline": None if row["inline_text"] is None else row["inline_text"].encode("utf-8", "replace"),
            "sha256": row["sha256"],
        }
        for row in found.mappings()
    ]  # fmt: skip
    if values:
        connection.execute(_ADD_VALUE, values)
