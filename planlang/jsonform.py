"""A `Plan` as JSON values and back: the form that any provider's structured output can emit.

    {"planlang": 1, "name": .., "doc": .., "limits": {"cost", "latency", "calls"},
     "inputs": [{"name", "type", "default"?}],
     "steps": [{"name", "try": [{"tool", "args": [{"name"?, "each"?, "value"}], "accept": [[field, op, value]]}],
                "when": [[ref, op, value]], "else": ref, "notes": [[name, [[key | null, value]]]]}],
     "outputs": [{"name", "ref", "optional"?}]}

A value is a JSON scalar or one of `{"ref"}`, `{"template"}`, `{"list"}`, `{"object"}`, `{"money": "0.02"}`,
`{"duration": "3s"}`. `schema.json` describes the form (`json_schema`). What is absent may also be written as null,
except an input's `default`, where null is the constant. Anything else is refused, with a JSON pointer to the place.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any, Final

from catp.planlang.errors import Diagnostic, PlanError, Span
from catp.planlang.jsonread import NumberError, Object, Reader
from catp.planlang.lexer import decode_source
from catp.planlang.money import format_usd
from catp.planlang.nodes import (
    Attempt,
    Duration,
    Input,
    Limits,
    ListValue,
    Literal,
    Note,
    ObjectValue,
    Output,
    Plan,
    Ref,
    Scalar,
    Step,
    Template,
    Usd,
    Value,
)
from catp.planlang.scalars import MAX_DIGITS, format_duration, format_template

__all__ = ["from_json", "json_schema", "to_json"]

_VERSION: Final = 1


def to_json(plan: Plan) -> dict[str, Any]:
    """Return `plan` as JSON values; absent parts are left out. `json.dumps` of it is plain JSON."""
    form: dict[str, Any] = {"planlang": _VERSION}
    if plan.name is not None:
        form["name"] = plan.name
    if plan.doc is not None:
        form["doc"] = plan.doc
    if plan.inputs:
        form["inputs"] = [_input(i) for i in plan.inputs]
    if limits := _limits(plan.limits):
        form["limits"] = limits
    form["steps"] = [_step(step) for step in plan.steps]
    form["outputs"] = [_output(output) for output in plan.outputs]
    return form


def from_json(source: dict[str, Any] | str | bytes) -> Plan:
    """Read a plan in JSON form.

    Args:
        source: the JSON object, or its text (bytes must be UTF-8).

    Raises:
        PlanError: listing what is wrong, each with a JSON pointer in `path`, whatever `source` is.
    """
    form, text = (source, None) if isinstance(source, dict) else _load(source)
    reader = Reader()
    plan = reader.plan(form, _VERSION)
    if reader.problems or plan is None:
        raise PlanError(reader.problems, text)
    return plan


@cache
def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the JSON form, for providers' structured output. Do not modify it."""
    schema: dict[str, Any] = json.loads(files("catp.planlang").joinpath("schema.json").read_text(encoding="utf-8"))
    return schema


def _load(source: object) -> tuple[Any, str | None]:
    text, unreadable = decode_source(source)
    if unreadable:
        raise PlanError([unreadable], text)
    try:
        return json.loads(text, object_pairs_hook=Object, parse_int=_integer, parse_constant=NumberError), text
    except json.JSONDecodeError as error:
        place = Span(error.lineno, error.colno, error.lineno, error.colno + 1)
        raise PlanError([Diagnostic("E009", f"not JSON: {error.msg}", place)], text) from None
    except RecursionError:
        raise PlanError([Diagnostic("E006", "JSON nested too deeply", path="")], text) from None


def _integer(digits: str) -> int | NumberError:
    return int(digits) if len(digits.removeprefix("-")) <= MAX_DIGITS else NumberError(f"{digits[:20]}...")


def _input(item: Input) -> dict[str, Any]:
    form: dict[str, Any] = {"name": item.name, "type": str(item.type)}
    if item.default is not None:
        form["default"] = _value(item.default)
    return form


def _limits(limits: Limits) -> dict[str, Any]:
    form: dict[str, Any] = {}
    if limits.cost is not None:
        form["cost"] = format_usd(limits.cost.nano)
    if limits.latency is not None:
        form["latency"] = format_duration(limits.latency)
    if limits.calls is not None:
        form["calls"] = limits.calls
    return form


def _step(step: Step) -> dict[str, Any]:
    form: dict[str, Any] = {"name": step.name, "try": [_attempt(attempt) for attempt in step.attempts]}
    if step.when:
        form["when"] = [[str(test.ref), test.op, _scalar(test.value.value)] for test in step.when]
    if step.otherwise is not None:
        form["else"] = str(step.otherwise)
    if step.notes:
        form["notes"] = [_note(note) for note in step.notes]
    return form


def _attempt(attempt: Attempt) -> dict[str, Any]:
    args = []
    for arg in attempt.args:
        form: dict[str, Any] = {} if arg.name is None else {"name": arg.name}
        if arg.each:
            form["each"] = True
        args.append(form | {"value": _value(arg.value)})
    call: dict[str, Any] = {"tool": attempt.tool, "args": args}
    if attempt.accept:
        call["accept"] = [[".".join(test.path), test.op, _scalar(test.value.value)] for test in attempt.accept]
    return call


def _note(note: Note) -> list[Any]:
    return [note.name, [[arg.key, _value(arg.value)] for arg in note.args]]


def _output(output: Output) -> dict[str, Any]:
    form: dict[str, Any] = {"name": output.name, "ref": str(output.ref)}
    if output.optional:
        form["optional"] = True
    return form


def _value(value: Value) -> Any:
    match value:
        case Literal():
            return _scalar(value.value)
        case Ref():
            return {"ref": str(value)}
        case Template():
            return {"template": format_template(value, quoted=False)}
        case ListValue():
            return {"list": [_value(item) for item in value.items]}
        case ObjectValue():
            return {"object": {key: _value(item) for key, item in value.pairs}}


def _scalar(value: Scalar) -> Any:
    match value:
        case Usd():
            return {"money": format_usd(value.nano)}
        case Duration():
            return {"duration": format_duration(value)}
        case float():
            return value + 0.0  # one zero
        case _:
            return value
