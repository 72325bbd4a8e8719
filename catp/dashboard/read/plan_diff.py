"""What differs between two plans, step by step: steps are the same if they have the same name."""

from typing import Any

from catp.planlang.nodes import Plan, Step
from catp.planlang.printer import to_text

__all__ = ["plan_diff"]


def plan_diff(new: Plan, old: Plan) -> dict[str, Any]:
    """Return how `new` came from `old`: `{"same", "added", "removed", "changed", "outputs", "says"}`."""
    sides = [{str(step.name): step for step in plan.steps} for plan in (new, old)]
    mine, theirs = sides
    outputs = [{output.name for output in plan.outputs} for plan in (new, old)]
    changed = [name for name in mine if name in theirs and mine[name] != theirs[name]]
    found: dict[str, Any] = {
        "same": new.steps == old.steps and new.outputs == old.outputs,
        "added": [_step(mine[name]) for name in mine if name not in theirs],
        "removed": [_step(theirs[name]) for name in theirs if name not in mine],
        "changed": [
            _step(mine[name]) | {"before": _text(theirs[name]), "tool_before": str(theirs[name].attempts[0].tool)}
            for name in changed
        ],
        "outputs": {"added": sorted(outputs[0] - outputs[1]), "removed": sorted(outputs[1] - outputs[0])},
    }  # fmt: skip
    return found | {"says": _in_words(found)}


def _in_words(found: dict[str, Any]) -> list[str]:
    """One line for each step that differs."""
    lines = [f"{kind}: {one['text']}" for kind in ("added", "removed") for one in found[kind]]
    return lines + [f"changed: {one['before']} → {one['text']}" for one in found["changed"]]


def _step(step: Step) -> dict[str, Any]:
    return {"id": str(step.name), "tool": str(step.attempts[0].tool), "text": _text(step)}


def _text(step: Step) -> str:
    return to_text(Plan((step,), ())).strip()
