"""Calls and ledger rows of one node, page by page: a step that runs once per element may have thousands."""

import re
from typing import Any

from sqlalchemy import Connection

from catp.dashboard.forms import iso, usd
from catp.dashboard.problems import Problem
from catp.store.statements import query
from catp.store.tables import NO_ELEMENT

__all__ = ["MOST", "calls_page", "ledger_page", "ledger_rows"]

MOST = 200
"""Calls, and ledger rows, that the page of a node itself has."""

_CALLS = """
SELECT element, attempt, tool, version, alternative, outcome, cached, key, started_ns, ended_ns, reserved_nano,
    est_cost_nano, est_ms, p95_ms, cost_nano, ms, size, error_type, reason
FROM calls WHERE run_id = ? AND step = ? AND (element, attempt) > (?, ?) ORDER BY element, attempt LIMIT ?
"""
_ROWS = """
SELECT seq, ts_ns, step, attempt, element, tool, kind, quantity, unit, unit_price_usd, amount_nano, source, priced,
    estimate_nano, overrun, saved_nano, note
FROM costs WHERE run_id = ? AND step = ? AND seq > ? ORDER BY seq LIMIT ?
"""
_CURSOR = re.compile(r"(-1|\d{1,9})\.(\d{1,9})")


def calls_page(
    connection: Connection, run_id: str, step: str, cursor: str | None = None, limit: int = MOST
) -> dict[str, Any]:
    """Return `{"items", "next"}`: calls by element and attempt, after `cursor`, the `next` of the page before."""
    at = _CURSOR.fullmatch(f"{NO_ELEMENT}.0" if cursor is None else cursor)  # attempts count from 1
    if at is None:
        raise Problem(422, "query", f"cursor={str(cursor)[:60]!r} is no `next` of the calls of a node")
    found = query(connection, _CALLS, run_id, step, int(at[1]), int(at[2]), limit + 1)
    last = found[limit - 1] if len(found) > limit else None
    return {
        "items": [_call(call) for call in found[:limit]],
        "next": None if last is None else f"{last.element}.{last.attempt}",
    }


def ledger_page(connection: Connection, run_id: str, step: str, cursor: int = 0, limit: int = MOST) -> dict[str, Any]:
    """Return `{"items", "next"}`: ledger rows in order, after the one with the number `cursor`."""
    found = query(connection, _ROWS, run_id, step, cursor, limit + 1)
    rows = ledger_rows([dict(row._mapping) for row in found[:limit]])
    return {"items": rows, "next": rows[-1]["seq"] if len(found) > limit else None}


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


def _call(call: Any) -> dict[str, Any]:
    return {
        "element": None if call.element == NO_ELEMENT else call.element, "attempt": call.attempt, "tool": call.tool,
        "version": call.version, "alternative": call.alternative, "outcome": call.outcome,
        "cached": bool(call.cached), "key": call.key, "start": iso(call.started_ns), "end": iso(call.ended_ns),
        "ms": call.ms, "size": call.size, "cost": usd(call.cost_nano), "reserved": usd(call.reserved_nano),
        "est": {"cost": usd(call.est_cost_nano), "ms": call.est_ms, "p95_ms": call.p95_ms},
        "error": None if call.error_type is None else {"type": call.error_type, "reason": call.reason},
    }  # fmt: skip
