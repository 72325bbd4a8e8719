"""The type space of a catalogue, in numbers: which values can stand where, and which tools could run.

    value     a type some input or step can have          (an index; sets of values never occur, only what they serve)
    demand    a place that wants a type                   (an index; sets are integer bitmasks)

A value serves a demand if its own type fits or one of its fields does, up to `PATH` fields deep. A demand is `plain`
(an argument or output), `each` (the list a map runs over) or `guard` (a number or duration to compare). Everything
that later decides something per token is a lookup in the tables built here, once per catalogue and request types.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

from catp.planlang.conditions import scalar_type
from catp.planlang.registry_view import Param, ToolSig
from catp.planlang.token_ids import TokenContext, constants
from catp.planlang.types import Type, TypeTable, list_of

__all__ = ["PATH", "Slot", "ToolFace", "TypeSpace", "bits_of"]

PATH = 2
"""How many fields a reference may follow."""

_Kind: TypeAlias = Literal["plain", "each", "guard"]
_COMPARED = ("number", "int", "duration")


@dataclass(frozen=True, slots=True)
class Slot:
    """One parameter: the constants it may be given (a bitmask of token ids) and the demands it makes.

    Both demands are -1 for a parameter with choices, which takes nothing else.
    """

    required: bool
    constants: int
    plain: int
    each: int


@dataclass(frozen=True, slots=True)
class ToolFace:
    """One tool: its parameters, the value it gives, and the value a map over it gives."""

    slots: tuple[Slot, ...]
    value: int
    mapped: int
    required: int
    """Bitmask of required parameters."""


class TypeSpace:
    """Values, demands and tools of one token context."""

    def __init__(self, context: TokenContext) -> None:
        self.types: TypeTable = context.registry.types
        self.context = context
        self.values: list[Type] = []
        self._value_ids: dict[Type, int] = {}
        self._demand_ids: dict[tuple[_Kind, Type], int] = {}
        self.demands: list[tuple[_Kind, Type]] = []
        self.guard = self._demand("guard", Type("number"))
        self.goals = tuple(self._demand("plain", goal.type) for goal in context.goals)
        self.inputs = tuple(self._value(i.type) for i in context.header.inputs)
        self.tools = tuple(self._face(tool) for tool in context.registry)
        for type_ in self.values:  # grows while it runs: until no new ancestor turns up
            for ancestor in self._ancestors(type_):
                self._value(ancestor)
        self.serves = tuple(self._reach(type_, PATH) for type_ in self.values)
        self._common: dict[tuple[int, int], int] = {}
        self._runnable: dict[int, tuple[int, int]] = {}
        self._fields: dict[tuple[Type, int, int], tuple[int, dict[int, Type]]] = {}

    def served(self, values: Iterable[int]) -> int:
        """The demands that a set of values serves."""
        met = 0
        for value in values:
            met |= self.serves[value]
        return met

    def common(self, left: int, right: int) -> int:
        """The value two alternatives have in common, or -1."""
        key = (left, right)
        found = self._common.get(key)
        if found is None:
            type_ = self.types.common(self.values[left], self.values[right])
            found = self._common[key] = -1 if type_ is None else self._value_ids[type_]
        return found

    def kin(self, value: int) -> Type:
        """The root of a value's ancestry: two values have something in common only if their roots are the same."""
        return self._root(self.values[value])

    def _root(self, type_: Type) -> Type:
        if type_.item is not None:
            return list_of(self._root(type_.item))
        name, definition = type_.name, self.types.defs.get(type_.name)
        while definition is not None and definition.parent is not None:
            name, definition = definition.parent, self.types.defs.get(definition.parent)
        return Type(name)

    def fits(self, type_: Type, demand: int) -> bool:
        """True if a value of exactly this type meets the demand, without following a field."""
        kind, wanted = self.demands[demand]
        if kind == "guard":
            return type_.name in _COMPARED and not type_.optional
        if kind == "each":
            item = type_.item if type_.name == "list" and not type_.optional else None
            return item is not None and self.types.accepts(wanted, item)
        return self.types.accepts(wanted, type_)

    def fields(self, type_: Type, depth: int, demand: int) -> tuple[int, dict[int, Type]]:
        """The fields of a type that lead to `demand` within `depth` fields: a bitmask of token ids, and their types."""
        key = (type_, depth, demand)
        found = self._fields.get(key)
        if found is None:
            leading = {
                token: field
                for token, field in self._parts(type_)
                if depth > 0 and self._reach(field, depth - 1) >> demand & 1
            }
            found = self._fields[key] = (self.context.vocabulary.bits(leading), leading)
        return found

    def runnable(self, met: int) -> tuple[int, int]:
        """Bitmasks of the tools that can be called, and of those that can be mapped, when demands `met` are served."""
        found = self._runnable.get(met)
        if found is None:
            found = self._runnable[met] = self._find_runnable(met)
        return found

    def _find_runnable(self, met: int) -> tuple[int, int]:
        once = twice = 0
        for demand, tools in self._needing:
            if not met >> demand & 1:
                twice |= once & tools
                once |= tools
        ready = self._usable & ~once
        lacking_one = once & ~twice & self._usable
        mapped = 0
        for each in bits_of(met & self._mappable):
            plain, tools, needing, repeated = self._mapping[each]
            mapped |= tools & ready
            if not met >> plain & 1:
                mapped |= needing & lacking_one & ~repeated
        return ready, mapped

    def filled(self, tool: int, met: int) -> tuple[int, int]:
        """Bitmasks of the parameters of `tool` that can be given a value, and of those a map can run over."""
        fill = over = 0
        for place, slot in enumerate(self.tools[tool].slots):
            if slot.constants or (slot.plain >= 0 and met >> slot.plain & 1):
                fill |= 1 << place
            if slot.each >= 0 and met >> slot.each & 1:
                over |= 1 << place
        return fill, over

    @cached_property
    def _usable(self) -> int:
        """Tools all of whose required parameters have a token."""
        room = len(self.context.vocabulary.span("a"))
        usable = 0
        for k, tool in enumerate(self.context.registry):
            if not any(param.required for param in tool.params[room:]):
                usable |= 1 << k
        return usable

    @cached_property
    def _needing(self) -> tuple[tuple[int, int], ...]:
        """For each demand that tools cannot do without, those tools."""
        needing: dict[int, int] = {}
        for k, tool in enumerate(self.tools):
            for slot in tool.slots:
                if slot.required and not slot.constants:
                    needing[slot.plain] = needing.get(slot.plain, 0) | 1 << k
        return tuple(needing.items())

    @cached_property
    def _mapping(self) -> dict[int, tuple[int, int, int, int]]:
        """By the demand of a map: the demand of one element, tools with such a parameter, needing it, needing two."""
        found: dict[int, tuple[int, int, int, int]] = {}
        for k, tool in enumerate(self.tools):
            bit = 1 << k
            for slot in tool.slots:
                if slot.each >= 0:
                    _, having, needing, repeated = found.get(slot.each, (0, 0, 0, 0))
                    if slot.required and not slot.constants:
                        repeated |= needing & bit
                        needing |= bit
                    found[slot.each] = (slot.plain, having | bit, needing, repeated)
        return found

    @cached_property
    def _mappable(self) -> int:
        return sum(1 << each for each in self._mapping)

    def _face(self, tool: ToolSig) -> ToolFace:
        room = len(self.context.vocabulary.span("a"))
        slots = tuple(self._slot(param) for param in tool.params[:room])
        required = sum(1 << place for place, slot in enumerate(slots) if slot.required)
        return ToolFace(slots, self._value(tool.returns), self._value(list_of(tool.returns)), required)

    def _slot(self, param: Param) -> Slot:
        vocabulary = self.context.vocabulary
        bits = 0
        found = constants(param.type, param)
        if found is not None:
            family, literals = found
            bits = vocabulary.bits(token for token, _ in zip(vocabulary.span(family), literals, strict=False))
        if param.choices:
            return Slot(param.required, bits, -1, -1)
        for token, literal in zip(vocabulary.span("s"), self.context.literals, strict=False):
            if self.types.accepts(param.type, scalar_type(literal.value)):
                bits |= 1 << token
        return Slot(param.required, bits, self._demand("plain", param.type), self._demand("each", param.type))

    def _value(self, type_: Type) -> int:
        if type_ not in self._value_ids:
            self._value_ids[type_] = len(self.values)
            self.values.append(type_)
        return self._value_ids[type_]

    def _demand(self, kind: _Kind, type_: Type) -> int:
        key = (kind, type_)
        if key not in self._demand_ids:
            self._demand_ids[key] = len(self.demands)
            self.demands.append(key)
        return self._demand_ids[key]

    def _ancestors(self, type_: Type) -> Iterator[Type]:
        """Every type that a common type of `type_` and another can be, one level up; closed by repetition."""
        if type_.item is not None:
            for item in self._ancestors(type_.item):
                yield Type("list", item, type_.optional)
        definition = self.types.defs.get(type_.name)
        if definition is not None and definition.parent is not None:
            yield Type(definition.parent, None, type_.optional)
        if not type_.optional:
            yield Type(type_.name, type_.item, True)

    def _parts(self, type_: Type) -> Iterator[tuple[int, Type]]:
        if type_.optional:
            return
        for token, (_, field) in zip(self.context.vocabulary.span("."), self.types.fields(type_), strict=False):
            yield token, field

    def _reach(self, type_: Type, depth: int) -> int:
        key = (type_, depth)
        found = self._reached.get(key)
        if found is None:
            found = self._fitted(type_)
            if depth:
                for _, field in self._parts(type_):
                    found |= self._reach(field, depth - 1)
            self._reached[key] = found
        return found

    def _fitted(self, type_: Type) -> int:
        """The demands a type fits; only those it could fit by name are looked at."""
        found = self._fits.get(type_)
        if found is None:
            names = [("plain", name) for name in self.types.names_accepting(type_)]
            if type_.item is not None:
                names += [("each", name) for name in self.types.names_accepting(type_.item)]
            candidates = [self.guard, *(demand for name in names for demand in self._wanting.get(name, ()))]
            found = self._fits[type_] = sum(1 << demand for demand in candidates if self.fits(type_, demand))
        return found

    @cached_property
    def _wanting(self) -> dict[tuple[str, str], list[int]]:
        """Demands by kind and name of the wanted type."""
        wanting: dict[tuple[str, str], list[int]] = {}
        for demand, (kind, wanted) in enumerate(self.demands):
            wanting.setdefault((kind, wanted.name), []).append(demand)
        return wanting

    @cached_property
    def _fits(self) -> dict[Type, int]:
        return {}

    @cached_property
    def _reached(self) -> dict[tuple[Type, int], int]:
        return {}


def bits_of(mask: int) -> Iterator[int]:
    """Yield the positions of the bits that are set, lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
