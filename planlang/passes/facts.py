"""Carrying what is known of values through a plan: from inputs through fields, templates and lists into calls.

Sizes are guesses that only serve prediction. A field keeps the size and condition of its record, since that is what
its text or picture most likely is; numbers and the like have size 1. A field of a list is as many as the list.
"""

from collections.abc import Mapping

from catp.planlang.conditions import scalar_type
from catp.planlang.nodes import ListValue, Literal, ObjectValue, Ref, Template, Value
from catp.planlang.registry_view import Size, ValueFacts
from catp.planlang.types import ANY, Type, TypeTable, list_of

__all__ = ["element_of", "facts_of", "unknown_facts"]

_TEXT = Type("text")
_JSON = Type("json")
_SIZED = ("text", "image", "audio", "file", "json", "any", "list")


def unknown_facts(type_: Type, list_count: int) -> ValueFacts:
    """Facts of a value of which only the type is known: one unit, and `list_count` elements if it is a list."""
    return ValueFacts(type_, Size(1, list_count) if type_.name == "list" else Size())


def element_of(facts: ValueFacts, list_count: int) -> ValueFacts:
    """Facts of one element of a list."""
    item = facts.type.item or ANY
    return ValueFacts(item, Size(facts.size.units, list_count if item.name == "list" else 1), facts.condition)


def facts_of(value: Value, known: Mapping[str, ValueFacts], types: TypeTable, list_count: int) -> ValueFacts:
    """Facts of any value of a checked plan; `known` holds those of inputs and earlier steps."""
    if isinstance(value, Ref):
        return _ref(value, known, types, list_count) if value.path else known[value.root]
    if isinstance(value, Literal):
        length = len(value.value) if isinstance(value.value, str) else 1
        return ValueFacts(scalar_type(value.value), Size(max(length, 1)))
    if isinstance(value, Template):
        parts = (len(p) if isinstance(p, str) else _ref(p, known, types, list_count).size.units for p in value.parts)
        return ValueFacts(_TEXT, Size(max(sum(parts), 1)))
    inner = value.items if isinstance(value, ListValue) else tuple(item for _, item in value.pairs)
    items = [facts_of(item, known, types, list_count) for item in inner]
    units = [item.size.units for item in items]
    if isinstance(value, ObjectValue):
        return ValueFacts(_JSON, Size(max(sum(units), 1)))
    condition = next((item.condition for item in items if item.condition), "")
    type_ = list_of(items[0].type if items else ANY)
    return ValueFacts(type_, Size(max(units, default=1), len(items)), condition)


def _ref(ref: Ref, known: Mapping[str, ValueFacts], types: TypeTable, list_count: int) -> ValueFacts:
    facts = known[ref.root]
    for key in ref.path:
        facts = element_of(facts, list_count) if isinstance(key, int) else _field(facts, key, types, list_count)
    return facts


def _field(facts: ValueFacts, key: str, types: TypeTable, list_count: int) -> ValueFacts:
    type_ = types.field(facts.type, key) or ANY
    if facts.type.item is not None:
        one = _field(element_of(facts, list_count), key, types, list_count)
        return ValueFacts(type_, Size(one.size.units, facts.size.count), one.condition)
    if type_.name == "list":
        return ValueFacts(type_, Size(facts.size.units, list_count), facts.condition)
    if type_.name in _SIZED or types.fields(type_):
        return ValueFacts(type_, facts.size, facts.condition)
    return ValueFacts(type_, Size(), facts.condition)
