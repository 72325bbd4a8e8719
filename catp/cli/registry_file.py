"""Tools described by a JSON file: enough to check plans against on a machine where the tools are not installed.

{"schema": "catp.registry/1",
 "types": [{"name": "Reading", "fields": {"text": "text", "confidence": "number"}}],
 "tools": [{"name": "ocr", "params": [{"name": "image", "type": "image"}], "returns": "Reading",
            "effects": "pure"}]}
"""

import json
from collections.abc import Mapping
from typing import Any, get_args

from catp.cli.output import EXIT_USAGE, fail, read_source
from catp.planlang.nodes import ToolName
from catp.planlang.registry_view import Effect, Param, RegistryView, ToolSig
from catp.planlang.types import BUILTIN_TYPES, TypeDef, TypeTable, parse_type

__all__ = ["SCHEMA", "read_registry", "registry_json"]

SCHEMA = "catp.registry/1"


def read_registry(path: str) -> RegistryView:
    """Return the tools of a JSON file; end the command with a usage error that names the faulty entry."""
    try:
        return _registry(json.loads(read_source(path)))
    except (ValueError, RecursionError) as error:
        fail(f"{path!r} does not describe tools: {error}", EXIT_USAGE, help=f"the format is {SCHEMA}")


def registry_json(view: RegistryView) -> dict[str, Any]:
    """Return what `read_registry` reads, without the schema field; default values are left out."""
    builtin = {definition.name for definition in BUILTIN_TYPES}
    return {
        "types": [
            {"name": name, "fields": {field: str(type_) for field, type_ in definition.fields}}
            | ({"parent": definition.parent} if definition.parent else {})
            for name, definition in view.types.defs.items()
            if name not in builtin
        ],
        "tools": [
            {
                "name": tool.name,
                "params": [_param_json(param) for param in tool.params],
                "returns": str(tool.returns),
                "effects": tool.effects,
                "description": tool.description,
            }
            for tool in view
        ],
    }


def _param_json(param: Param) -> dict[str, Any]:
    found: dict[str, Any] = {"name": param.name, "type": str(param.type), "required": param.required}
    return found | ({"choices": list(param.choices)} if param.choices else {})


def _registry(document: object) -> RegistryView:
    if not isinstance(document, Mapping) or not isinstance(document.get("tools"), list):
        raise ValueError('no object with a list of "tools"')
    place = "types"
    try:
        types = TypeTable()
        for index, entry in enumerate(document.get("types") or ()):
            place = f"types[{index}]"
            types = types.with_type(_type(entry))
        tools = []
        for index, entry in enumerate(document["tools"]):
            place = f"tools[{index}]"
            tools.append(_tool(entry))
        place = "tools"
        return RegistryView(tuple(tools), types)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{place}: {f'no {error}' if isinstance(error, KeyError) else error}") from error


def _type(entry: Mapping[str, Any]) -> TypeDef:
    fields = tuple((name, parse_type(type_)) for name, type_ in entry.get("fields", {}).items())
    return TypeDef(entry["name"], fields, entry.get("parent"))


def _tool(entry: Mapping[str, Any]) -> ToolSig:
    effects: Effect = entry.get("effects", "pure")
    if effects not in get_args(Effect):
        raise ValueError(f"effects {effects!r} is none of {', '.join(get_args(Effect))}")
    params = tuple(
        Param(
            param["name"],
            parse_type(param["type"]),
            bool(param.get("required", True)),
            choices=tuple(param.get("choices", ())),
        )
        for param in entry.get("params", ())
    )
    returns = parse_type(entry["returns"])
    return ToolSig(ToolName(entry["name"]), params, returns, effects, entry.get("description", ""))
