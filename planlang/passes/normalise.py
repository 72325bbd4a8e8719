"""The normal form: two plans that say the same in different ways become equal, and the runtime meets one form only.

ask(q, 3)                       ask(question=q, top=3)            arguments by name, in the registry's order
ask(question=q)                 ask(question=q, top=5)            defaults written out
t"ab"                           "ab"                              templates without references are texts
@timeout(3s) @retry(n=2)        @retry(2) @timeout(3s)            annotations in fixed order, first argument bare
@cache(off)                     @cache("off")                     `off` is a word, not a reference
"""

from dataclasses import replace

from catp.planlang.compiled import Rewrite
from catp.planlang.nodes import (
    NOTE_NAMES,
    Arg,
    Attempt,
    ListValue,
    Literal,
    Note,
    NoteArg,
    Plan,
    Ref,
    Step,
    Template,
    Value,
)
from catp.planlang.notes import NOTE_PARAMS, bind_note
from catp.planlang.passes.rewrite import map_value
from catp.planlang.registry_view import RegistryView, ToolSig

__all__ = ["normalise"]

_ORDER = {name: position for position, name in enumerate(NOTE_NAMES)}


def normalise(plan: Plan, registry: RegistryView) -> tuple[Plan, tuple[Rewrite, ...]]:
    """Return the normal form of a checked plan; the rewrites say which defaults were filled in."""
    rewrites: list[Rewrite] = []
    steps = tuple(_step(step, registry, rewrites) for step in plan.steps)
    return replace(plan, steps=steps), tuple(rewrites)


def _step(step: Step, registry: RegistryView, rewrites: list[Rewrite]) -> Step:
    attempts = []
    for attempt in step.attempts:
        sig = registry.get(attempt.tool)
        assert sig is not None, "normalise needs a checked plan"
        args, filled = _arguments(attempt, sig)
        if filled:
            names = ", ".join(filled)
            rewrites.append(Rewrite("normalise", step.name, f"filled in the default of {names} of {sig.name}"))
        attempts.append(Attempt(attempt.tool, args, attempt.accept, attempt.span))
    notes = tuple(sorted((_note(note) for note in step.notes), key=lambda note: _ORDER[note.name]))
    return Step(step.name, tuple(attempts), step.when, step.otherwise, notes, step.span)


def _arguments(attempt: Attempt, sig: ToolSig) -> tuple[tuple[Arg, ...], list[str]]:
    given: dict[str, Arg] = {}
    for position, arg in enumerate(attempt.args):
        name = arg.name or sig.params[position].name
        value = arg.value
        if not isinstance(value, Ref | Literal):
            value = _fold(value) if isinstance(value, Template) else map_value(value, _fold)
        given[name] = arg if value is arg.value and arg.name else Arg(value, name, arg.each, arg.span)
    args: list[Arg] = []
    filled: list[str] = []
    for param in sig.params:
        found = given.get(param.name)
        if found is not None:
            args.append(found)
        elif param.default is not None:
            args.append(Arg(param.default, param.name))
            filled.append(param.name)
    return tuple(args), filled


def _fold(value: Value) -> Value:
    if not isinstance(value, Template):
        return value
    parts: list[str | Ref] = []
    for part in value.parts:
        if isinstance(part, str) and parts and isinstance(parts[-1], str):
            parts[-1] += part
        elif part != "":
            parts.append(part)
    if not parts:
        return Literal("", value.span)
    if len(parts) == 1 and isinstance(parts[0], str):
        return Literal(parts[0], value.span)
    return value if len(parts) == len(value.parts) else Template(tuple(parts), value.span)


def _note(note: Note) -> Note:
    if note.name == "after":
        steps = {arg.value.root: arg for arg in note.args if isinstance(arg.value, Ref)}
        return Note("after", tuple(steps.values()), note.span)
    bound, _ = bind_note(note)
    names = [param.name for param in NOTE_PARAMS[note.name]]
    args = [
        NoteArg(_note_value(note, bound[name].value), None if name == names[0] else name, bound[name].span)
        for name in names
        if name in bound
    ]
    return Note(note.name, tuple(args), note.span)


def _note_value(note: Note, value: Value) -> Value:
    if note.name == "cache" and isinstance(value, Ref):
        return Literal("off", value.span)
    if note.name == "retry" and isinstance(value, Literal) and isinstance(value.value, str):
        return ListValue((value,), value.span)
    return value if isinstance(value, Literal | Ref) else map_value(value, _fold)
