"""Reading behind `token_ids.decode_ids`: ids back into a plan, each place given its meaning by the context."""

from collections.abc import Sequence
from dataclasses import replace

from catp.planlang.nodes import (
    Arg,
    Attempt,
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
from catp.planlang.registry_view import Param, ToolSig
from catp.planlang.token_context import NOTE_LEVELS, Scope, TokenContext, constants
from catp.planlang.token_header import step_names
from catp.planlang.token_reader import TokenReader, refuse
from catp.planlang.types import ANY, Type
from catp.planlang.vocabulary import CONDITIONS, Family

__all__ = ["IdDecoder"]

_MAX_DEPTH = 64


class IdDecoder(TokenReader):
    """Reads one plan. Spellings are compared, which costs nothing that matters here."""

    def __init__(self, ids: Sequence[int], context: TokenContext) -> None:
        self.context = context
        self.scope = Scope(context)
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
        """Read everything; raise `PlanError` (E010) at the first id that does not fit."""
        header = self.context.header
        self.expect("<plan>")
        self.names = list(step_names(header.inputs, self.spelled.count("<end>")))
        steps: list[Step] = []
        while self._family() == "t":
            step = self._step(len(steps))
            self.scope.define(step, self.context.registry)
            steps.append(step)
        outputs: list[Output] = []
        while self._family() == "o":
            goal = self.context.goals[self._place("o", len(self.context.goals), "a requested output")]
            outputs.append(Output(goal.name, self._path(), self.skip("<?>")))
        self.end()
        return header.plan(steps, outputs)

    def _step(self, position: int) -> Step:
        if position >= len(self.names):
            self.fail("as many `<end>` as steps")
        attempts = [self._attempt()]
        while self.skip("<alt>"):
            attempts.append(self._attempt())
        when: list[Test] = []
        while self.skip("<when>"):
            ref = self._ref()
            when.append(Test(ref, self.operator(), self._constant(self.scope.of(ref), None)))
        otherwise = self._ref() if self.skip("<else>") else None
        notes: list[Note] = []
        while self.peek().startswith("<@"):
            notes.append(self._note())
        self.expect("<end>")
        return Step(StepName(self.names[position]), tuple(attempts), tuple(when), otherwise, tuple(notes))

    def _attempt(self) -> Attempt:
        tool = self.context.registry.tools[self._place("t", len(self.context.registry), "a tool offered")]
        args: list[Arg] = []
        following, positional = 0, True
        while self._family() == "a" or self.peek() == "<each>" or self._starts_value():
            if self._family() == "a":
                place = self._place("a", len(tool.params), f"a parameter of `{tool.name}`")
                positional = positional and place == following
                following = place
            if following >= len(tool.params):
                self.fail(f"no more than the {len(tool.params)} arguments of `{tool.name}`")
            param = tool.params[following]
            each = self.skip("<each>")
            value = self._value(param.type, param)
            args.append(Arg(value, None if positional else param.name, each))
            following += 1
        accept: list[OwnTest] = []
        while self.skip("<if>"):
            accept.append(self._guard(tool))
        return Attempt(tool.name, tuple(args), tuple(accept))

    def _guard(self, tool: ToolSig) -> OwnTest:
        here, path = tool.returns, []
        while self._family() == ".":
            name = self._field(here)
            path.append(name)
            here = self.scope.part(here, name)
        return OwnTest(tuple(path), self.operator(), self._constant(here, None))

    def _note(self) -> Note:
        name = self.peek()[2:-1]
        self.at += 1
        level = NOTE_LEVELS.get(name)
        args: list[NoteArg] = []
        while self._starts_value():
            args.append(NoteArg(self._value(Type(level) if level else ANY, None)))
        return Note(name, tuple(args))

    def _value(self, wanted: Type, param: Param | None, depth: int = 0) -> Value:
        if depth > _MAX_DEPTH:
            self.fail(f"at most {_MAX_DEPTH} nested lists")
        if self.skip("<tmpl>"):
            parts: list[str | Ref] = []
            while not self.skip("</tmpl>"):
                parts.append(self._ref() if self._family() in ("n", "i") else self._text())
            return Template(tuple(parts))
        if self.skip("<list>"):
            items: list[Value] = []
            while not self.skip("</list>"):
                items.append(self._value(wanted.item or ANY, None, depth + 1))
            return ListValue(tuple(items))
        return self._ref() if self._family() in ("n", "i") else self._constant(wanted, param)

    def _ref(self) -> Ref:
        ref = self._path()
        return replace(ref, optional=True) if self.skip("<?>") else ref

    def _path(self) -> Ref:
        if self._family() == "i":
            inputs = self.context.header.inputs
            root: str = inputs[self._place("i", len(inputs), "an input")].name
        else:
            root = self.names[self._place("n", len(self.scope.types) - len(self.context.header.inputs), "a step")]
        here = self.scope.types[root]
        path: list[str | int] = []
        while self._family() in (".", "["):
            part = self._field(here) if self._family() == "." else self._place("[", len(self.tokens) + 8, "an element")
            path.append(part)
            here = self.scope.part(here, part)
        return Ref(root, tuple(path))

    def _field(self, type_: Type) -> str:
        fields = self.scope.table.fields(type_)
        return fields[self._place(".", len(fields), f"a field of {type_}")][0]

    def _text(self) -> str:
        literal = self._constant(ANY, None)
        if not isinstance(literal.value, str):
            self.fail("a text or reference", back=1)
        return literal.value

    def _constant(self, wanted: Type, param: Param | None) -> Literal:
        found = constants(wanted, param)
        if found is not None and self._family() == found[0]:
            return found[1][self._place(found[0], len(found[1]), f"a constant of {wanted}")]
        return self.context.literals[self._place("s", len(self.context.literals), f"a constant for {wanted}")]

    def _starts_value(self) -> bool:
        return self._family() in ("n", "i", "c", "s", "q") or self.peek() in ("<tmpl>", "<list>")

    def _family(self) -> Family | None:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else None

    def _place(self, family: Family, count: int, what: str) -> int:
        if self._family() != family or self.tokens[self.at][1] >= count:
            self.fail(what)
        self.at += 1
        return self.tokens[self.at - 1][1]
