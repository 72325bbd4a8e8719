"""Rebuilding values and steps with other references: shared by the passes that rename or simplify.

Whatever does not change is returned as the same object, so passes cost little where they do little.
"""

from collections.abc import Callable, Mapping

from catp.planlang.nodes import (
    Arg,
    Attempt,
    ListValue,
    Note,
    NoteArg,
    ObjectValue,
    Ref,
    Step,
    Template,
    Test,
    Value,
    step_refs,
)

__all__ = ["map_value", "rename_ref", "rename_step"]


def map_value(value: Value, change: Callable[[Value], Value]) -> Value:
    """Apply `change` to a value and everything in it, inside first."""
    if isinstance(value, ListValue):
        items = tuple(map_value(item, change) for item in value.items)
        value = ListValue(items, value.span)
    elif isinstance(value, ObjectValue):
        value = ObjectValue(tuple((key, map_value(item, change)) for key, item in value.pairs), value.span)
    return change(value)


def rename_ref(ref: Ref, names: Mapping[str, str]) -> Ref:
    """Return `ref` with its root renamed if `names` says so."""
    new = names.get(ref.root)
    return ref if new is None else Ref(new, ref.path, ref.optional, ref.span)


def rename_step(step: Step, names: Mapping[str, str]) -> Step:
    """Rename the roots of all references of a step: in arguments, guards, `else` and annotations."""
    if not any(ref.root in names for _, ref in step_refs(step)):
        return step

    def change(value: Value) -> Value:
        if isinstance(value, Ref):
            return rename_ref(value, names)
        if isinstance(value, Template):
            parts = tuple(rename_ref(part, names) if isinstance(part, Ref) else part for part in value.parts)
            return Template(parts, value.span)
        return value

    attempts = tuple(
        Attempt(
            attempt.tool,
            tuple(Arg(map_value(arg.value, change), arg.name, arg.each, arg.span) for arg in attempt.args),
            attempt.accept,
            attempt.span,
        )
        for attempt in step.attempts
    )
    when = tuple(Test(rename_ref(test.ref, names), test.op, test.value, test.span) for test in step.when)
    otherwise = None if step.otherwise is None else rename_ref(step.otherwise, names)
    notes = tuple(
        Note(
            note.name,
            tuple(NoteArg(map_value(arg.value, change), arg.key, arg.span) for arg in note.args),
            note.span,
        )
        for note in step.notes
    )
    return Step(step.name, attempts, when, otherwise, notes, step.span)
