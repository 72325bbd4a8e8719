"""What positions in the token form mean for one request, and the types that field and constant ids are relative to."""

from dataclasses import dataclass, field

from catp.planlang.nodes import Duration, Literal, Ref, Step
from catp.planlang.registry_view import Param, RegistryView
from catp.planlang.token_header import Header
from catp.planlang.types import ANY, Type, TypeTable, list_of
from catp.planlang.vocabulary import LEVELS, Family, LevelKind, Vocabulary

__all__ = ["NOTE_LEVELS", "Goal", "Scope", "TokenContext", "constants"]

_CONSTANTS: dict[str, tuple[Family, tuple[Literal, ...]]] = {
    "bool": ("c", (Literal(False), Literal(True))),
    "int": ("q", tuple(map(Literal, LEVELS["int"]))),
    "number": ("q", tuple(map(Literal, LEVELS["number"]))),
    "duration": ("q", tuple(Literal(Duration(int(ns))) for ns in LEVELS["duration"])),
}
NOTE_LEVELS: dict[str, LevelKind] = {
    "retry": "int", "priority": "int", "quorum": "number", "timeout": "duration", "hedge": "duration",
}  # fmt: skip
"""The kind of level that a note's argument is, by the note."""


@dataclass(frozen=True, slots=True)
class Goal:
    """One requested output: its name, the type it must have, and whether the plan may do without it."""

    name: str
    type: Type
    optional: bool = False


@dataclass(frozen=True)
class TokenContext:
    """What positions mean for one request: tools in prompt order, inputs, requested outputs, literals offered."""

    registry: RegistryView
    header: Header
    goals: tuple[Goal, ...]
    literals: tuple[Literal, ...] = ()
    vocabulary: Vocabulary = field(default_factory=Vocabulary)

    def __post_init__(self) -> None:
        offered: tuple[tuple[Family, int, str], ...] = (
            ("t", len(self.registry), "tools"),
            ("i", len(self.header.inputs), "inputs"),
            ("o", len(self.goals), "requested outputs"),
            ("s", len(self.literals), "literals"),
        )
        for family, count, what in offered:
            room = len(self.vocabulary.span(family))
            if count > room:
                raise ValueError(f"{count} {what}, but the vocabulary has room for {room}; narrow them first")


def constants(wanted: Type, param: Param | None = None) -> tuple[Family, tuple[Literal, ...]] | None:
    """The constants that have ids of their own where `wanted` is expected, and the family those ids are in."""
    if param is not None and param.choices:
        return "c", tuple(map(Literal, param.choices))
    return _CONSTANTS.get(wanted.name)


class Scope:
    """Types of inputs and steps so far: what field positions are relative to."""

    def __init__(self, context: TokenContext) -> None:
        self.table: TypeTable = context.registry.types
        self.types: dict[str, Type] = {i.name: i.type for i in context.header.inputs}

    def of(self, ref: Ref) -> Type:
        """The type of what a reference names; `ANY` if that is not known."""
        here = self.types.get(ref.root, ANY)
        for part in ref.path:
            here = self.part(here, part)
        return here

    def part(self, type_: Type, part: str | int) -> Type:
        """The type of one field or element."""
        found = type_.item if isinstance(part, int) else self.table.field(type_, part)
        return found or ANY

    def define(self, step: Step, registry: RegistryView) -> None:
        """Take note of a step: what all its alternatives give."""
        results: list[Type] = []
        for attempt in step.attempts:
            tool = registry.get(attempt.tool)
            result = tool.returns if tool is not None else ANY
            results.append(list_of(result) if any(arg.each for arg in attempt.args) else result)
        if step.otherwise is not None:
            results.append(self.of(step.otherwise))
        common: Type | None = results[0]
        for other in results[1:]:
            common = self.table.common(common, other) if common is not None else None
        self.types[step.name] = common or ANY
