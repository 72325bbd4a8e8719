"""Registries written as text, for examples, documentation, tests and benchmarks.

    type Answer(text: text, confidence: number)
    type Short(Answer)(words: int)                                 a special case of Answer
    ask(question: text, context: list[text] = ...) -> Answer       `= ...`: may be left out, no default of its own
    scale(photo: image, factor: int = 2, mode: "fast" | "fine" = "fast") -> image
    read search(query: text) -> list[text]
    write book(id: text, who: text) -> text?

One definition a line; `#` starts a comment. This is the form `ToolSig.__str__` prints. Defaults are JSON values.
"""

import json
import re
from collections.abc import Iterator

from catp.planlang.nodes import ListValue, Literal, ObjectValue, ToolName, Value
from catp.planlang.registry_view import Effect, Param, RegistryView, ToolSig
from catp.planlang.types import Type, TypeDef, TypeTable, parse_type

__all__ = ["parse_registry"]

_TYPE = re.compile(r"type\s+(\w+)\s*(?:\(\s*(\w+)\s*\)\s*)?\((.*)\)\s*")
_TOOL = re.compile(r"(?:(pure|read|write)\s+)?([\w.]+)\s*\((.*)\)\s*->\s*(\S+)\s*")
_PARAM = re.compile(r"\s*(\w+)\s*:\s*")
_CHOICE = re.compile(r'\s*"([^"]*)"\s*(\|?)')
_PLAIN = re.compile(r"\s*([\w\[\]]+\??)")
_DEFAULT = re.compile(r"\s*=\s*(\.\.\.)?")
_EFFECTS: dict[str, Effect] = {"pure": "pure", "read": "read", "write": "write"}


def parse_registry(text: str) -> RegistryView:
    """Read types and tools, one a line; raise `ValueError` naming the line that is not understood."""
    types = TypeTable()
    tools: list[ToolSig] = []
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.partition("#")[0].strip()
        if not line:
            continue
        try:
            if match := _TYPE.fullmatch(line):
                fields = tuple((param.name, param.type) for param in _params(match[3]))
                types = types.with_type(TypeDef(match[1], fields, match[2]))
            elif match := _TOOL.fullmatch(line):
                effects = _EFFECTS[match[1] or "pure"]
                tools.append(ToolSig(ToolName(match[2]), tuple(_params(match[3])), parse_type(match[4]), effects))
            else:
                raise ValueError("expected `type NAME(fields)` or `NAME(parameters) -> TYPE`")
        except ValueError as error:
            raise ValueError(f"line {number}: {error}: {line!r}") from error
    return RegistryView(tuple(tools), types)


def _params(text: str) -> Iterator[Param]:
    position = 0
    while text[position:].strip():
        match = _PARAM.match(text, position)
        if match is None:
            raise ValueError(f"expected `name: type` at {text[position:]!r}")
        name, position = match[1], match.end()
        type_, choices, position = _type(text, position)
        default: Value | None = None
        optional = _DEFAULT.match(text, position)
        if optional is not None:
            position = optional.end()
            if optional[1] is None:
                value, position = json.JSONDecoder().raw_decode(text, position)
                default = _value(value)
        yield Param(name, type_, optional is None, default, choices)
        rest = text[position:].lstrip()
        if rest and not rest.startswith(","):
            raise ValueError(f"expected `,` at {rest!r}")
        position = len(text) - len(rest) + 1 if rest else len(text)


def _type(text: str, position: int) -> tuple[Type, tuple[str, ...], int]:
    choices: list[str] = []
    while match := _CHOICE.match(text, position):
        choices.append(match[1])
        position = match.end()
        if not match[2]:
            break
    if choices:
        return Type("text"), tuple(choices), position
    match = _PLAIN.match(text, position)
    if match is None:
        raise ValueError(f"expected a type at {text[position:]!r}")
    return parse_type(match[1]), (), match.end()


def _value(value: object) -> Value:
    if isinstance(value, list):
        return ListValue(tuple(_value(item) for item in value))
    if isinstance(value, dict):
        return ObjectValue(tuple((key, _value(item)) for key, item in value.items()))
    assert value is None or isinstance(value, str | int | float | bool)
    return Literal(value)
