"""What identifies a plan in the ledger, the cache and the dashboard: a hash of what it does, not of how it is named.

Inputs are renamed `i0, i1, ..` and steps `n0, n1, ..` in order, the plan's own name and doc text are left out, output
names stay because the caller sees them. Two plans with the same digest do the same on the same inputs, by position.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace

from catp.planlang.jsonform import to_json
from catp.planlang.nodes import (
    Arg,
    Attempt,
    ListValue,
    Note,
    NoteArg,
    ObjectValue,
    Plan,
    Ref,
    Step,
    StepName,
    Template,
    Test,
    Value,
)

__all__ = ["canonical", "digest"]


def digest(plan: Plan) -> str:
    """Return the SHA-256, in hex, of the compact JSON form (keys sorted) of `canonical(plan)`."""
    form = json.dumps(to_json(canonical(plan)), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(form.encode("ascii")).hexdigest()


def canonical(plan: Plan) -> Plan:
    """Return `plan` with positional names and without name and doc text.

    References to names not defined above them (no checked plan has any) get a `?` in front, so that they cannot be
    taken for a positional name.
    """
    names: dict[str, str] = {}
    inputs = []
    for position, item in enumerate(plan.inputs):
        names[item.name] = f"i{position}"
        inputs.append(replace(item, name=names[item.name]))
    steps = []
    for position, step in enumerate(plan.steps):
        steps.append(_step(step, StepName(f"n{position}"), names))
        names[step.name] = f"n{position}"
    outputs = tuple(replace(output, ref=_ref(output.ref, names)) for output in plan.outputs)
    return Plan(tuple(steps), outputs, tuple(inputs), plan.limits)


def _step(step: Step, name: StepName, names: Mapping[str, str]) -> Step:
    return Step(
        name=name,
        attempts=tuple(_attempt(attempt, names) for attempt in step.attempts),
        when=tuple(Test(_ref(test.ref, names), test.op, test.value) for test in step.when),
        otherwise=None if step.otherwise is None else _ref(step.otherwise, names),
        notes=tuple(
            Note(note.name, tuple(NoteArg(_value(arg.value, names), arg.key) for arg in note.args))
            for note in step.notes
        ),
    )


def _attempt(attempt: Attempt, names: Mapping[str, str]) -> Attempt:
    args = tuple(Arg(_value(arg.value, names), arg.name, arg.each) for arg in attempt.args)
    return Attempt(attempt.tool, args, attempt.accept)


def _ref(ref: Ref, names: Mapping[str, str]) -> Ref:
    return Ref(names.get(ref.root, f"?{ref.root}"), ref.path, ref.optional)


def _value(value: Value, names: Mapping[str, str]) -> Value:
    match value:
        case Ref():
            return _ref(value, names)
        case Template():
            return Template(tuple(_ref(part, names) if isinstance(part, Ref) else part for part in value.parts))
        case ListValue():
            return ListValue(tuple(_value(item, names) for item in value.items))
        case ObjectValue():
            return ObjectValue(tuple((key, _value(item, names)) for key, item in value.pairs))
        case _:
            return value
