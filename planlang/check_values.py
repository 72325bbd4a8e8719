"""Types of values: looking up references, walking their paths, and whether a value fits where it stands.

What is accepted, beyond `TypeTable.accepts`:

- A value that may be missing (`T?`: the result of a guarded step, or of a tool that may return nothing) fits wherever
  `T` does. If it is missing at run time the user of it is poisoned; `ref?` says to go on without it instead, and is
  only allowed where that is possible: in a parameter that may be left out, a list element, a pair of an object.
- Money and durations are not numbers: `$0.02` never fits `number`, so units cannot get lost.
- Templates render text, numbers, bool, money, durations and `json`, nothing else.
- List and object literals are checked part by part, so `[1, "a"]` fits `list[json]` but not `list[text]`.
"""

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from catp.planlang.conditions import scalar_type
from catp.planlang.errors import Diagnostic, Span, nearest
from catp.planlang.nodes import ListValue, Literal, ObjectValue, Ref, Template, Value
from catp.planlang.registry_view import RegistryView
from catp.planlang.types import ANY, Type, list_of

__all__ = ["Scope", "Slot", "listing", "shown"]

_JSON = Type("json")
_TEXT = Type("text")
_RENDERED = ("text", "int", "number", "bool", "money", "duration", "json", "null")


class Slot(NamedTuple):
    """A place a value stands in, in words: messages read `{owner} needs TYPE{purpose}, but ...`."""

    owner: str
    purpose: str = ""
    tool: str | None = None


_OBJECT = Slot("an object")


