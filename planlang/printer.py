"""A `Plan` as canonical text: the same tree always gives the same text, and that text parses back to the same tree.

Order is header, inputs, limits, steps, outputs. A step that would pass `WIDTH` is continued on lines that start with
`|` or `@`. Comments and the spelling of constants (`60s` for `1m`) are not part of the tree and are not kept.
"""

import math
from typing import Final, NoReturn

from catp.planlang.errors import Diagnostic, PlanError
from catp.planlang.nodes import (
    OPERATORS,
    Arg,
    Attempt,
    Duration,
    Input,
    ListValue,
    Literal,
    Note,
    ObjectValue,
    Output,
    OwnTest,
    Plan,
    Ref,
    Scalar,
    Step,
    Template,
    Usd,
    Value,
)
from catp.planlang.scalars import (
    KEYWORDS,
    MAX_AMOUNT,
    MAX_DIGITS,
    format_amount,
    format_duration,
    format_number,
    format_string,
    format_template,
    is_name,
    is_word,
)
from catp.planlang.statements import MAX_DEPTH
from catp.planlang.types import Type

__all__ = ["WIDTH", "to_text", "value_text"]

WIDTH: Final = 100
"""Longer steps are wrapped."""

_TOO_LARGE: Final = 10**MAX_DIGITS


def to_text(plan: Plan) -> str:
    """Write `plan` in text form, one statement per line, ending in a newline (empty for an empty plan).

    Raises:
        PlanError: if the tree holds something the language cannot spell, such as a negative amount, a NaN or a name
            with a space. Trees that come from `parse` or `from_json` never do.
    """
    blocks = [
        _header(plan) + [_input(i) for i in plan.inputs] + _limits(plan),
        [_step(step) for step in plan.steps],
        [f"out {', '.join(_output(o) for o in plan.outputs)}"] if plan.outputs else [],
    ]
    return "".join(f"{line}\n" for block in blocks for line in block)


def value_text(value: Value, depth: int = 0) -> str:
    """Write one value as it stands in an argument; `depth` is how many brackets stand around it."""
    if depth > MAX_DEPTH or (depth == MAX_DEPTH and isinstance(value, ListValue | ObjectValue)):
        _refuse("E006", f"brackets nested deeper than {MAX_DEPTH}")
    match value:
        case Literal():
            return _scalar(value.value)
        case Ref():
            return _ref(value)
        case Template():
            return _template(value)
        case ListValue():
            return f"[{', '.join(value_text(item, depth + 1) for item in value.items)}]"
        case ObjectValue():
            return f"{{{', '.join(f'{_key(key)}: {value_text(item, depth + 1)}' for key, item in value.pairs)}}}"


def _refuse(code: str, message: str, path: str | None = None) -> NoReturn:
    raise PlanError([Diagnostic(code, message, path=path)])


def _name(name: str) -> str:
    if not is_name(name):
        _refuse("E004", f"{name!r} cannot be a name")
    return name


def _word(word: str) -> str:
    if not is_word(word):
        _refuse("E004", f"{word!r} cannot be the name of a field, a parameter or a tool")
    return word


def _is_head(word: str) -> bool:
    return is_word(word) and word not in KEYWORDS


def _head(word: str) -> str:
    if not _is_head(word):
        _refuse("E004", f"{word!r} cannot be the name of a tool or an annotation")
    return word


def _header(plan: Plan) -> list[str]:
    if plan.doc is not None and plan.name is None:
        _refuse("E007", "a plan with a doc text needs a name", "/doc")
    words = [] if plan.name is None else [_name(plan.name)]
    words += [] if plan.doc is None else [_string(plan.doc)]
    words += ["@approve"] if plan.approve else []
    return [" ".join(["plan", *words])] if words else []


def _input(item: Input) -> str:
    default = "" if item.default is None else f" = {value_text(item.default)}"
    return f"in {_name(item.name)}: {_type(item.type)}{default}"


def _type(type_: Type, depth: int = 0) -> str:
    if depth > MAX_DEPTH or not (type_.name == "null" or _is_head(type_.name)):
        _refuse("E004", f"{str(type_)[:60]!r} cannot be a type")
    inner = "" if type_.item is None else f"[{_type(type_.item, depth + 1)}]"
    return f"{type_.name}{inner}{'?' if type_.optional else ''}"


