"""Checking one step: what its alternatives have in common, its guards, its `else` value and its annotations."""

from catp.planlang.check_calls import check_attempt, check_comparison, check_possible
from catp.planlang.check_values import Scope, Slot
from catp.planlang.conditions import Condition
from catp.planlang.errors import Diagnostic, Span
from catp.planlang.nodes import Note, Ref, Step, Test
from catp.planlang.notes import note_problems, step_policy
from catp.planlang.types import Type

__all__ = ["check_step", "writes"]

_KEY = Slot("`@key`")
_TEXT = Type("text")


def check_step(scope: Scope, step: Step) -> Type | None:
    """Report what is wrong with a step; return the type of its value, or None if it has no known one."""
    results = [check_attempt(scope, attempt) for attempt in step.attempts]
    type_ = results[0] if len(results) == 1 else _common(scope, step, results)
    if step.when:
        _guards(scope, step.when)
    if step.otherwise is not None:
        type_ = _otherwise(scope, step, type_, step.otherwise)
    elif step.when and type_ is not None:
        type_ = Type(type_.name, type_.item, True)
    if step.notes:
        _notes(scope, step)
    return type_


def writes(scope: Scope, step: Step) -> bool:
    """True if any attempt calls a tool that changes the world."""
    sigs = (scope.registry.get(attempt.tool) for attempt in step.attempts)
    return any(sig is not None and sig.effects == "write" for sig in sigs)


def _common(scope: Scope, step: Step, results: list[Type | None]) -> Type | None:
    if not results:
        scope.report("E120", f"step `{step.name}` calls nothing", step.span, "a step needs at least one call")
        return None
    mapped = {any(arg.each for arg in attempt.args) for attempt in step.attempts}
    if len(mapped) > 1:
        message = f"some alternatives of `{step.name}` use `each` and others do not"
        scope.report("E120", message, step.span, "use `each` in all of them or in none")
        return None
    type_ = results[0]
    for attempt, other in zip(step.attempts[1:], results[1:], strict=True):
        if type_ is None or other is None:
            return None
        merged = scope.types.common(type_, other)
        if merged is None:
            message = f"`{step.attempts[0].tool}` gives {type_}, `{attempt.tool}` gives {other}: nothing in common"
            help_ = "alternatives must give the same type, or records that share a parent"
            scope.report("E120", message, attempt.span or step.span, help_)
            return None
        type_ = merged
    return type_


def _otherwise(scope: Scope, step: Step, type_: Type | None, ref: Ref) -> Type | None:
    other = scope.ref_type(ref)
    if ref.optional:
        scope.report("E121", f"`else {ref}` is the value itself, so it cannot be dropped", ref.span)
    if type_ is None or other is None:
        return type_
    merged = scope.types.common(type_, other)
    if merged is None:
        field = scope.field_that_fits(other, type_)
        help_ = f"write `else {Ref(ref.root, (*ref.path, field))}`" if field else None
        message = f"`{step.name}` is {type_}, but `{ref}` after `else` is {other}: nothing in common"
        scope.report("E120", message, ref.span, help_)
    return merged


def _guards(scope: Scope, when: tuple[Test, ...]) -> None:
    good: list[tuple[str, Span | None, Condition]] = []
    for test in when:
        type_ = scope.ref_type(test.ref)
        name = str(Ref(test.ref.root, test.ref.path))
        if test.ref.optional:
            scope.report("E121", f"a condition needs its value, so `{name}` cannot be optional", test.ref.span)
        if type_ is not None and check_comparison(scope, type_, test.op, test.value, f"`{name}`", test.span):
            good.append((name, test.span, (test.op, test.value.value)))
    check_possible(scope, good)


def _notes(scope: Scope, step: Step) -> None:
    seen: set[str] = set()
    for note in step.notes:
        problems = note_problems(note)
        for problem in problems:
            place = None if problem.span else scope.place
            scope.found.append(Diagnostic(problem.code, problem.message, problem.span, problem.help, path=place))
        if note.name in seen:
            scope.report("E112", f"`@{note.name}` is given twice", note.span, "write all of it in one annotation")
        seen.add(note.name)
        if not problems:
            _placement(scope, step, note)


def _placement(scope: Scope, step: Step, note: Note) -> None:
    if note.name == "quorum" and not step.mapped:
        scope.report("E112", f"`@quorum` needs a step that uses `each`, and `{step.name}` does not", note.span)
    elif note.name == "hedge" and len(step.attempts) < 2:
        help_ = "write another call after `|` for it to start"
        scope.report("E112", f"`@hedge` needs an alternative, and `{step.name}` has none", note.span, help_)
    elif note.name == "hedge" and writes(scope, step):
        help_ = "alternatives after `|` without `@hedge` run one after the other"
        scope.report("E112", "`@hedge` could run a tool that writes twice", note.span, help_)
    elif note.name == "after":
        for arg in note.args:
            if isinstance(arg.value, Ref):
                _earlier_step(scope, arg.value)
    elif note.name == "key":
        _key(scope, note)
    elif note.name == "cache":
        _cache(scope, step, note)


def _earlier_step(scope: Scope, ref: Ref) -> None:
    if ref.root in scope.known and ref.root not in scope.lines:
        scope.report("E111", f"`@after` waits for steps, and `{ref.root}` is an input", ref.span)
    else:
        scope.ref_type(ref)


def _cache(scope: Scope, step: Step, note: Note) -> None:
    effects = {sig.effects for attempt in step.attempts if (sig := scope.registry.get(attempt.tool)) is not None}
    if step_policy(Step(step.name, step.attempts, notes=(note,))).cache_ttl == 0:
        return
    if "write" in effects:
        help_ = "leave `@cache` out: a step that writes is called for what it does"
        scope.report("E112", f"`@cache` would leave out what `{step.name}` writes", note.span, help_)
    elif not note.args and "read" in effects:
        help_ = "say how long it stays true, such as `@cache(10m)`"
        scope.report("E112", f"what `{step.name}` reads may change, so `@cache` needs a time", note.span, help_)


def _key(scope: Scope, note: Note) -> None:
    value = note.args[0].value
    if isinstance(value, Ref) and value.optional:
        scope.report("E121", f"a key needs all its values, so `{value}` cannot be optional", value.span)
    given = scope.type_of(value)
    if given is not None and (given.name in ("json", "null", "any") or not scope.rendered(given)):
        scope.mismatch(_KEY, _TEXT, f"its value is {given}", value.span or note.span, 'write `@key(t"...{name}...")`')
