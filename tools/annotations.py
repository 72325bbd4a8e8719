"""From Python annotations to plan types, and from values back to the question whether they fit.

    str text            int int           float number       bool bool        None null       Any any
    dict json           bytes, Path file  PIL Image image    list[X] list[X]  X | None  X?
    Literal["a", "b"]   text with choices
    dataclass           a nominal record type named after the class, its fields the type's fields

`register_type` adds classes of your own.
"""

import dataclasses
import math
import os
import sys
import types as python_types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from catp.planlang.nodes import Duration, ListValue, Literal, ObjectValue, Usd, Value
from catp.planlang.types import BUILTIN_TYPES, Type, TypeDef, TypeTable, list_of

__all__ = ["Resolved", "ValueMismatch", "check_value", "convert_value", "register_type", "resolve", "to_value"]


class ValueMismatch(ValueError):
    """A value does not fit its type; the message says where in the value and why."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What an annotation means: a plan type, the record types it uses (in definition order), and allowed values."""

    type: Type
    defs: tuple[TypeDef, ...] = ()
    choices: tuple[str | int | float, ...] = ()
    description: str = ""


_SIMPLE: dict[Any, Type] = {
    str: Type("text"), int: Type("int"), float: Type("number"), bool: Type("bool"), type(None): Type("null"),
    None: Type("null"), dict: Type("json"), Mapping: Type("json"), bytes: Type("file"), Path: Type("file"),
    PurePath: Type("file"), Any: Type("any"), Usd: Type("money"), Duration: Type("duration"),
}  # fmt: skip
_LISTS = (list, tuple, Sequence, Iterable)
_BUILTIN_NAMES = frozenset(d.name for d in BUILTIN_TYPES)
_registered: dict[type, tuple[Type, tuple[TypeDef, ...]]] = {}
_classes: dict[str, type] = {}


def register_type(python_type: type, plan_type: Type | TypeDef | str) -> None:
    """Make `python_type` usable in tool signatures as `plan_type`.

    Pass a `TypeDef` to define a new nominal type, a name to define an opaque one, a `Type` to reuse an existing type
    (`register_type(numpy.ndarray, Type("audio"))`). Raises `ValueError` if the class is registered differently.
    """
    if isinstance(plan_type, str):
        plan_type = Type(plan_type) if plan_type in _BUILTIN_NAMES else TypeDef(plan_type)
    entry = (plan_type, ()) if isinstance(plan_type, Type) else (Type(plan_type.name), (plan_type,))
    known = _registered.get(python_type)
    if known is not None and known != entry:
        raise ValueError(f"{python_type.__qualname__} is already registered as {known[0]}")
    _registered[python_type] = entry
    if entry[1]:
        _classes[entry[0].name] = python_type


