"""The ledger rows of a run as its journal says them: what `LedgerRow.to_json` wrote, read back."""

from collections.abc import Mapping
from typing import Any

from catp.planlang.money import Money, parse_usd
from catp.runtime.events import RunEvent
from catp.runtime.ledger_rows import CallKey, LedgerRow
from catp.runtime.planning import PLANNING_STEP

__all__ = ["planning_rows", "recorded_money", "rows_of"]


def rows_of(event: RunEvent, tool: str) -> list[LedgerRow]:
    """The ledger rows in a `node.settled` event."""
    assert event.step is not None
    key = CallKey(event.run_id, event.step, event.attempt or 0, tool, event.element)
    return [_row(key, row) for row in event.data.get("rows", ())]


def planning_rows(event: RunEvent) -> list[LedgerRow]:
    """The ledger rows of planning and of calls started early in vain, in an event of the whole run."""
    rows: list[LedgerRow] = []
    planning = event.data.get("planning")
    if planning is not None:
        key = CallKey(event.run_id, PLANNING_STEP, planning["number"], planning["planner"])
        rows += [_row(key, row) for row in planning["rows"]]
    for call in event.data.get("eager", {}).get("calls", ()):
        key = CallKey(event.run_id, PLANNING_STEP, 1, call["tool"], call["number"])
        rows += [_row(key, row) for row in call["rows"]]
    return rows


def _row(key: CallKey, row: Mapping[str, Any]) -> LedgerRow:
    return LedgerRow(
        row["seq"], key.run_id, key.step, key.attempt, key.element, key.tool, row["kind"],
        row["quantity"], row["unit"], row.get("unit_price"), recorded_money(row.get("amount")), row["source"],
        row["priced"], recorded_money(row.get("estimate")), bool(row.get("overrun")), row.get("note", ""),
        recorded_money(row.get("saved")),
    )  # fmt: skip


def recorded_money(text: str | None) -> Money | None:
    """An amount in an event; None if nobody knew it."""
    return None if text is None else parse_usd(text)
