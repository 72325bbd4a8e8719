"""One node of a run: its calls and ledger rows; apart from these its values, which may be large and hostile.

Texts are cut, media are named by their digest, and nothing of a value is ever markup: it is a JSON string.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection

from catp.dashboard.forms import iso, usd
from catp.planlang.nodes import Ref, step_refs
from catp.planlang.parser import parse
from catp.store import queries
from catp.store.records import StoredValue
from catp.store.statements import query
from catp.store.store import RunStore
from catp.store.tables import NO_ELEMENT

__all__ = ["ledger_rows", "node_io", "node_page"]

_TEXT = 20_000
_LARGEST = 8_000_000
_ELEMENTS = 100


def node_page(connection: Connection, run_id: str, step: str, store: str) -> dict[str, Any]:
    """Return calls and ledger rows of a node; raise `KeyError` if the run or the node is not there."""
    run = queries.find(connection, run_id, store)
    _check(connection, run.plan_hash, run.id, step)
    calls = query(
        connection, "SELECT element, attempt, tool, version, alternative, outcome, cached, started_ns, ended_ns, "
        "reserved_nano, est_cost_nano, est_ms, p95_ms, cost_nano, ms, size, error_type, reason FROM calls "
        "WHERE run_id = ? AND step = ? ORDER BY element, attempt", run.id, step,
    )  # fmt: skip
    rows = [row for row in queries.costs(connection, run.id) if row["step"] == step]
    priced = [row["amount_nano"] for row in rows if row["amount_nano"] is not None]
    return {
        "run": run.id, "id": step,
        "attempts": [
            {
                "element": None if c.element == NO_ELEMENT else c.element, "attempt": c.attempt, "tool": c.tool,
                "version": c.version, "alternative": c.alternative, "outcome": c.outcome, "cached": bool(c.cached),
                "start": iso(c.started_ns), "end": iso(c.ended_ns), "ms": c.ms, "size": c.size,
                "cost": usd(c.cost_nano), "reserved": usd(c.reserved_nano),
                "est": {"cost": usd(c.est_cost_nano), "ms": c.est_ms, "p95_ms": c.p95_ms},
                "error": None if c.error_type is None else {"type": c.error_type, "reason": c.reason},
            }
            for c in calls
        ],
        "ledger": ledger_rows(rows),
        "total": usd(sum(priced)) if priced else None, "unpriced": len(rows) - len(priced),
    }  # fmt: skip


def ledger_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return ledger rows with amounts as decimal strings."""
    return [
        {
            "seq": row["seq"], "at": iso(row["ts_ns"]), "step": row["step"], "attempt": row["attempt"],
            "element": row["element"], "tool": row["tool"], "kind": row["kind"], "quantity": row["quantity"],
            "unit": row["unit"], "unit_price": row["unit_price_usd"], "amount": usd(row["amount_nano"]),
            "source": row["source"], "priced": bool(row["priced"]), "estimate": usd(row["estimate_nano"]),
            "overrun": bool(row["overrun"]), "saved": usd(row["saved_nano"]), "note": row["note"],
        }
        for row in rows
    ]  # fmt: skip


def _check(connection: Connection, plan_hash: str, run_id: str, step: str) -> None:
    plan = parse(queries.plan_source(connection, plan_hash))
    known = any(planned.name == step for planned in plan.steps)
    if not known and not any(found.step == step for found in queries.steps(connection, run_id)):
        raise KeyError(f"run {run_id} has no node {step[:100]!r}")


def node_io(store: RunStore, run_id: str, step: str) -> dict[str, Any]:
    """Return `{"in", "out"}` of a node: one entry per value, or element of one."""
    run = store.find(run_id)
    store.database.read(lambda connection: _check(connection, run.plan_hash, run.id, step))
    plan = parse(store.plan_source(run.plan_hash))
    planned = next((one for one in plan.steps if one.name == step), None)
    inputs = {given.name for given in plan.inputs}
    kept = store.values(run.id)
    entries: list[dict[str, Any]] = []
    for slot, ref in _uses(planned):
        kind = "input" if ref.root in inputs else "step"
        entries += _entries(store, slot, ref.root, [v for v in kept if (v.kind, v.name) == (kind, ref.root)])
    own = [value for value in kept if (value.kind, value.name) == ("step", step)]
    return {"run": run.id, "id": step, "in": entries, "out": _entries(store, "result", step, own)}


def _uses(planned: Any) -> Iterator[tuple[str, Ref]]:
    seen = set()
    for slot, ref in [] if planned is None else step_refs(planned):
        if (slot, ref.root) not in seen:
            seen.add((slot, ref.root))
            yield slot, ref


def _entries(store: RunStore, port: str, source: str, values: list[StoredValue]) -> list[dict[str, Any]]:
    entries = [{"port": port, "from": source, **_value(store, value)} for value in values[:_ELEMENTS]]
    if len(values) > _ELEMENTS:
        entries.append({"port": port, "from": source, "more": len(values) - _ELEMENTS})
    return entries


def _value(store: RunStore, value: StoredValue) -> dict[str, Any]:
    about: dict[str, Any] = {
        "element": value.element, "mime": value.mime, "bytes": None, "text": None, "truncated": False,
        "artifact": value.sha256, "error": None,
    }  # fmt: skip
    size = None
    if value.sha256 is not None:
        size = store.database.read(
            lambda connection: query(connection, "SELECT bytes FROM artifacts WHERE sha256 = ?", value.sha256)
        )[0].bytes
        about["bytes"] = size
    textual = value.codec is not None or value.mime.startswith("text/") or "json" in value.mime
    if not textual or value.mime.startswith("image/") or (size or 0) > _LARGEST:
        return about
    try:
        data = value.read()
    except (ValueError, OSError) as error:  # changed, or gone
        return about | {"error": str(error)}
    text = _text(value.codec, data)
    about |= {"bytes": len(data), "text": text[:_TEXT], "truncated": len(text) > _TEXT}
    return about


def _text(codec: str | None, data: bytes) -> str:
    """What people read of a value; the exact form of a record is not for them."""
    if codec == "value/1":
        from catp.runtime.codec import DecodeError, decode
        from catp.runtime.codec_shown import shown

        try:
            mime, seen = shown(decode(codec, data))
            return seen.decode() if mime == "application/json" else f"({mime})"
        except DecodeError:  # a class that this process does not know
            pass
    return data.decode("utf-8", "replace")
