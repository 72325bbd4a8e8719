"""A `Plan` as JSON values and back: the form that any provider's structured output can emit.

    {"planlang": 1, "name": .., "doc": .., "approve": true, "limits": {"cost", "latency", "calls"},
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
from typing import Any

from catp.planlang.errors import Diagnostic, PlanError, Span
from catp.planlang.jsonread import Reader
from catp.planlang.jsonshape import NumberError, Object
from catp.planlang.jsonwrite import VERSION, Writer
from catp.planlang.lexer import decode_source
from catp.planlang.nodes import Plan
from catp.planlang.scalars import MAX_DIGITS

__all__ = ["from_json", "json_schema", "to_json"]


def to_json(plan: Plan) -> dict[str, Any]:
    """Return `plan` as JSON values; absent parts are left out. `json.dumps` of it is plain JSON."""
    return Writer().plan(plan)


def from_json(source: dict[str, Any] | str | bytes) -> Plan:
    """Read a plan in JSON form.

    Args:
        source: the JSON object, or its text (bytes must be UTF-8).

    Raises:
        PlanError: listing what is wrong, each with a JSON pointer in `path`, whatever `source` is.
    """
    form, text = (source, None) if isinstance(source, dict) else _load(source)
    reader = Reader()
    plan = reader.plan(form, VERSION)
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