def resolve(annotation: Any) -> Resolved:
    """Return what `annotation` means; raise `TypeError` naming what is not supported and what to write instead."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        inner = resolve(args[0])
        words = next((note for note in args[1:] if isinstance(note, str)), inner.description)
        return dataclasses.replace(inner, description=words)
    simple = _resolve_plain(annotation)
    if simple is not None:
        return simple
    if origin is typing.Literal:
        return _resolve_literal(args)
    if origin in (typing.Union, python_types.UnionType):
        return _resolve_union(annotation, args)
    if origin in _LISTS:
        if origin is tuple and (len(args) != 2 or args[1] is not Ellipsis):
            raise TypeError(f"{annotation} has a fixed length; write list[...] or a dataclass")
        inner = resolve(args[0])
        return dataclasses.replace(inner, type=list_of(inner.type), choices=())
    if origin in (dict, Mapping):
        return Resolved(Type("json"))
    if annotation in _LISTS:
        raise TypeError(f"{_shown(annotation)} does not say what it holds; write list[str] or another element type")
    raise TypeError(
        f"{_shown(annotation)} has no plan type; use a supported annotation or register_type({_shown(annotation)}, ...)"
    )


def _resolve_plain(annotation: Any) -> Resolved | None:
    try:
        if annotation in _SIMPLE:
            return Resolved(_SIMPLE[annotation])
        if annotation in _registered:
            return Resolved(*_registered[annotation])
    except TypeError:  # unhashable metadata in an annotation
        return None
    if not isinstance(annotation, type):
        return None
    if (annotation.__module__, annotation.__qualname__) == ("PIL.Image", "Image"):
        return Resolved(Type("image"))
    if typing.is_typeddict(annotation):
        return Resolved(Type("json"))
    return _resolve_record(annotation) if dataclasses.is_dataclass(annotation) else None


def _resolve_literal(args: tuple[Any, ...]) -> Resolved:
    kinds = {type(arg) for arg in args}
    if kinds == {str}:
        return Resolved(Type("text"), choices=args)
    if kinds == {int}:
        return Resolved(Type("int"), choices=args)
    raise TypeError(f"Literal{list(args)} mixes kinds; use only texts or only whole numbers")


def _resolve_union(annotation: Any, args: tuple[Any, ...]) -> Resolved:
    rest = [arg for arg in args if arg is not type(None)]
    if len(rest) == 1:
        inner = resolve(rest[0])
        return dataclasses.replace(inner, type=dataclasses.replace(inner.type, optional=True))
    found = {resolve(arg).type for arg in rest}
    if len(found) == 1:  # bytes | Path
        return Resolved(dataclasses.replace(found.pop(), optional=len(rest) < len(args)))
    if found == {Type("int"), Type("number")}:
        return Resolved(Type("number", optional=len(rest) < len(args)))
    raise TypeError(f"{annotation} is more than one type; only X | None is supported, or Any")


def _resolve_record(cls: type) -> Resolved:
    if cls.__name__ in _BUILTIN_NAMES:
        raise TypeError(f"record {cls.__qualname__} has the name of a built-in type; rename the class")
    hints = typing.get_type_hints(cls, include_extras=True)
    bases = [base for base in cls.__bases__ if dataclasses.is_dataclass(base)]
    inherited = {f.name for base in bases for f in dataclasses.fields(base)}
    defs: list[TypeDef] = [d for base in bases for d in resolve(base).defs]
    fields: list[tuple[str, Type]] = []
    for item in dataclasses.fields(cls):
        if item.name in inherited:
            continue
        try:
            inner = resolve(hints[item.name])
        except TypeError as error:
            raise TypeError(f"field {item.name!r} of record {cls.__qualname__}: {error}") from None
        defs += [d for d in inner.defs if d not in defs]
        fields.append((item.name, inner.type))
    doc = (cls.__doc__ or "").strip().partition("\n")[0]
    words = "" if doc.startswith(f"{cls.__name__}(") else doc
    record = TypeDef(cls.__name__, tuple(fields), bases[0].__name__ if bases else None, words)
    _registered[cls] = (Type(cls.__name__), (*defs, record))
    _classes[cls.__name__] = cls
    return Resolved(*_registered[cls])


def _shown(annotation: Any) -> str:
    return annotation.__qualname__ if isinstance(annotation, type) else str(annotation)


def to_value(constant: Any) -> Value | None:
    """Return a Python constant as a plan value, or None if a plan cannot write it."""
    if constant is None or isinstance(constant, str | int | float | bool | Usd | Duration):
        return Literal(constant)
    if isinstance(constant, list | tuple):
        items = [to_value(item) for item in constant]
        return None if None in items else ListValue(tuple(item for item in items if item is not None))
    if isinstance(constant, dict) and all(isinstance(key, str) for key in constant):
        pairs = [(key, to_value(item)) for key, item in constant.items()]
        return None if any(v is None for _, v in pairs) else ObjectValue(tuple((k, v) for k, v in pairs if v))
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_image(value: Any) -> bool:
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(value, module.Image)


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "any": lambda value: True,
    "text": lambda value: isinstance(value, str),
    "image": _is_image,
    "audio": lambda value: isinstance(value, bytes | os.PathLike) or hasattr(value, "__array__"),
    "file": lambda value: isinstance(value, bytes | os.PathLike),
    "json": lambda value: _json_problem(value) is None,
    "number": _is_number,
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "bool": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "money": lambda value: isinstance(value, Usd),
    "duration": lambda value: isinstance(value, Duration),
}


def check_value(value: Any, type_: Type, types: TypeTable, *, place: str = "value") -> None:
    """Raise `ValueMismatch` if `value` is not of type `type_`; records are checked field by field.

    A record may be an instance of its class or a mapping with its fields, as tools behind HTTP return them.
    """
    if value is None:
        if not (type_.optional or type_.name in ("null", "json", "any")):
            raise ValueMismatch(f"{place} is None, expected {type_}")
        return
    if type_.name == "list":
        if not isinstance(value, list | tuple):
            raise ValueMismatch(f"{place} is {_kind(value)}, expected {type_}")
        for position, item in enumerate(value):
            check_value(item, type_.item or Type("any"), types, place=f"{place}[{position}]")
        return
    check = _CHECKS.get(type_.name)
    if check is None:
        _check_record(value, type_, types, place)
    elif not check(value) and _registered.get(type(value), (None,))[0] != type_.required:
        problem = _json_problem(value) if type_.name == "json" else None
        raise ValueMismatch(f"{place} is {problem or _kind(value)}, expected {type_}")


def _check_record(value: Any, type_: Type, types: TypeTable, place: str) -> None:
    known = _registered.get(type(value))
    fields = types.fields(type_)
    if known is not None:
        if not types.accepts(type_, known[0]):
            raise ValueMismatch(f"{place} is {_kind(value)}, expected {type_}")
        for name, inner in fields:
            check_value(getattr(value, name), inner, types, place=f"{place}.{name}")
        return
    if isinstance(value, Mapping) and fields:
        for name, inner in fields:
            if name not in value and not inner.optional:
                raise ValueMismatch(f"{place} lacks the field {name!r} of {type_}")
            check_value(value.get(name), inner, types, place=f"{place}.{name}")
        return
    if fields or type_.name in _classes:
        raise ValueMismatch(f"{place} is {_kind(value)}, expected {type_}")


def _json_problem(value: Any) -> str | None:
    """Return what in `value` no JSON text can hold, or None."""
    if value is None or isinstance(value, str | bool | int):
        return None
    if isinstance(value, float):
        return None if math.isfinite(value) else f"the number {value}"
    if isinstance(value, list | tuple):
        return next((p for p in map(_json_problem, value) if p), None)
    if isinstance(value, Mapping):
        wrong = next((key for key in value if not isinstance(key, str)), None)
        if wrong is not None:
            return f"an object with the key {wrong!r}"
        return next((p for p in map(_json_problem, value.values()) if p), None)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return next((p for f in dataclasses.fields(value) if (p := _json_problem(getattr(value, f.name)))), None)
    return _kind(value)


def _kind(value: Any) -> str:
    return f"{type(value).__name__} {value!r:.60}" if isinstance(value, str | int | float) else type(value).__name__


def convert_value(value: Any, type_: Type, types: TypeTable) -> Any:
    """Return `value` with mappings turned into the record classes they stand for; what does not fit is left as it is.

    Follow with `check_value`. This is how JSON from the outside becomes the values that tools pass to each other.
    """
    if type_.name == "list" and isinstance(value, list | tuple):
        return [convert_value(item, type_.item or Type("any"), types) for item in value]
    if type_.name == "number" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    cls = _classes.get(type_.name)
    if cls is None or not isinstance(value, Mapping) or not dataclasses.is_dataclass(cls):
        return value
    fields = dict(types.fields(type_))
    if not set(value) <= set(fields):
        return value
    try:
        return cls(**{name: convert_value(item, fields[name], types) for name, item in value.items()})
    except TypeError:
        return value
