"""What the events so far tell of a step and of its units, and the step that is restored from it.

`catp.runtime.fold` reads the events.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from catp.runtime.events import RunEvent, StepStatus
from catp.runtime.hooks import ValueKey
from catp.runtime.repairs import FailedCall
from catp.runtime.restore import PastCall, RestoredStep, RestoredUnit, Say

__all__ = ["STEP_ENDS", "FoldedStep", "FoldedUnit", "end_element", "move_step", "restored_step"]

STEP_ENDS: dict[str, StepStatus] = {
    "node.finished": "ok", "node.failed": "failed", "node.skipped": "skipped", "node.refused": "refused",
    "node.poisoned": "poisoned", "node.cancelled": "cancelled",
}  # fmt: skip


@dataclass(slots=True)
class FoldedUnit:
    """A call of a step, or that of one element of a mapped step, with its tries so far."""

    in_hand: int = 0
    tries: dict[int, int] = field(default_factory=dict)
    number: int = 0
    problems: list[tuple[StepStatus, str]] = field(default_factory=list)
    open_calls: dict[int, PastCall] = field(default_factory=dict)
    last: PastCall | None = None
    won: int | None = None
    undecided: bool = False
    failure: FailedCall | None = None
    said: Say | None = None
    status: StepStatus | None = None
    reason: str = ""

    def forget_tries(self) -> None:
        """Start afresh, unless it has ended well; calls keep their numbers."""
        self.in_hand, self.undecided, self.said = 0, False, None
        self.tries.clear()
        self.problems.clear()
        if self.status != "ok":
            self.status, self.reason = None, ""


@dataclass(slots=True)
class FoldedStep:
    """A step so far; times are nanoseconds of the run's clock."""

    status: StepStatus | None = None
    reason: str = ""
    tool: str | None = None
    calls: int = 0
    otherwise: bool = False
    width: int | None = None
    ready_ns: int | None = None
    started_ns: int | None = None
    ended_ns: int | None = None
    units: dict[int | None, FoldedUnit] = field(default_factory=dict)

    def unit(self, element: int | None) -> FoldedUnit:
        """Return the unit of an element, None if the step is not mapped."""
        return self.units.setdefault(element, FoldedUnit())


def end_element(unit: FoldedUnit, event: RunEvent) -> None:
    """One element of a mapped step has ended."""
    if event.type == "node.finished":
        unit.status = "ok"
    elif event.type == "node.failed":
        unit.status, unit.reason = event.data.get("status", "failed"), event.data.get("reason", "")


def move_step(step: FoldedStep, event: RunEvent) -> None:
    """A step is ready, or has ended."""
    data = event.data
    if event.type == "node.ready":
        step.status, step.reason, step.ended_ns = None, "", None
        step.ready_ns = event.at_ns if step.ready_ns is None else step.ready_ns
        step.width = (data or {}).get("width")
    elif event.type in STEP_ENDS:
        step.status, step.reason, step.ended_ns = STEP_ENDS[event.type], data.get("reason", ""), event.at_ns
        step.tool = data.get("tool", step.tool)
        step.otherwise = "else" in data
        step.width = data.get("width", step.width)


def restored_step(name: str, step: FoldedStep, values: Mapping[ValueKey, Any]) -> RestoredStep:
    """Return what is known of a step, with those of its values that could be read back."""
    mapped = step.width is not None
    elements = range(step.width) if step.width is not None else (None,)
    units = {e: _restored_unit(name, e, step.units.get(e, FoldedUnit()), values) for e in elements}
    status = None if step.status == "cancelled" else step.status
    has_value, value = False, None
    if status == "ok" and mapped:
        finished = [unit for unit in units.values() if unit.status == "ok"]
        has_value = all(unit.has_value for unit in finished)
        value = [unit.value for unit in finished] if has_value else None
    elif status == "ok" or step.otherwise:
        has_value = ("step", name, None) in values
        value = values.get(("step", name, None))
        if step.otherwise and not has_value:
            status = None  # its guard is false again, and the value of `else` is read again
    return RestoredStep(
        status, step.reason, has_value, value, step.tool, step.calls, step.width,
        step.ready_ns, step.started_ns, step.ended_ns if status is not None else None, units,
    )  # fmt: skip


def _restored_unit(name: str, element: int | None, unit: FoldedUnit, values: Mapping[ValueKey, Any]) -> RestoredUnit:
    key: ValueKey = ("step", name, element)
    has_value = key in values
    status, told, attempt = unit.status, unit.status is not None, unit.in_hand
    if status is None and has_value and unit.number:
        status = "ok"  # a value is kept only of the call that won, even if the journal ends before it says so
    if status == "ok":
        attempt = unit.won if unit.won is not None else unit.last.alternative if unit.last else 0
    elif unit.open_calls:
        attempt = max(call.alternative for call in unit.open_calls.values())
    return RestoredUnit(
        status, has_value and status == "ok", values.get(key), attempt, dict(unit.tries), unit.number, unit.reason,
        tuple(unit.problems), told, unit.last, unit.undecided and not unit.open_calls, unit.said,
    )  # fmt: skip
