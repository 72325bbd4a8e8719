"""The token form in ids: what a policy emits and the decode mask allows, over the fixed `Vocabulary`.

It is the readable spelling with every name replaced by a position that the context gives a meaning:

    attempt = <tK> { [ <aK> ] [ <each> ] value } { <if> { <.K> } OP constant }        constant = <cK> | <qK> | <sK>
    value   = ref | constant | <tmpl> { <sK> | ref } </tmpl> | <list> { value } </list>
    out     = <oK> ref [ <?> ]         (the name comes first, so that the type wanted is known when the value is chosen)

Arguments count up from the first parameter; `<aK>` jumps to parameter K. Texts are literals the request offers, by
place (`<sK>`): spans of the request, constants of the application. What has no place has no ids: objects, `null`,
fields of `json`, texts not offered. `encode_ids` refuses those; the text, JSON and readable token forms keep them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from catp.planlang.nodes import (
    Arg,
    Attempt,
    Duration,
    ListValue,
    Literal,
    Note,
    NoteArg,
    Output,
    OwnTest,
    Plan,
    Ref,
    Step,
    StepName,
    Template,
    Test,
    Value,
)
from catp.planlang.registry_view import Param, RegistryView, ToolSig
from catp.planlang.token_reader import TokenReader, refuse
from catp.planlang.tokens import Header, step_names
from catp.planlang.types import ANY, Type, TypeTable, list_of
from catp.planlang.vocabulary import CONDITIONS, LEVELS, Family, LevelKind, Vocabulary

__all__ = ["Goal", "TokenContext", "constants", "decode_ids", "encode_ids"]

_MAX_DEPTH = 64
_CONSTANTS: dict[str, tuple[Family, tuple[Literal, ...]]] = {
    "bool": ("c", (Literal(False), Literal(True))),
    "int": ("q", tuple(map(Literal, LEVELS["int"]))),
    "number": ("q", tuple(map(Literal, LEVELS["number"]))),
    "duration": ("q", tuple(Literal(Duration(int(ns))) for ns in LEVELS["duration"])),
}
_NOTE_LEVELS: dict[str, LevelKind] = {
    "retry": "int", "priority": "int", "quorum": "number", "timeout": "duration", "hedge": "duration",
}  # fmt: skip


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


def encode_ids(plan: Plan, context: TokenContext) -> list[int]:
    """Spell `plan` in ids; arguments come back positional where they can be.

    Raises:
        PlanError: E010 if the plan holds something that has no place in `context`.
    """
    return list(_Encoder(plan, context).plan_ids())


def decode_ids(ids: Sequence[int], context: TokenContext) -> Plan:
    """Read the plan that `ids` spell; condition tokens and their levels are skipped.

    Raises:
        PlanError: E010 at the first id that does not fit.
    """
    return _Decoder(ids, context).plan()


class _Scope:
    """Types of inputs and steps so far: what field positions are relative to."""

    def __init__(self, context: TokenContext) -> None:
        self.table: TypeTable = context.registry.types
        self.types: dict[str, Type] = {i.name: i.type for i in context.header.inputs}

    def of(self, ref: Ref) -> Type:
        here = self.types.get(ref.root, ANY)
        for part in ref.path:
            here = self.part(here, part)
        return here

    def part(self, type_: Type, part: str | int) -> Type:
        found = type_.item if isinstance(part, int) else self.table.field(type_, part)
        return found or ANY

    def define(self, step: Step, registry: RegistryView) -> None:
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


class _Encoder:
    def __init__(self, plan: Plan, context: TokenContext) -> None:
        self.plan = plan
        self.context = context
        self.id = context.vocabulary.id
        self.scope = _Scope(context)
        self.goals = {goal.name: k for k, goal in enumerate(context.goals)}
        self.roots: dict[str, tuple[Family, int]] = {i.name: ("i", k) for k, i in enumerate(context.header.inputs)}
        if plan.inputs != context.header.inputs:
            refuse("inputs", "the plan's inputs are not those of the context")
        if plan.approve != context.header.approve:
            refuse("approve", "the plan's `@approve` is not that of the context", "set it in the context's header")

    def plan_ids(self) -> Iterator[int]:
        yield self.id("<plan>")
        for position, step in enumerate(self.plan.steps):
            yield from self.step(step)
            self.scope.define(step, self.context.registry)
            self.roots[step.name] = ("n", position)
        for output in self.plan.outputs:
            yield self.at("o", self.goals.get(output.name), f"output `{output.name}`")
            if output.ref.optional:
                refuse(f"output `{output.name}`", "a `?` on the reference itself has no token id", "mark the output")
            yield from self.ref(output.ref)
            if output.optional:
                yield self.id("<?>")
        yield self.id("</plan>")

    def at(self, family: Family, position: int | None, what: str) -> int:
        ids = self.context.vocabulary.span(family)
        if position is None or not 0 <= position < len(ids):
            refuse(what, f"{what} has no token id in this context", "use the readable token form")
        return ids[position]

    def step(self, step: Step) -> Iterator[int]:
        for position, attempt in enumerate(step.attempts):
            if position:
                yield self.id("<alt>")
            yield from self.attempt(attempt)
        for test in step.when:
            yield from (self.id("<when>"), *self.ref(test.ref), self.id(f"<{test.op}>"))
            yield self.constant(test.value, self.scope.of(test.ref))
        if step.otherwise is not None:
            yield from (self.id("<else>"), *self.ref(step.otherwise))
        for note in step.notes:
            yield from self.note(note)
        yield self.id("<end>")

    def attempt(self, attempt: Attempt) -> Iterator[int]:
        tool = self.context.registry.get(attempt.tool)
        if tool is None:
            refuse(attempt.tool, f"tool `{attempt.tool}` is not offered in this context")
        yield self.at("t", self.context.registry.index(tool.name), f"tool `{tool.name}`")
        following = 0
        for place, arg in _placed(attempt, tool):
            if place != following:
                yield self.at("a", place, f"parameter {place} of `{tool.name}`")
            if arg.each:
                yield self.id("<each>")
            param = tool.params[place]
            yield from self.value(arg.value, param.type, param)
            following = place + 1
        for guard in attempt.accept:
            yield self.id("<if>")
            here = tool.returns
            for name in guard.path:
                yield self.field(here, name)
                here = self.scope.part(here, name)
            yield from (self.id(f"<{guard.op}>"), self.constant(guard.value, here))

    def note(self, note: Note) -> Iterator[int]:
        yield self.id(f"<@{note.name}>")
        for given in note.args:
            if given.key is not None:
                refuse(f"@{note.name}", f"`{given.key}=` of @{note.name} has no token id", "give it by position")
            level = _NOTE_LEVELS.get(note.name)
            yield from self.value(given.value, Type(level) if level else ANY, None)

    def value(self, value: Value, wanted: Type, param: Param | None) -> Iterator[int]:
        if isinstance(value, Literal):
            yield self.constant(value, wanted, param)
        elif isinstance(value, Ref):
            yield from self.ref(value)
        elif isinstance(value, Template):
            yield self.id("<tmpl>")
            for part in value.parts:
                yield from self.ref(part) if isinstance(part, Ref) else (self.constant(Literal(part), ANY),)
            yield self.id("</tmpl>")
        elif isinstance(value, ListValue):
            yield self.id("<list>")
            for item in value.items:
                yield from self.value(item, wanted.item or ANY, None)
            yield self.id("</list>")
        else:
            refuse("object", "objects have no token ids", "use the readable token form")

    def constant(self, literal: Literal, wanted: Type, param: Param | None = None) -> int:
        found = constants(wanted, param)
        if found is not None and literal in found[1]:
            return self.at(found[0], found[1].index(literal), "the constant")
        offered = self.context.literals
        place = offered.index(literal) if literal in offered else None
        return self.at("s", place, f"the constant {str(literal.value)[:40]!r}")

    def ref(self, ref: Ref) -> Iterator[int]:
        root = self.roots.get(ref.root)
        if root is None:
            refuse(str(ref), f"`{ref.root}` is neither an input nor an earlier step")
        yield self.at(root[0], root[1], f"`{ref.root}`")
        here = self.scope.types[ref.root]
        for part in ref.path:
            yield self.field(here, part) if isinstance(part, str) else self.at("[", part, f"element [{part}]")
            here = self.scope.part(here, part)
        if ref.optional:
            yield self.id("<?>")

    def field(self, type_: Type, name: str) -> int:
        names = [field for field, _ in self.scope.table.fields(type_)]
        return self.at(".", names.index(name) if name in names else None, f"field `{name}` of {type_}")


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


def constants(wanted: Type, param: Param | None = None) -> tuple[Family, tuple[Literal, ...]] | None:
    """The constants that have ids of their own where `wanted` is expected, and the family those ids are in."""
    if param is not None and param.choices:
        return "c", tuple(map(Literal, param.choices))
    return _CONSTANTS.get(wanted.name)


class _Decoder(TokenReader):
    """Reads one plan. Spellings are compared, which costs nothing that matters here."""

    def __init__(self, ids: Sequence[int], context: TokenContext) -> None:
        self.context = context
        self.scope = _Scope(context)
        self.tokens: list[tuple[Family | None, int]] = []
        self.names: list[str] = []
        super().__init__(self._spell(ids))

    def _spell(self, ids: Sequence[int]) -> list[str]:
        """Return the spellings of `ids` without conditions, and keep their places."""
        spelled: list[str] = []
        vocabulary, skip = self.context.vocabulary, False
        for position, token in enumerate(ids):
            if not 0 <= token < len(vocabulary):
                refuse(f"token {position}", f"{token!r} is no id of this vocabulary")
            place = vocabulary.place(token)
            if skip and place[0] != "q":
                refuse(f"token {position}", "a condition must be followed by its level")
            spelling = vocabulary.spellings[token]
            condition = spelling in CONDITIONS
            if not skip and not condition:
                self.tokens.append(place)
                spelled.append(spelling)
            skip = condition
        if skip:
            refuse(f"token {len(ids)}", "a condition must be followed by its level")
        return spelled

    def plan(self) -> Plan:
        header = self.context.header
        self.expect("<plan>")
        self.names = list(step_names(header.inputs, self.spelled.count("<end>")))
        steps: list[Step] = []
        while self.family() == "t":
            step = self.step(len(steps))
            self.scope.define(step, self.context.registry)
            steps.append(step)
        outputs: list[Output] = []
        while self.family() == "o":
            goal = self.context.goals[self.place("o", len(self.context.goals), "a requested output")]
            outputs.append(Output(goal.name, self.path(), self.skip("<?>")))
        self.end()
        return header.plan(steps, outputs)

    def step(self, position: int) -> Step:
        if position >= len(self.names):
            self.fail("as many `<end>` as steps")
        attempts = [self.attempt()]
        while self.skip("<alt>"):
            attempts.append(self.attempt())
        when: list[Test] = []
        while self.skip("<when>"):
            ref = self.ref()
            when.append(Test(ref, self.operator(), self.constant(self.scope.of(ref), None)))
        otherwise = self.ref() if self.skip("<else>") else None
        notes: list[Note] = []
        while self.peek().startswith("<@"):
            notes.append(self.note())
        self.expect("<end>")
        return Step(StepName(self.names[position]), tuple(attempts), tuple(when), otherwise, tuple(notes))

    def attempt(self) -> Attempt:
        tool = self.context.registry.tools[self.place("t", len(self.context.registry), "a tool offered")]
        args: list[Arg] = []
        following, positional = 0, True
        while self.family() == "a" or self.peek() == "<each>" or self.starts_value():
            if self.family() == "a":
                place = self.place("a", len(tool.params), f"a parameter of `{tool.name}`")
                positional = positional and place == following
                following = place
            if following >= len(tool.params):
                self.fail(f"no more than the {len(tool.params)} arguments of `{tool.name}`")
            param = tool.params[following]
            each = self.skip("<each>")
            value = self.value(param.type, param)
            args.append(Arg(value, None if positional else param.name, each))
            following += 1
        accept: list[OwnTest] = []
        while self.skip("<if>"):
            accept.append(self.guard(tool))
        return Attempt(tool.name, tuple(args), tuple(accept))

    def guard(self, tool: ToolSig) -> OwnTest:
        here, path = tool.returns, []
        while self.family() == ".":
            name = self.field(here)
            path.append(name)
            here = self.scope.part(here, name)
        return OwnTest(tuple(path), self.operator(), self.constant(here, None))

    def note(self) -> Note:
        name = self.peek()[2:-1]
        self.at += 1
        level = _NOTE_LEVELS.get(name)
        args: list[NoteArg] = []
        while self.starts_value():
            args.append(NoteArg(self.value(Type(level) if level else ANY, None)))
        return Note(name, tuple(args))

    def value(self, wanted: Type, param: Param | None, depth: int = 0) -> Value:
        if depth > _MAX_DEPTH:
            self.fail(f"at most {_MAX_DEPTH} nested lists")
        if self.skip("<tmpl>"):
            parts: list[str | Ref] = []
            while not self.skip("</tmpl>"):
                parts.append(self.ref() if self.family() in ("n", "i") else self.text())
            return Template(tuple(parts))
        if self.skip("<list>"):
            items: list[Value] = []
            while not self.skip("</list>"):
                items.append(self.value(wanted.item or ANY, None, depth + 1))
            return ListValue(tuple(items))
        return self.ref() if self.family() in ("n", "i") else self.constant(wanted, param)

    def ref(self) -> Ref:
        ref = self.path()
        return replace(ref, optional=True) if self.skip("<?>") else ref

    def path(self) -> Ref:
        if self.family() == "i":
            inputs = self.context.header.inputs
            root: str = inputs[self.place("i", len(inputs), "an input")].name
        else:
            root = self.names[self.place("n", len(self.scope.types) - len(self.context.header.inputs), "a step")]
        here = self.scope.types[root]
        path: list[str | int] = []
        while self.family() in (".", "["):
            part = self.field(here) if self.family() == "." else self.place("[", len(self.tokens) + 8, "an element")
            path.append(part)
            here = self.scope.part(here, part)
        return Ref(root, tuple(path))

    def field(self, type_: Type) -> str:
        fields = self.scope.table.fields(type_)
        return fields[self.place(".", len(fields), f"a field of {type_}")][0]

    def text(self) -> str:
        literal = self.constant(ANY, None)
        if not isinstance(literal.value, str):
            self.fail("a text or reference", back=1)
        return literal.value

    def constant(self, wanted: Type, param: Param | None) -> Literal:
        found = constants(wanted, param)
        if found is not None and self.family() == found[0]:
            return found[1][self.place(found[0], len(found[1]), f"a constant of {wanted}")]
        return self.context.literals[self.place("s", len(self.context.literals), f"a constant for {wanted}")]

    def starts_value(self) -> bool:
        return self.family() in ("n", "i", "c", "s", "q") or self.peek() in ("<tmpl>", "<list>")

    def family(self) -> Family | None:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else None

    def place(self, family: Family, count: int, what: str) -> int:
        if self.family() != family or self.tokens[self.at][1] >= count:
            self.fail(what)
        self.at += 1
        return self.tokens[self.at - 1][1]