def _limits(plan: Plan) -> list[str]:
    limits = plan.limits
    bounds = [
        f"{kind} {_scalar(value)}"
        for kind, value in (("cost", limits.cost), ("latency", limits.latency), ("calls", limits.calls))
        if value is not None
    ]
    return [f"limit {', '.join(bounds)}"] if bounds else []


def _output(output: Output) -> str:
    named = "" if output.name == Output.default_name(output.ref) else f"{_word(output.name)} = "
    return f"{named}{_ref(output.ref)}{'?' if output.optional else ''}"


def _step(step: Step) -> str:
    if not step.attempts:
        _refuse("E004", f"step {step.name!r} calls nothing", f"step {step.name}")
    if step.otherwise is not None and not step.when:
        _refuse("E004", f"step {step.name!r} has an else value but no condition", f"step {step.name}")
    attempts = [_attempt(attempt) for attempt in step.attempts]
    if step.when:
        tests = " and ".join(f"{_ref(t.ref)} {_operator(t.op)} {_scalar(t.value.value)}" for t in step.when)
        attempts[-1] += f" when {tests}" + (f" else {_ref(step.otherwise)}" if step.otherwise is not None else "")
    notes = [_note(note) for note in step.notes]
    line = " ".join([f"{_name(step.name)} = {' | '.join(attempts)}", *notes])
    if len(line) <= WIDTH:
        return line
    rest = [f"    | {attempt}" for attempt in attempts[1:]]
    if notes:
        rest.append(f"    {' '.join(notes)}")
    return "\n".join([f"{step.name} = {attempts[0]}", *rest])


def _attempt(attempt: Attempt) -> str:
    head, *rest = attempt.tool.split(".")
    tool = ".".join([_head(head), *(_word(part) for part in rest)])
    accept = " and ".join(_own_test(test) for test in attempt.accept)
    return f"{tool}({', '.join(_arg(arg) for arg in attempt.args)}){' if ' + accept if accept else ''}"


def _own_test(test: OwnTest) -> str:
    path = "".join(f".{_word(field)}" for field in test.path) or "."
    return f"{path} {_operator(test.op)} {_scalar(test.value.value)}"


def _arg(arg: Arg) -> str:
    name = "" if arg.name is None else f"{_word(arg.name)}="
    return f"{name}{'each ' if arg.each else ''}{value_text(arg.value, 1)}"


def _note(note: Note) -> str:
    if not note.args:
        return f"@{_head(note.name)}"
    args = (f"{'' if arg.key is None else _word(arg.key) + '='}{value_text(arg.value, 1)}" for arg in note.args)
    return f"@{_head(note.name)}({', '.join(args)})"


def _ref(ref: Ref) -> str:
    _name(ref.root)
    for part in ref.path:
        if isinstance(part, str):
            _word(part)
        elif not 0 <= part < 10**9:
            _refuse("E004", f"{part} is no position in a list")
    return str(ref)


def _template(template: Template) -> str:
    previous: str | Ref = Ref("_")
    for part in template.parts:
        if isinstance(part, Ref):
            if part.optional:
                _refuse("E008", f"`{part}`: a placeholder cannot be optional")
            _ref(part)
        elif not part or isinstance(previous, str):
            _refuse("E008", "a template with empty or adjacent texts: join them")
        previous = part
    return format_template(template, quoted=True)


def _key(key: str) -> str:
    return key if is_word(key) else _string(key)


def _operator(op: str) -> str:
    if op not in OPERATORS:
        _refuse("E004", f"{op!r} is no comparison")
    return op


def _string(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        _refuse("E008", f"text with a lone surrogate: {text[:40]!r}")
    return format_string(text)


def _scalar(value: Scalar) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return _string(value)
        case int() | float():
            return _number(value)
        case Usd():
            text = format_amount(value) if value.nano >= 0 else ""
            if not text or len(text) - 1 > MAX_AMOUNT:
                _refuse("E003", f"{value.nano} nano-USD cannot be written")
            return text
        case Duration():
            text = format_duration(value) if value.ns >= 0 else ""
            if not text or len(text) > MAX_AMOUNT:
                _refuse("E003", f"{value.ns} ns cannot be written")
            return text


def _number(value: int | float) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        _refuse("E003", f"{value} is no number a plan can hold")
    if isinstance(value, int) and (abs(value) >= _TOO_LARGE):
        _refuse("E003", f"a number of more than {MAX_DIGITS:,} digits")
    return format_number(value)
