"""Types of plan values: names with an optional element type, and the table that gives the names a meaning.

    text   image   audio   file   json   number   int   bool   null   money   duration   any   list[T]   T?

Records are nominal: two records with the same fields are different types unless one names the other as its parent.
A list has the fields of its elements, as lists: `list[Reading].text` is `list[text]`.
Users add their own with `TypeTable.with_type`; a table is immutable, so a registry's types cannot change under a plan.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

__all__ = ["ANY", "BUILTIN_TYPES", "Type", "TypeDef", "TypeTable", "list_of", "parse_type"]


@dataclass(frozen=True, slots=True)
class Type:
    """A type as written: `text`, `list[image]`, `Reading?`."""

    name: str
    item: "Type | None" = None
    optional: bool = False

    def __str__(self) -> str:
        inner = f"[{self.item}]" if self.item is not None else ""
        return f"{self.name}{inner}{'?' if self.optional else ''}"

    @property
    def required(self) -> "Type":
        """The same type without its `?`."""
        return Type(self.name, self.item) if self.optional else self


@dataclass(frozen=True, slots=True)
class TypeDef:
    """What a type name means: its fields (in order: `<.K>` tokens index them) and the type it specialises."""

    name: str
    fields: tuple[tuple[str, Type], ...] = ()
    parent: str | None = None
    description: str = ""


ANY = Type("any")

BUILTIN_TYPES: tuple[TypeDef, ...] = (
    TypeDef("any", description="anything; only for tools that really take anything"),
    TypeDef("text", description="Unicode text"),
    TypeDef("image", description="a picture (PIL.Image.Image)"),
    TypeDef("audio", description="sound, 16 kHz mono"),
    TypeDef("file", description="bytes or a path to them"),
    TypeDef("json", description="any JSON value"),
    TypeDef("number", description="a finite float"),
    TypeDef("int", parent="number", description="a whole number"),
    TypeDef("bool", description="true or false"),
    TypeDef("null", description="null"),
    TypeDef("money", description="an amount of US dollars, $0.02"),
    TypeDef("duration", description="a length of time, 300ms"),
    TypeDef("list", description="list[T]; elements in order"),
)


@dataclass(frozen=True)
class TypeTable:
    """An immutable set of type definitions with the questions the checker, the mask and the planners ask."""

    defs: Mapping[str, TypeDef] = field(default_factory=lambda: MappingProxyType({d.name: d for d in BUILTIN_TYPES}))

    def with_type(self, definition: TypeDef) -> "TypeTable":
        """Return a table that also knows `definition`; raise `ValueError` on a clash or an unknown parent."""
        known = self.defs.get(definition.name)
        if known == definition:
            return self
        if known is not None:
            raise ValueError(f"type {definition.name!r} is already defined differently: {known}")
        if definition.parent is not None and definition.parent not in self.defs:
            raise ValueError(f"type {definition.name!r} names unknown parent {definition.parent!r}")
        return TypeTable(MappingProxyType({**self.defs, definition.name: definition}))

    def __contains__(self, name: object) -> bool:
        return name in self.defs

    def known(self, type_: Type) -> bool:
        """True if every name in `type_` is defined and only `list` has an element type."""
        if type_.name == "list":
            return type_.item is not None and self.known(type_.item)
        return type_.item is None and type_.name in self.defs

    def fields(self, type_: Type) -> tuple[tuple[str, Type], ...]:
        """The fields of a record type or of a list of records, inherited ones first; empty for types without fields."""
        if type_.item is not None:
            inner = self.fields(type_.item)
            return tuple((name, list_of(_missing_with(type_.item, field))) for name, field in inner)
        found: dict[str, Type] = {}
        for name in reversed(self._lineage.get(type_.name, ())):
            found.update(self.defs[name].fields)
        return tuple(found.items())

    def field(self, type_: Type, name: str) -> Type | None:
        """The type of one field, or None. `json` has any field, of type `json`, and a list those of its elements."""
        if type_.item is not None:
            inner = self.field(type_.item, name)
            return None if inner is None else list_of(_missing_with(type_.item, inner))
        if type_.name in ("json", "any"):
            return Type(type_.name)
        return dict(self.fields(type_)).get(name)

    def accepts(self, wanted: Type, given: Type) -> bool:
        """True if a value of type `given` may be passed where `wanted` is expected."""
        if given.optional and not wanted.optional:
            return False
        if wanted.name == "any":
            return True
        if given.name == "null":
            return wanted.optional or wanted.name in ("null", "json")
        if wanted.name == "json":
            return self._is_json(given)
        if wanted.name == "list":
            if given.name != "list" or wanted.item is None or given.item is None:
                return False
            return given.item.name == "any" or self.accepts(wanted.item, given.item)
        return wanted.name in self._lineage.get(given.name, ())

    def names_accepting(self, given: Type) -> tuple[str, ...]:
        """The only names a wanted type can have if it accepts `given`: a quick filter before `accepts`."""
        if given.name == "null":
            return tuple(self.defs)
        return tuple({*self._lineage.get(given.name, ()), "any", "json"})

    def common(self, left: Type, right: Type) -> Type | None:
        """The most specific type both fit, or None: what several alternatives of one step have in common."""
        optional = left.optional or right.optional
        if left.name == right.name == "list" and left.item is not None and right.item is not None:
            item = self.common(left.item, right.item)
            return Type("list", item, optional) if item is not None else None
        for name in self._lineage.get(left.name, ()):
            if name in self._lineage.get(right.name, ()):
                return Type(name, None, optional)
        return None

    def _is_json(self, given: Type) -> bool:
        if given.name == "list":
            return given.item is not None and self._is_json(given.item)
        return given.name not in ("image", "audio", "file", "any")

    @cached_property
    def _lineage(self) -> Mapping[str, tuple[str, ...]]:
        lines: dict[str, tuple[str, ...]] = {}
        for name in self.defs:
            line, step = [name], self.defs[name].parent
            while step is not None and step not in line:
                line.append(step)
                step = self.defs[step].parent
            lines[name] = tuple(line)
        return MappingProxyType(lines)


def _missing_with(owner: Type, field: Type) -> Type:
    """The type of a field of something that may be missing, and the field with it."""
    return Type(field.name, field.item, True) if owner.optional else field


def list_of(item: Type) -> Type:
    """Return `list[item]`."""
    return Type("list", item)


def parse_type(text: str) -> Type:
    """Read a type such as `list[text]?`; raise `ValueError` if it is malformed. Names are not looked up."""
    rest = text.strip()
    optional = rest.endswith("?")
    rest = rest[:-1].rstrip() if optional else rest
    if rest.endswith("]"):
        name, bracket, inner = rest[:-1].partition("[")
        if not bracket or name.strip() != "list" or len(text) > 200:
            raise ValueError(f"{text!r} is not a type")
        return Type("list", parse_type(inner), optional)
    if not rest.isidentifier() or not rest.isascii():
        raise ValueError(f"{text!r} is not a type")
    return Type(rest, None, optional)
