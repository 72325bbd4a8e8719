"""Dropping alternatives that can never help.

a = ocr(page) | ocr(page)                         the second does what the first just failed to do
a = ocr(page) if .confidence >= 0.8 | ocr(page)   kept: it takes the result that the guard refused
"""

from dataclasses import replace

from catp.planlang.compiled import Rewrite
from catp.planlang.nodes import Attempt, Plan, Step
from catp.planlang.registry_view import RegistryView

__all__ = ["drop_unreachable", "unreachable"]


def unreachable(attempts: tuple[Attempt, ...], registry: RegistryView) -> dict[int, int]:
    """Map each attempt that can never help to the earlier one that makes it useless.

    A pure call with the same arguments gives the same result, so repeating it helps only if a guard it failed is gone:
    attempt j is useless after attempt i if all of i's accept guards are also j's. Calls that read or write may well
    succeed the second time and are never touched.
    """
    found: dict[int, int] = {}
    for later in range(1, len(attempts)):
        two = attempts[later]
        sig = registry.get(two.tool)
        if sig is None or sig.effects != "pure":
            continue
        for earlier in range(later):
            one = attempts[earlier]
            if one.tool == two.tool and one.args == two.args and set(one.accept) <= set(two.accept):
                found[later] = earlier
                break
    return found


def drop_unreachable(plan: Plan, registry: RegistryView) -> tuple[Plan, tuple[Rewrite, ...]]:
    """Remove useless alternatives from every step."""
    rewrites: list[Rewrite] = []
    steps: list[Step] = []
    for step in plan.steps:
        useless = unreachable(step.attempts, registry) if len(step.attempts) > 1 else {}
        for position in useless:
            tool = step.attempts[position].tool
            rewrites.append(Rewrite("alternatives", step.name, f"dropped a repeated call of {tool}: same result"))
        if useless:
            kept = tuple(attempt for position, attempt in enumerate(step.attempts) if position not in useless)
            notes = step.notes if len(kept) > 1 else tuple(note for note in step.notes if note.name != "hedge")
            step = Step(step.name, kept, step.when, step.otherwise, notes, step.span)
        steps.append(step)
    if not rewrites:
        return plan, ()
    return replace(plan, steps=tuple(steps)), tuple(rewrites)
