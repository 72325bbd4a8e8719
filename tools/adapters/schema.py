"""Plan types and JSON Schema, in both directions: what MCP tools declare, and what ours look like from outside."""

from collections.abc import Mapping
from typing import Any

from catp.planlang.nodes import ListValue, Literal, ObjectValue, Value
from catp.planlang.registry_view import Param, ToolSig
from catp.planlang.types import Type, TypeTable, list_of
from catp.tools.annotations import to_value

__all__ = ["input_schema", "params_of", "result_schema", "type_of"]

_SCALARS = {"string": "text", "integer": "int", "number": "number", "boolean": "bool", "object": "json", "null": "null"}
_NAMES = {"text": "string", "int": "integer", "number": "number", "bool": "boolean", "null": "null", "file": "string"}


def type_of(schema: Any) -> Type:
    """Return the plan type of a JSON Schema; `any` where a schema says more than a plan type can."""
    if not isinstance(schema, Mapping):
        return Type("any")
    kind = schema.get("type")
    choices = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(kind, list):
        choices = [{**schema, "type": one} for one in kind]
    if isinstance(choices, list):
        rest = [c for c in choices if not (isinstance(c, Mapping) and c.get("type") == "null")]
        inner = type_of(rest[0]) if len(rest) == 1 else Type("any")
        return Type(inner.name, inner.item, optional=len(rest) < len(choices))
    if kind == "array":
        return list_of(type_of(schema.get("items")))
    if kind is None and isinstance(schema.get("enum"), list) and all(isinstance(e, str) for e in schema["enum"]):
        return Type("text")
    return Type(_SCALARS.get(str(kind), "any"))


def params_of(schema: Mapping[str, Any]) -> tuple[Param, ...]:
    """Return the parameters an input schema describes; raise `ValueError` for names a plan cannot write."""
    required = set(schema.get("required") or ())
    params = []
    for name, inner in (schema.get("properties") or {}).items():
        if not (name.isidentifier() and name.isascii()):
            raise ValueError(f"parameter {name!r} is no identifier")
        inner = inner if isinstance(inner, Mapping) else {}
        choices = tuple(c for c in inner.get("enum") or () if isinstance(c, str | int | float) and c is not True)
        needed = name in required
        default = None if needed else to_value(inner.get("default"))
        params.append(Param(name, type_of(inner), needed, default, choices, str(inner.get("description") or "")))
    return tuple(params)


def input_schema(signature: ToolSig, types: TypeTable) -> dict[str, Any]:
    """Return the JSON Schema of a tool's arguments."""
    properties = {p.name: _param_schema(p, types) for p in signature.params}
    required = [p.name for p in signature.params if p.required]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def result_schema(signature: ToolSig, types: TypeTable) -> dict[str, Any]:
    """Return the JSON Schema of a tool's result, as MCP wants it: an object with the one field `result`."""
    inner = _schema(signature.returns, types)
    return {"type": "object", "properties": {"result": inner}, "required": ["result"]}


def _param_schema(param: Param, types: TypeTable) -> dict[str, Any]:
    schema = _schema(param.type, types)
    if param.choices:
        schema["enum"] = list(param.choices)
    if param.description:
        schema["description"] = param.description
    if param.default is not None:
        schema["default"] = _constant(param.default)
    return schema


def _schema(type_: Type, types: TypeTable) -> dict[str, Any]:
    if type_.optional:
        return {"anyOf": [_schema(type_.required, types), {"type": "null"}]}
    if type_.name == "list":
        return {"type": "array", "items": _schema(type_.item or Type("any"), types)}
    if type_.name in ("image", "audio", "file"):
        return {"type": "string", "description": f"{type_.name}: base64 data, or the path of a local file"}
    fields = types.fields(type_)
    if fields:
        properties = {name: _schema(inner, types) for name, inner in fields}
        required = [name for name, inner in fields if not inner.optional]
        return {"type": "object", "title": type_.name, "properties": properties, "required": required}
    return {"type": _NAMES[type_.name]} if type_.name in _NAMES else {}


def _constant(value: Value) -> Any:
    if isinstance(value, Literal):
        return value.value if isinstance(value.value, str | int | float | bool | None) else str(value.value)
    if isinstance(value, ListValue):
        return [_constant(item) for item in value.items]
    return {key: _constant(item) for key, item in value.pairs} if isinstance(value, ObjectValue) else str(value)
