"""One form for all plans that do the same: candidate sets are keyed by it, planners tell plans apart by it.

`catp.planlang.digest` tells plans apart by the order of their steps. Here arguments are named and complete, equal calls
merged, useless steps dropped, steps sorted by what they compute, inputs and outputs by name.
"""

import hashlib
import json
from typing import Any

from catp.planlang.check import check
from catp.planlang.jsonwrite import Writer
from catp.planlang.nodes import Plan, Ref, Step, step_refs
from catp.planlang.passes.alternatives import drop_unreachable
from catp.planlang.passes.cse import merge_common
from catp.planlang.passes.dead import drop_dead
from catp.planlang.passes.normalise import normalise
from catp.planlang.registry_view import RegistryView

__all__ = ["canonical_plan"]


def canonical_plan(plan: Plan, registry: RegistryView) -> Plan:
    """Return the canonical form of a plan, without its name and text; `digest` of it is the plan's canonical hash.

    Raises:
        PlanError: if the plan is not valid for `registry`.
    """
    check(plan, registry).raise_errors(None)
    for rewrite in (normalise, drop_unreachable, merge_common, drop_dead):
        plan, _ = rewrite(plan, registry)
    used = {ref.root for step in plan.steps for _, ref in step_refs(step)} | {o.ref.root for o in plan.outputs}
    inputs = sorted((item for item in plan.inputs if item.name in used), key=lambda item: item.name)
    outputs = sorted(plan.outputs, key=lambda item: item.name)
    return Plan(_sorted(plan), tuple(outputs), tuple(inputs), plan.limits, approve=plan.approve)


def _sorted(plan: Plan) -> tuple[Step, ...]:
    """Steps by depth, then by a digest of all they are made from, which no name of a step takes part in."""
    marks = {item.name: f"in {item.name}" for item in plan.inputs}
    depths = dict.fromkeys(marks, 0)
    for step in plan.steps:  # a step's parents stand above it
        parents = [ref.root for _, ref in step_refs(step)]
        depths[step.name] = 1 + max((depths[parent] for parent in parents), default=0)
        form = json.dumps(_Marked(marks).step(step), sort_keys=True)
        marks[step.name] = hashlib.sha256(form.encode()).hexdigest()
    return tuple(sorted(plan.steps, key=lambda step: (depths[step.name], marks[step.name])))


class _Marked(Writer):
    """Writes what a step refers to as a digest of its making, and no name for the step itself."""

    def __init__(self, marks: dict[str, str]) -> None:
        self.marks = marks

    def step(self, step: Step) -> dict[str, Any]:
        form = super().step(step)
        del form["name"]
        return form

    def ref(self, ref: Ref) -> str:
        return self.marks[ref.root] + str(ref)[len(ref.root) :]
