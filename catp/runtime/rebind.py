"""The shell's side of going on: values put back into place, money of the earlier life counted, the record of it all."""

from collections.abc import Iterator, Mapping
from typing import Any

from catp.planlang.money import format_usd
from catp.runtime.accounts import Accounts
from catp.runtime.program import StepInfo
from catp.runtime.restore import LostCall, Restored, RestoredStep
from catp.runtime.values import Values

__all__ = ["charge_lost", "new_values", "rebind", "rebind_elements", "resumed_data"]


def rebind(values: Values, past: Restored) -> None:
    """Give every step its value that has one; elements of an open map wait until it is open again."""
    for name, step in past.steps.items():
        unit = step.units.get(None)
        if step.width is not None:
            if step.status is not None and step.has_value:
                values.open_map(name, step.width)
                rebind_elements(values, name, step, step.width)
                values.close_map(name)
        elif step.has_value:
            values.bind(name, step.value)
        elif step.status is None and unit is not None and unit.has_value:
            values.bind(name, unit.value)


def rebind_elements(values: Values, name: str, step: RestoredStep, width: int) -> None:
    """Give the elements of a map their values."""
    for element, unit in step.units.items():
        if element is not None and element < width and unit.has_value:
            values.bind_element(name, element, unit.value)


def new_values(past: Restored) -> Iterator[tuple[str, int | None, Any]]:
    """Step values that the journal does not have: what somebody said a call gave, and all that a fork takes over."""
    for name, step in past.steps.items():
        if past.fork and step.width is None and step.has_value:
            yield name, None, step.value
        for element, unit in step.units.items():
            if unit.has_value and (unit.said == "done" or (past.fork and element is not None)):
                yield name, element, unit.value


def resumed_data(past: Restored) -> dict[str, Any]:
    """What the `run.resumed` event says: which life this is, and what becomes of the calls in doubt."""
    calls = {(call.step, call.element, call.number): call for call in past.lost}
    data: list[dict[str, Any]] = []
    for name, step in past.steps.items():
        for element, unit in step.units.items():
            last = unit.last
            if last is None:
                continue
            lost = calls.pop((name, element, last.number), None)
            if lost is not None or unit.said is not None:
                over = step.status is not None or (unit.status is not None and unit.said is None)
                data.append(_said(last, unit.said or ("over" if over else "again")))
    data += [_said(call, "over") for call in calls.values()]
    found = {
        "lives": past.lives + 1,
        "elapsed_ms": past.elapsed_ns / 1e6,
        "in_flight": data,
        "retried": list(past.retried),
        "notes": list(past.notes),
    }
    return {key: value for key, value in found.items() if value or key != "notes"}


def _said(call: LostCall, say: str) -> dict[str, Any]:
    return {"step": call.step, "element": call.element, "attempt": call.number, "tool": call.tool, "say": say}


def charge_lost(
    accounts: Accounts, past: Restored, steps: Mapping[str, StepInfo]
) -> tuple[tuple[LostCall, dict[str, Any]], ...]:
    """Count what the earlier life spent, charge the calls that never settled, and return their records."""
    accounts.resume(past, steps)
    charged = []
    for call in past.lost:
        settlement = accounts.orphan(call, steps)
        amount = settlement.amount
        notes = [row.note for row in settlement.rows if row.note]
        data = {
            "tool": call.tool, "outcome": "lost", "amount": None if amount is None else format_usd(amount),
            "ms": None, "rows": [row.to_json() for row in settlement.rows], "note": notes[0] if notes else "",
        }  # fmt: skip
        charged.append((call, data))
    return tuple(charged)
