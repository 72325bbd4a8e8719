"""Objects of classes as (name of the class, content) and back: dataclasses, named tuples, enums, pydantic models.

A class is named `module:qualname`. An object is taken apart only if it can be put together again without running code
of its class: no state outside its fields, no base class that hides some (a dataclass that is also a list).
"""

import dataclasses
import enum
import functools
import importlib
import sys
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

__all__ = ["Content", "DecodeError", "Inexact", "Kind", "put_together", "take_apart"]

Kind: TypeAlias = Literal["record", "named", "member", "flag", "model"]


class DecodeError(ValueError):
    """An encoded value cannot be read back; the message says why."""


class Inexact(Exception):
    """A value, or a part of it, has no exact encoding."""


class Content(NamedTuple):
    """An object taken apart: what kind of class it has, the name of it, and the values that make it up."""

    kind: Kind
    cls: str
    values: Mapping[str, Any]


def take_apart(value: Any) -> Content:
    """Return what `value` consists of; raise `Inexact` if it cannot be rebuilt from that."""
    cls = type(value)
    if isinstance(value, enum.Flag):
        return Content("flag", _name(cls), {"value": value.value})
    if isinstance(value, enum.Enum):
        if cls[value.name] is not value:
            raise Inexact
        return Content("member", _name(cls), {"name": value.name})
    if isinstance(value, tuple) and hasattr(cls, "_fields"):
        if getattr(value, "__dict__", None):
            raise Inexact
        return Content("named", _name(cls), dict(zip(cls._fields, value, strict=True)))
    if dataclasses.is_dataclass(cls):
        fields, hidden, cached = _anatomy(cls)
        if any(hasattr(value, name) for name in hidden) or not getattr(value, "__dict__", {}).keys() <= fields | cached:
            raise Inexact
        return Content("record", _name(cls), {field.name: getattr(value, field.name) for field in _fields(cls)})
    if _is_model(cls):
        return Content("model", _name(cls), _state(value))
    raise Inexact


def put_together(content: Content) -> Any:
    """Return the object that `take_apart` made `content` of; raise `DecodeError` if its class is gone or another."""
    cls, values = _find(content.cls), content.values
    right = {
        "record": dataclasses.is_dataclass(cls),
        "named": issubclass(cls, tuple) and hasattr(cls, "_fields"),
        "member": issubclass(cls, enum.Enum),
        "flag": issubclass(cls, enum.Flag),
        "model": _is_model(cls),
    }
    if not right[content.kind]:
        raise DecodeError(f"{content.cls} is another kind of class now than when the value was kept")
    if content.kind == "record":
        _check_fields(content, [field.name for field in _fields(cls)])
        made = object.__new__(cls)
        for name, value in values.items():
            object.__setattr__(made, name, value)
        return made
    if content.kind == "named":
        _check_fields(content, cls._fields)
        return tuple.__new__(cls, [values[name] for name in cls._fields])
    if content.kind == "model":
        return _model(cls, content)
    if content.kind == "flag":
        return cls(values["value"])
    if values["name"] not in cls.__members__:
        raise DecodeError(f"{content.cls} has no member {values['name']!r} any more")
    return cls[values["name"]]


def _fields(cls: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(cls)


@functools.lru_cache(maxsize=256)
def _anatomy(cls: type) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Return the names of the fields, of slots that are no fields, and of cached properties (they may be lost)."""
    try:
        object.__new__(cls)
    except TypeError:  # part of it is a list, an exception, ...: state that no field holds
        raise Inexact from None
    fields = frozenset(field.name for field in _fields(cls))
    slots: set[str] = set()
    cached: set[str] = set()
    for base in cls.__mro__:
        named = vars(base).get("__slots__", ())
        slots.update((named,) if isinstance(named, str) else named)
        cached.update(name for name, kept in vars(base).items() if isinstance(kept, functools.cached_property))
    return fields, frozenset(slots) - fields - {"__dict__", "__weakref__"}, frozenset(cached)


def _check_fields(content: Content, now: Any) -> None:
    kept = set(content.values)
    if kept != set(now):
        changed = ", ".join(sorted(kept ^ set(now)))
        raise DecodeError(f"{content.cls} has other fields now than when the value was kept: {changed}")


def _is_model(cls: type) -> bool:
    pydantic = sys.modules.get("pydantic")  # whoever has a model has imported it
    return pydantic is not None and issubclass(cls, pydantic.BaseModel)


def _state(model: Any) -> Mapping[str, Any]:
    from pydantic import BaseModel

    state = BaseModel.__getstate__(model)
    held, fields = state["__dict__"], type(model).model_fields
    if any(
        not isinstance(getattr(type(model), name, None), functools.cached_property) for name in held.keys() - fields
    ):
        raise Inexact
    return {**state, "__dict__": {name: held[name] for name in fields}}


def _model(cls: Any, content: Content) -> Any:
    from pydantic import BaseModel

    state = dict(content.values)
    fields = Content(content.kind, content.cls, state["__dict__"])
    _check_fields(fields, cls.model_fields)
    made = object.__new__(cls)
    BaseModel.__setstate__(made, state)
    return made


def _name(cls: type) -> str:
    name = f"{cls.__module__}:{cls.__qualname__}"
    try:
        found = _find(name)
    except DecodeError:
        raise Inexact from None
    if found is not cls:
        raise Inexact
    return name


def _find(name: str) -> Any:
    module_name, _, qualname = name.partition(":")
    module = sys.modules.get(module_name)
    if module is None and (module_name == "catp" or module_name.startswith("catp.")):
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            raise DecodeError(f"class {name} is gone: {error}") from error
    if module is None:
        raise DecodeError(f"class {name} is not known here: import the module {module_name} that defines it first")
    found: Any = module
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type) or (found.__module__, found.__qualname__) != (module_name, qualname):
        raise DecodeError(f"class {name} is gone: {module_name} no longer defines {qualname}")
    return found
