"""What identifies a plan in the ledger, the cache and the dashboard: a hash of what it does, not of how it is named.

Inputs are renamed `i0, i1, ..` and steps `n0, n1, ..` in order, the plan's own name and doc text are left out, output
names stay because the caller sees them, and so does `@approve`, which says what may not happen unasked. Two plans with
the same digest do the same on the same inputs, by position.
"""

import hashlib
import json
from itertools import count
from typing import Any

from catp.planlang.jsonform import from_json
from catp.planlang.jsonwrite import Writer
from catp.planlang.nodes import Input, Plan, Ref, Step

__all__ = ["canonical", "digest"]


def digest(plan: Plan) -> str:
    """Return the SHA-256, in hex, of the compact JSON form (keys sorted) of `canonical(plan)`."""
    form = json.dumps(_Positional().plan(plan), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(form.encode("ascii")).hexdigest()


def canonical(plan: Plan) -> Plan:
    """Return `plan` with positional names and without name and doc text.

    Raises:
        PlanError: if a reference names nothing above it (no checked plan has any).
    """
    return from_json(_Positional().plan(plan))


class _Positional(Writer):
    """Writes positions for names.

    References to names not defined above them get a `?` in front, so that they cannot be taken for a position.
    """

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.positions = count(), count()

    def plan(self, plan: Plan) -> dict[str, Any]:
        return super().plan(Plan(plan.steps, plan.outputs, plan.inputs, plan.limits, approve=plan.approve))

    def input(self, item: Input) -> dict[str, Any]:
        form = super().input(item)
        form["name"] = self.names[item.name] = f"i{next(self.positions[0])}"
        return form

    def step(self, step: Step) -> dict[str, Any]:
        form = super().step(step)
        form["name"] = self.names[step.name] = f"n{next(self.positions[1])}"
        return form

    def ref(self, ref: Ref) -> str:
        name = self.names.get(ref.root) or f"?{ref.root}"
        return name + str(ref)[len(ref.root) :] if ref.path or ref.optional else name
