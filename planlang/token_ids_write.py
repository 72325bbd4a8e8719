"""Writing behind `token_ids.encode_ids`: every part of a plan as the ids of its places; what has none is refused."""

from collections.abc import Iterator

from catp.planlang.nodes import Arg, Attempt, ListValue, Literal, Note, Plan, Ref, Step, Template, Value
from catp.planlang.registry_view import Param, ToolSig
from catp.planlang.token_context import NOTE_LEVELS, Scope, TokenContext, constants
from catp.planlang.token_reader import refuse
from catp.planlang.types import ANY, Type
from catp.planlang.vocabulary import Family

__all__ = ["IdEncoder"]


class IdEncoder:
    """Spells one plan; holds where each name points."""

    def __init__(self, plan: Plan, context: TokenContext) -> None:
        self.plan = plan
        self.context = context
        self.id = context.vocabulary.id
        self.scope = Scope(context)
        self.goals = {goal.name: k for k, goal in enumerate(context.goals)}
        self.roots: dict[str, tuple[Family, int]] = {i.name: ("i", k) for k, i in enumerate(context.header.inputs)}
        if plan.inputs != context.header.inputs:
            refuse("inputs", "the plan's inputs are not those of the context")
        if plan.approve != context.header.approve:
            refuse("approve", "the plan's `@approve` is not that of the context", "set it in the context's header")

    def plan_ids(self) -> Iterator[int]:
        """Every id of the plan, in order."""
        yield self.id("<plan>")
        for position, step in enumerate(self.plan.steps):
            yield from self._step(step)
            self.scope.define(step, self.context.registry)
            self.roots[step.name] = ("n", position)
        for output in self.plan.outputs:
            yield self._at("o", self.goals.get(output.name), f"output `{output.name}`")
            if output.ref.optional:
                refuse(f"output `{output.name}`", "a `?` on the reference itself has no token id", "mark the output")
            yield from self._ref(output.ref)
            if output.optional:
                yield self.id("<?>")
        yield self.id("</plan>")

    def _at(self, family: Family, position: int | None, what: str) -> int:
        ids = self.context.vocabulary.span(family)
        if position is None or not 0 <= position < len(ids):
            refuse(what, f"{what} has no token id in this context", "use the readable token form")
        return ids[position]

    def _step(self, step: Step) -> Iterator[int]:
        for position, attempt in enumerate(step.attempts):
            if position:
                yield self.id("<alt>")
            yield from self._attempt(attempt)
        for test in step.when:
            yield from (self.id("<when>"), *self._ref(test.ref), self.id(f"<{test.op}>"))
            yield self._constant(test.value, self.scope.of(test.ref))
        if step.otherwise is not None:
            yield from (self.id("<else>"), *self._ref(step.otherwise))
        for note in step.notes:
            yield from self._note(note)
        yield self.id("<end>")

    def _attempt(self, attempt: Attempt) -> Iterator[int]:
        tool = self.context.registry.get(attempt.tool)
        if tool is None:
            refuse(attempt.tool, f"tool `{attempt.tool}` is not offered in this context")
        yield self._at("t", self.context.registry.index(tool.name), f"tool `{tool.name}`")
        following = 0
        for place, arg in _placed(attempt, tool):
            if place != following:
                yield self._at("a", place, f"parameter {place} of `{tool.name}`")
            if arg.each:
                yield self.id("<each>")
            param = tool.params[place]
            yield from self._value(arg.value, param.type, param)
            following = place + 1
        for guard in attempt.accept:
            yield self.id("<if>")
            here = tool.returns
            for name in guard.path:
                yield self._field(here, name)
                here = self.scope.part(here, name)
            yield from (self.id(f"<{guard.op}>"), self._constant(guard.value, here))

    def _note(self, note: Note) -> Iterator[int]:
        yield self.id(f"<@{note.name}>")
        for given in note.args:
            if given.key is not None:
                refuse(f"@{note.name}", f"`{given.key}=` of @{note.name} has no token id", "give it by position")
            level = NOTE_LEVELS.get(note.name)
            yield from self._value(given.value, Type(level) if level else ANY, None)

    def _value(self, value: Value, wanted: Type, param: Param | None) -> Iterator[int]:
        if isinstance(value, Literal):
            yield self._constant(value, wanted, param)
        elif isinstance(value, Ref):
            yield from self._ref(value)
        elif isinstance(value, Template):
            yield self.id("<tmpl>")
            for part in value.parts:
                yield from self._ref(part) if isinstance(part, Ref) else (self._constant(Literal(part), ANY),)
            yield self.id("</tmpl>")
        elif isinstance(value, ListValue):
            yield self.id("<list>")
            for item in value.items:
                yield from self._value(item, wanted.item or ANY, None)
            yield self.id("</list>")
        else:
            refuse("object", "objects have no token ids", "use the readable token form")

    def _constant(self, literal: Literal, wanted: Type, param: Param | None = None) -> int:
        found = constants(wanted, param)
        if found is not None and literal in found[1]:
            return self._at(found[0], found[1].index(literal), "the constant")
        offered = self.context.literals
        place = offered.index(literal) if literal in offered else None
        return self._at("s", place, f"the constant {str(literal.value)[:40]!r}")

    def _ref(self, ref: Ref) -> Iterator[int]:
        root = self.roots.get(ref.root)
        if root is None:
            refuse(str(ref), f"`{ref.root}` is neither an input nor an earlier step")
        yield self._at(root[0], root[1], f"`{ref.root}`")
        here = self.scope.types[ref.root]
        for part in ref.path:
            yield self._field(here, part) if isinstance(part, str) else self._at("[", part, f"element [{part}]")
            here = self.scope.part(here, part)
        if ref.optional:
            yield self.id("<?>")

    def _field(self, type_: Type, name: str) -> int:
        names = [field for field, _ in self.scope.table.fields(type_)]
        return self._at(".", names.index(name) if name in names else None, f"field `{name}` of {type_}")


def _placed(attempt: Attempt, tool: ToolSig) -> list[tuple[int, Arg]]:
    """Every argument with the position of its parameter."""
    places = {param.name: k for k, param in enumerate(tool.params)}
    placed: list[tuple[int, Arg]] = []
    for position, arg in enumerate(attempt.args):
        place = position if arg.name is None else places.get(arg.name, len(tool.params))
        if place >= len(tool.params):
            refuse(tool.name, f"`{tool.name}` has no parameter for argument {position}", "check the plan first")
        placed.append((place, arg))
    return placed