class Scope:
    """What a place in a plan can see, and where problems are collected."""

    def __init__(self, registry: RegistryView, lines: Mapping[str, str]) -> None:
        """Start empty. `lines` says for every step name where it is defined, in words."""
        self.registry = registry
        self.types = registry.types
        self.lines = lines
        self.known: dict[str, Type | None] = {}
        self.place = ""
        self.found: list[Diagnostic] = []

    def report(self, code: str, message: str, span: Span | None, help_: str | None = None) -> None:
        """Add one error at `span`, or at the current place if the plan was not read from text."""
        self.found.append(Diagnostic(code, message, span, help_, path=None if span else self.place))

    def warn(self, code: str, message: str, span: Span | None, help_: str | None = None) -> None:
        """Add one warning."""
        self.found.append(Diagnostic(code, message, span, help_, "warning", None if span else self.place))

    def ref_type(self, ref: Ref) -> Type | None:
        """Return the type of a reference, or None after reporting why it has none."""
        root = ref.root
        if root not in self.known:
            self._unknown(ref)
            return None
        found = self.known[root]
        if found is None or not ref.path:
            return found
        return self.walk(found, ref.path, f"`{root}`", ref.span)

    def walk(self, start: Type, path: tuple[str | int, ...], name: str, span: Span | None) -> Type | None:
        """Follow fields and indices from a value of type `start`, called `name` in messages."""
        here, optional = start, start.optional
        for key in path:
            step = self._element(here) if isinstance(key, int) else self.types.field(here, key)
            if step is None:
                self._no_such_part(here.required, key, name, span)
                return None
            here, optional = step, optional or step.optional
        return Type(here.name, here.item, True) if optional and not here.optional else here

    def check(self, value: Value, wanted: Type, slot: Slot) -> None:
        """Report everything that keeps `value` from fitting `wanted`."""
        if isinstance(value, ListValue) and (wanted.name in ("list", "json", "any")):
            item = wanted.item or wanted
            for part in value.items:
                self.check(part, item, slot)
        elif isinstance(value, ObjectValue) and wanted.name in ("json", "any"):
            for _, part in value.pairs:
                self.check(part, wanted, slot)
        else:
            given = self.type_of(value)
            if given is not None and not self.accepts(wanted, given):
                what = f"{shown(value)} is {given}"
                self.mismatch(slot, wanted, what, value.span, self._way_out(value, wanted, given, slot))

    def type_of(self, value: Value) -> Type | None:
        """Return the type of any value, or None after reporting why it has none."""
        if isinstance(value, Ref):
            return self.ref_type(value)
        if isinstance(value, Literal):
            return scalar_type(value.value)
        if isinstance(value, Template):
            self._template(value)
            return _TEXT
        if isinstance(value, ObjectValue):
            for _, part in value.pairs:
                self.check(part, _JSON, _OBJECT)
            return _JSON
        return self._list_type(value)

    def mismatch(self, slot: Slot, wanted: Type, given: str, span: Span | None, help_: str | None = None) -> None:
        """Report a type mismatch (E115); `given` is what stands there instead, as a clause."""
        self.report("E115", f"{slot.owner} needs {wanted}{slot.purpose}, but {given}", span, help_)

    def accepts(self, wanted: Type, given: Type) -> bool:
        """True if `given`, when it is there, fits `wanted`."""
        return self.types.accepts(wanted, given.required)

    def field_that_fits(self, given: Type, wanted: Type) -> str | None:
        """The first field of a record that would fit, or None."""
        fields = self.types.fields(given)
        return next((name for name, type_ in fields if self.accepts(wanted, type_)), None)

    def rendered(self, given: Type) -> bool:
        """True if a template can render a value of this type."""
        return given.name in _RENDERED or self.types.accepts(_TEXT, given.required)

    def _element(self, type_: Type) -> Type | None:
        if type_.name == "list":
            return type_.item
        return Type(type_.name) if type_.name in ("json", "any") else None

    def _list_type(self, value: ListValue) -> Type | None:
        items = [self.type_of(item) for item in value.items]
        if any(item is None for item in items):
            return None
        common: Type | None = None
        for item in items:
            assert item is not None
            merged = item if common is None else self.types.common(common, item)
            if merged is None:
                return list_of(ANY)
            common = merged
        return list_of(common or ANY)

    def _template(self, template: Template) -> None:
        for part in template.parts:
            if not isinstance(part, Ref):
                continue
            span = part.span or template.span
            given = self.ref_type(part)
            if part.optional:
                self.report("E121", f"a template needs all its values, so `{part}` cannot be optional", span)
            if given is not None and not self.rendered(given):
                field = next((n for n, t in self.types.fields(given) if self.rendered(t)), None)
                help_ = f"use `{{{part}.{field}}}`" if field else None
                message = f"a template renders text, numbers and json, but `{part}` is {given}"
                self.report("E115", message, span, help_)

    def _unknown(self, ref: Ref) -> None:
        name = ref.root
        if name in self.lines:
            if self.place == f"step `{name}`":
                message = f"`{name}` is used in its own definition"
            else:
                message = f"`{name}` is used before it is defined ({self.lines[name]})"
            self.report("E101", message, ref.span, "steps may only use values defined above them")
        else:
            help_ = nearest(name, self.known) or listing("defined so far", self.known)
            self.report("E102", f"nothing is called `{name}`", ref.span, help_)

    def _no_such_part(self, type_: Type, key: str | int, owner: str, span: Span | None) -> None:
        if isinstance(key, int):
            self.report(
                "E116", f"{owner} holds {type_}, which has no element [{key}]", span, "only lists have elements"
            )
            return
        fields = [name for name, _ in self.types.fields(type_)]
        if fields:
            help_ = nearest(key, fields) or listing("its fields are", fields)
            self.report("E117", f"{owner} has no field `{key}`", span, help_)
        else:
            help_ = f"a field of a list is that of its elements, and {type_.item} has none" if type_.item else None
            self.report("E116", f"{owner} holds {type_}, which has no fields, so not `{key}` either", span, help_)

    def _way_out(self, value: Value, wanted: Type, given: Type, slot: Slot) -> str | None:
        item_fits = given.name == "list" and given.item is not None and self.accepts(wanted, given.item)
        if item_fits and slot.tool is not None and isinstance(value, Ref):
            return f"write `each {_bare(value)}` to call `{slot.tool}` once per element"
        field = self.field_that_fits(given, wanted)
        if field and isinstance(value, Ref):
            return f"use `{Ref(value.root, (*value.path, field))}`"
        field = self.field_that_fits(given, list_of(wanted)) if given.name == "list" else None
        if field and slot.tool is not None and isinstance(value, Ref):
            return f"write `each {Ref(value.root, (*value.path, field))}` to call `{slot.tool}` once per element"
        if wanted.name == "list" and wanted.item is not None and self.accepts(wanted.item, given):
            return f"write `[{_bare(value)}]`"
        if wanted.name == "text" and isinstance(value, Ref) and self.rendered(given):
            return f'write `t"{{{_bare(value)}}}"`'
        if given.name in ("money", "duration") and wanted.name in ("number", "int"):
            return f"{given} is not a number: write it without its unit"
        return None


def _bare(value: Value) -> str:
    return str(Ref(value.root, value.path)) if isinstance(value, Ref) else shown(value).strip("`")


def shown(value: Value) -> str:
    """Name a value in a message: `` `page.text` ``, `` `"abc"` ``, the list."""
    if isinstance(value, Ref):
        return f"`{_bare(value)}`"
    if isinstance(value, Literal) and (value.value is None or isinstance(value.value, str | int | float | bool)):
        text = json.dumps(value.value, ensure_ascii=False)
        return f"`{text if len(text) <= 40 else text[:37] + '...'}`"
    if isinstance(value, Literal):
        return "the amount" if scalar_type(value.value).name == "money" else "the duration"
    return {Template: "the template", ListValue: "the list", ObjectValue: "the object"}[type(value)]


def listing(intro: str, names: Iterable[str]) -> str | None:
    """Return `intro: a, b, c`, cut after eight names; None if there are none."""
    names = list(names)
    some = [f"`{name}`" for name in names[:8]]
    return f"{intro}: {', '.join(some)}{', ...' if len(names) > 8 else ''}" if some else None
