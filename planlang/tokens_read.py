"""Reading behind `tokens.decode`: tokens in readable spelling back into a plan, refused at the first that misfits."""

import json
import math
import re
from collections.abc import Sequence

from catp.planlang.money import Money
from catp.planlang.nodes import (
    NOTE_NAMES,
    Arg,
    Attempt,
    Duration,
    Input,
    Limits,
    ListValue,
    Literal,
    Note,
    NoteArg,
    ObjectValue,
    Output,
    OwnTest,
    Plan,
    Ref,
    Step,
    StepName,
    Template,
    Test,
    ToolName,
    Usd,
    Value,
)
from catp.planlang.registry_view import RegistryView
from catp.planlang.token_header import Header, step_names
from catp.planlang.token_reader import TokenReader, refuse
from catp.planlang.types import parse_type

__all__ = ["Decoder"]

_MAX_DEPTH = 200
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TOOL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_ROOT = re.compile(r"<([in])(0|[1-9][0-9]{0,6})>")
_INDEX = re.compile(r"<\[(-?[0-9]{1,9})\]>")
_INT = re.compile(r"-?[0-9]{1,30}")
_VALUE_STARTS = ("<lit:", "<tmpl>", "<list>", "<obj>")


class Decoder(TokenReader):
    """Reads one plan; holds the names that references point to."""

    def __init__(self, tokens: Sequence[str], registry: RegistryView | None) -> None:
        super().__init__(tokens)
        self.registry = registry
        self.inputs: tuple[Input, ...] = ()
        self.steps: tuple[StepName, ...] = ()

    def plan(self, header: Header | None) -> Plan:
        """Read everything, with `header` if there is none of its own; raise `PlanError` (E010) at the first misfit."""
        for token in self.spelled:
            if not isinstance(token, str):
                refuse("tokens", f"tokens are strings, found {type(token).__name__}")
        self.expect("<plan>")
        own = self._head() if self.peek() == "<head>" else None
        if own is not None and header is not None:
            refuse("tokens", "the plan has a head of its own and was given another", "leave one of them out")
        head = own or header or Header()
        self.inputs = head.inputs
        self.steps = step_names(head.inputs, self.spelled.count("<end>"))
        steps: list[Step] = []
        while self.peek().startswith("<t:"):
            steps.append(self._step(len(steps)))
        outputs: list[Output] = []
        while self.peek() in ("<out>", "<out?>"):
            outputs.append(self._output())
        self.end()
        return head.plan(steps, outputs)

    def _head(self) -> Header:
        self.expect("<head>")
        name = self._name() if self.skip("<name>") else None
        doc = self._json_text() if self.skip("<doc>") else None
        approve = self.skip("<@approve>")
        inputs: list[Input] = []
        while self.skip("<in>"):
            declared, spelled = self._name(), self._take("a type")
            try:
                type_ = parse_type(spelled)
            except (ValueError, RecursionError):
                self.fail("a type", back=1)
            default = self._value() if self._starts_value() else None
            inputs.append(Input(declared, type_, default))
        cost = Usd(Money(self._integer())) if self.skip("<cost>") else None
        latency = Duration(self._integer()) if self.skip("<latency>") else None
        calls = self._integer() if self.skip("<calls>") else None
        self.expect("</head>")
        return Header(tuple(inputs), Limits(cost, latency, calls), name, doc, approve)

    def _step(self, position: int) -> Step:
        if position >= len(self.steps):
            self.fail("as many `<end>` as steps")
        attempts = [self._attempt()]
        while self.skip("<alt>"):
            attempts.append(self._attempt())
        when: list[Test] = []
        while self.skip("<when>"):
            when.append(Test(self._ref(), self.operator(), self._literal()))
        otherwise = self._ref() if self.skip("<else>") else None
        notes: list[Note] = []
        while self.peek().startswith("<@"):
            notes.append(self._note())
        self.expect("<end>")
        return Step(self.steps[position], tuple(attempts), tuple(when), otherwise, tuple(notes))

    def _attempt(self) -> Attempt:
        tool = self._inside("<t:", ">", "a tool", _TOOL)
        if self.registry is not None and self.registry.get(tool) is None:
            self.fail("a tool of the registry", back=1)
        args: list[Arg] = []
        while self.peek() == "<each>" or self.peek().startswith("<a:") or self._starts_value():
            name = self._inside("<a:", ">", "a parameter", _NAME) if self.peek().startswith("<a:") else None
            each = self.skip("<each>")
            args.append(Arg(self._value(), name, each))
        accept: list[OwnTest] = []
        while self.skip("<if>"):
            path: list[str] = []
            while self.peek().startswith("<."):
                path.append(self._inside("<.", ">", "a field", _NAME))
            accept.append(OwnTest(tuple(path), self.operator(), self._literal()))
        return Attempt(ToolName(tool), tuple(args), tuple(accept))

    def _note(self) -> Note:
        name = self._inside("<@", ">", "an annotation", _NAME)
        if name not in NOTE_NAMES:
            self.fail("a known annotation", back=1)
        args: list[NoteArg] = []
        while self.peek().startswith("<a:") or self._starts_value():
            key = self._inside("<a:", ">", "a key", _NAME) if self.peek().startswith("<a:") else None
            args.append(NoteArg(self._value(), key))
        return Note(name, tuple(args))

    def _output(self) -> Output:
        optional = self._take("an output") == "<out?>"
        ref = self._ref()
        self.expect("<as>")
        return Output(self._name(), ref, optional)

    def _value(self, depth: int = 0) -> Value:
        if depth > _MAX_DEPTH:
            self.fail(f"at most {_MAX_DEPTH} nested values")
        if self.skip("<tmpl>"):
            parts: list[str | Ref] = []
            while not self.skip("</tmpl>"):
                parts.append(self._json_text() if self.peek().startswith('"') else self._ref())
            return Template(tuple(parts))
        if self.skip("<list>"):
            items: list[Value] = []
            while not self.skip("</list>"):
                items.append(self._value(depth + 1))
            return ListValue(tuple(items))
        if self.skip("<obj>"):
            pairs: dict[str, Value] = {}
            while not self.skip("</obj>"):
                key = self._json_text()
                if key in pairs:
                    self.fail("a new key", back=1)
                pairs[key] = self._value(depth + 1)
            return ObjectValue(tuple(pairs.items()))
        return self._literal() if self.peek().startswith("<lit:") else self._ref()

    def _ref(self) -> Ref:
        match = _ROOT.fullmatch(self.peek())
        names: Sequence[str] = [i.name for i in self.inputs] if match and match[1] == "i" else self.steps
        if match is None or int(match[2]) >= len(names):
            self.fail("a reference to an input or step of the plan")
        self.at += 1
        path: list[str | int] = []
        while True:
            index = _INDEX.fullmatch(self.peek())
            if index is not None:
                path.append(int(index[1]))
                self.at += 1
            elif self.peek().startswith("<."):
                path.append(self._inside("<.", ">", "a field", _NAME))
            else:
                return Ref(names[int(match[2])], tuple(path), self.skip("<?>"))

    def _literal(self) -> Literal:
        kind = self._take("a literal")
        literal = self._payload(kind)
        self.expect("</lit>")
        return literal

    def _payload(self, kind: str) -> Literal:
        if kind == "<lit:money>":
            return Literal(Usd(Money(self._integer())))
        if kind == "<lit:duration>":
            return Literal(Duration(self._integer()))
        if kind != "<lit:json>":
            self.fail("a literal", back=1)
        value = self._json("a JSON scalar")
        if isinstance(value, (list, dict)) or (isinstance(value, float) and not math.isfinite(value)):
            self.fail("a JSON scalar", back=1)
        assert value is None or isinstance(value, (str, int, float, bool))
        return Literal(value)

    def _json(self, what: str) -> object:
        spelled = self._take(what)
        try:
            value: object = json.loads(spelled)
        except (ValueError, RecursionError):
            self.fail(what, back=1)
        return value

    def _json_text(self) -> str:
        value = self._json("a JSON string")
        if not isinstance(value, str):
            self.fail("a JSON string", back=1)
        return value

    def _integer(self) -> int:
        spelled = self._take("a whole number")
        if _INT.fullmatch(spelled) is None:
            self.fail("a whole number", back=1)
        return int(spelled)

    def _name(self) -> str:
        spelled = self._take("a name")
        if _NAME.fullmatch(spelled) is None:
            self.fail("a name", back=1)
        return spelled

    def _inside(self, left: str, right: str, what: str, pattern: re.Pattern[str]) -> str:
        token = self._take(what)
        inner = token[len(left) : -len(right)]
        if not (token.startswith(left) and token.endswith(right) and pattern.fullmatch(inner)):
            self.fail(what, back=1)
        return inner

    def _starts_value(self) -> bool:
        return self.peek().startswith(_VALUE_STARTS) or _ROOT.fullmatch(self.peek()) is not None

    def _take(self, what: str) -> str:
        if self.at >= len(self.spelled):
            self.fail(what)
        self.at += 1
        return self.spelled[self.at - 1]
