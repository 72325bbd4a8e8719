"""The token form in readable spelling: one string per token, lossless up to the names of steps.

    <plan> [ <head> ... </head> ] { step } { out } </plan>

    head    = [ <name> NAME ] [ <doc> JSON ] [ <@approve> ] { <in> NAME TYPE [ value ] } { bound }
    bound   = ( <cost> | <latency> | <calls> ) INT
    step    = attempt { <alt> attempt } { <when> ref OP lit } [ <else> ref ] { note } <end>
    attempt = <t:TOOL> { arg } { <if> { <.FIELD> } OP lit }         arg  = [ <a:PARAM> ] [ <each> ] value
    note    = <@NAME> { [ <a:KEY> ] value }                         out  = ( <out> | <out?> ) ref <as> NAME
    value   = ref | lit | <tmpl> { JSON | ref } </tmpl> | <list> { value } </list> | <obj> { JSON value } </obj>
    ref     = ( <iK> | <nK> ) { <.FIELD> | <[I]> } [ <?> ]          lit  = <lit:KIND> PAYLOAD </lit>

The head carries what belongs to the request when a policy writes the plan (name, approval, inputs, limits), so it may
be left out and supplied again on decoding. Input and output names are kept; steps come back as `n0`, `n1`, ... Names,
JSON and payloads stand at fixed places, so no text, however hostile, can be mistaken for a structure token.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

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
from catp.planlang.token_reader import TokenReader, refuse
from catp.planlang.types import parse_type

__all__ = ["Header", "decode", "encode", "step_names"]

_MAX_DEPTH = 200
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TOOL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_ROOT = re.compile(r"<([in])(0|[1-9][0-9]{0,6})>")
_INDEX = re.compile(r"<\[(-?[0-9]{1,9})\]>")
_INT = re.compile(r"-?[0-9]{1,30}")
_VALUE_STARTS = ("<lit:", "<tmpl>", "<list>", "<obj>")


@dataclass(frozen=True, slots=True)
class Header:
    """The part of a plan that belongs to the request: name, approval, inputs and limits."""

    inputs: tuple[Input, ...] = ()
    limits: Limits = field(default_factory=Limits)
    name: str | None = None
    doc: str | None = None
    approve: bool = False

    @classmethod
    def of(cls, plan: Plan) -> "Header":
        """The header of `plan`."""
        return cls(plan.inputs, plan.limits, plan.name, plan.doc, plan.approve)

    def plan(self, steps: Iterable[Step] = (), outputs: Iterable[Output] = ()) -> Plan:
        """The plan with this header."""
        return Plan(tuple(steps), tuple(outputs), self.inputs, self.limits, self.name, self.doc, self.approve)


def encode(plan: Plan, registry: RegistryView | None = None, *, header: bool = True) -> tuple[str, ...]:
    """Spell `plan` as tokens; without `header` what belongs to the request is left out.

    Raises:
        PlanError: E010 if a reference names nothing, a name is bound twice, or `registry` lacks a tool.
    """
    encoder = _Encoder(plan, registry)
    head = encoder.head() if header and Header.of(plan) != Header() else ()
    steps = (token for step in plan.steps for token in encoder.step(step))
    outputs = (token for output in plan.outputs for token in encoder.output(output))
    return ("<plan>", *head, *steps, *outputs, "</plan>")


def decode(tokens: Sequence[str], registry: RegistryView | None = None, *, header: Header | None = None) -> Plan:
    """Read a plan from its tokens, with `header` if the tokens have none.

    Raises:
        PlanError: E010 at the first token that does not fit, or at a tool that `registry` lacks.
    """
    return _Decoder(tokens, registry).plan(header)


def step_names(inputs: Sequence[Input], count: int) -> tuple[StepName, ...]:
    """The names given to `count` steps: `n0`, `n1`, ..., or `n_0`, ... where an input already has such a name."""
    taken = {declared.name for declared in inputs}
    prefix = "n"
    while any(f"{prefix}{k}" in taken for k in range(count)):
        prefix += "_"
    return tuple(StepName(f"{prefix}{k}") for k in range(count))


class _Encoder:
    """Spells one plan; holds where each name points."""

    def __init__(self, plan: Plan, registry: RegistryView | None) -> None:
        self.plan = plan
        self.registry = registry
        self.roots: dict[str, str] = {}
        named = [(i.name, f"<i{k}>") for k, i in enumerate(plan.inputs)]
        named += [(s.name, f"<n{k}>") for k, s in enumerate(plan.steps)]
        for name, token in named:
            if self.roots.setdefault(name, token) != token:
                refuse(name, f"`{name}` is defined twice, so tokens cannot refer to it", "rename one of the two")

    def head(self) -> Iterator[str]:
        yield "<head>"
        if self.plan.name is not None:
            yield from ("<name>", self.plan.name)
        if self.plan.doc is not None:
            yield from ("<doc>", json.dumps(self.plan.doc))
        if self.plan.approve:
            yield "<@approve>"
        for declared in self.plan.inputs:
            yield from ("<in>", declared.name, str(declared.type))
            if declared.default is not None:
                yield from self.value(declared.default)
        limits = self.plan.limits
        if limits.cost is not None:
            yield from ("<cost>", str(limits.cost.nano))
        if limits.latency is not None:
            yield from ("<latency>", str(limits.latency.ns))
        if limits.calls is not None:
            yield from ("<calls>", str(limits.calls))
        yield "</head>"

    def step(self, step: Step) -> Iterator[str]:
        for position, attempt in enumerate(step.attempts):
            if position:
                yield "<alt>"
            yield from self.attempt(step, attempt)
        for test in step.when:
            yield from ("<when>", *self.ref(test.ref), f"<{test.op}>", *_literal(test.value))
        if step.otherwise is not None:
            yield from ("<else>", *self.ref(step.otherwise))
        for note in step.notes:
            yield f"<@{note.name}>"
            for given in note.args:
                yield from (() if given.key is None else (f"<a:{given.key}>",))
                yield from self.value(given.value)
        yield "<end>"

    def attempt(self, step: Step, attempt: Attempt) -> Iterator[str]:
        if self.registry is not None and self.registry.get(attempt.tool) is None:
            refuse(step.name, f"the registry has no tool `{attempt.tool}`, so it has no token", "check the plan first")
        yield f"<t:{attempt.tool}>"
        for arg in attempt.args:
            yield from (() if arg.name is None else (f"<a:{arg.name}>",))
            yield from (("<each>",) if arg.each else ())
            yield from self.value(arg.value)
        for guard in attempt.accept:
            fields = (f"<.{name}>" for name in guard.path)
            yield from ("<if>", *fields, f"<{guard.op}>", *_literal(guard.value))

    def output(self, output: Output) -> Iterator[str]:
        yield from ("<out?>" if output.optional else "<out>", *self.ref(output.ref), "<as>", output.name)

    def value(self, value: Value) -> Iterator[str]:
        if isinstance(value, Literal):
            yield from _literal(value)
        elif isinstance(value, Ref):
            yield from self.ref(value)
        elif isinstance(value, Template):
            yield "<tmpl>"
            for part in value.parts:
                yield from self.ref(part) if isinstance(part, Ref) else (json.dumps(part),)
            yield "</tmpl>"
        elif isinstance(value, ListValue):
            yield "<list>"
            for item in value.items:
                yield from self.value(item)
            yield "</list>"
        else:
            yield "<obj>"
            for key, item in value.pairs:
                yield json.dumps(key)
                yield from self.value(item)
            yield "</obj>"

    def ref(self, ref: Ref) -> Iterator[str]:
        root = self.roots.get(ref.root)
        if root is None:
            refuse(str(ref), f"`{ref.root}` is neither an input nor a step, so it has no token", "check the plan first")
        yield root
        for part in ref.path:
            yield f"<[{part}]>" if isinstance(part, int) else f"<.{part}>"
        if ref.optional:
            yield "<?>"


def _literal(literal: Literal) -> tuple[str, str, str]:
    value = literal.value
    if isinstance(value, Usd):
        return "<lit:money>", str(value.nano), "</lit>"
    if isinstance(value, Duration):
        return "<lit:duration>", str(value.ns), "</lit>"
    return "<lit:json>", json.dumps(value), "</lit>"


class _Decoder(TokenReader):
    def __init__(self, tokens: Sequence[str], registry: RegistryView | None) -> None:
        super().__init__(tokens)
        self.registry = registry
        self.inputs: tuple[Input, ...] = ()
        self.steps: tuple[StepName, ...] = ()

    def plan(self, header: Header | None) -> Plan:
        for token in self.spelled:
            if not isinstance(token, str):
                refuse("tokens", f"tokens are strings, found {type(token).__name__}")
        self.expect("<plan>")
        own = self.head() if self.peek() == "<head>" else None
        if own is not None and header is not None:
            refuse("tokens", "the plan has a head of its own and was given another", "leave one of them out")
        head = own or header or Header()
        self.inputs = head.inputs
        self.steps = step_names(head.inputs, self.spelled.count("<end>"))
        steps: list[Step] = []
        while self.peek().startswith("<t:"):
            steps.append(self.step(len(steps)))
        outputs: list[Output] = []
        while self.peek() in ("<out>", "<out?>"):
            outputs.append(self.output())
        self.end()
        return head.plan(steps, outputs)

    def head(self) -> Header:
        self.expect("<head>")
        name = self.name() if self.skip("<name>") else None
        doc = self.json_text() if self.skip("<doc>") else None
        approve = self.skip("<@approve>")
        inputs: list[Input] = []
        while self.skip("<in>"):
            declared, spelled = self.name(), self.take("a type")
            try:
                type_ = parse_type(spelled)
            except (ValueError, RecursionError):
                self.fail("a type", back=1)
            default = self.value() if self.starts_value() else None
            inputs.append(Input(declared, type_, default))
        cost = Usd(Money(self.integer())) if self.skip("<cost>") else None
        latency = Duration(self.integer()) if self.skip("<latency>") else None
        calls = self.integer() if self.skip("<calls>") else None
        self.expect("</head>")
        return Header(tuple(inputs), Limits(cost, latency, calls), name, doc, approve)

    def step(self, position: int) -> Step:
        if position >= len(self.steps):
            self.fail("as many `<end>` as steps")
        attempts = [self.attempt()]
        while self.skip("<alt>"):
            attempts.append(self.attempt())
        when: list[Test] = []
        while self.skip("<when>"):
            when.append(Test(self.ref(), self.operator(), self.literal()))
        otherwise = self.ref() if self.skip("<else>") else None
        notes: list[Note] = []
        while self.peek().startswith("<@"):
            notes.append(self.note())
        self.expect("<end>")
        return Step(self.steps[position], tuple(attempts), tuple(when), otherwise, tuple(notes))

    def attempt(self) -> Attempt:
        tool = self.inside("<t:", ">", "a tool", _TOOL)
        if self.registry is not None and self.registry.get(tool) is None:
            self.fail("a tool of the registry", back=1)
        args: list[Arg] = []
        while self.peek() == "<each>" or self.peek().startswith("<a:") or self.starts_value():
            name = self.inside("<a:", ">", "a parameter", _NAME) if self.peek().startswith("<a:") else None
            each = self.skip("<each>")
            args.append(Arg(self.value(), name, each))
        accept: list[OwnTest] = []
        while self.skip("<if>"):
            path: list[str] = []
            while self.peek().startswith("<."):
                path.append(self.inside("<.", ">", "a field", _NAME))
            accept.append(OwnTest(tuple(path), self.operator(), self.literal()))
        return Attempt(ToolName(tool), tuple(args), tuple(accept))

    def note(self) -> Note:
        name = self.inside("<@", ">", "an annotation", _NAME)
        if name not in NOTE_NAMES:
            self.fail("a known annotation", back=1)
        args: list[NoteArg] = []
        while self.peek().startswith("<a:") or self.starts_value():
            key = self.inside("<a:", ">", "a key", _NAME) if self.peek().startswith("<a:") else None
            args.append(NoteArg(self.value(), key))
        return Note(name, tuple(args))

    def output(self) -> Output:
        optional = self.take("an output") == "<out?>"
        ref = self.ref()
        self.expect("<as>")
        return Output(self.name(), ref, optional)

    def value(self, depth: int = 0) -> Value:
        if depth > _MAX_DEPTH:
            self.fail(f"at most {_MAX_DEPTH} nested values")
        if self.skip("<tmpl>"):
            parts: list[str | Ref] = []
            while not self.skip("</tmpl>"):
                parts.append(self.json_text() if self.peek().startswith('"') else self.ref())
            return Template(tuple(parts))
        if self.skip("<list>"):
            items: list[Value] = []
            while not self.skip("</list>"):
                items.append(self.value(depth + 1))
            return ListValue(tuple(items))
        if self.skip("<obj>"):
            pairs: dict[str, Value] = {}
            while not self.skip("</obj>"):
                key = self.json_text()
                if key in pairs:
                    self.fail("a new key", back=1)
                pairs[key] = self.value(depth + 1)
            return ObjectValue(tuple(pairs.items()))
        return self.literal() if self.peek().startswith("<lit:") else self.ref()

    def ref(self) -> Ref:
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
                path.append(self.inside("<.", ">", "a field", _NAME))
            else:
                return Ref(names[int(match[2])], tuple(path), self.skip("<?>"))

    def literal(self) -> Literal:
        kind = self.take("a literal")
        literal = self.payload(kind)
        self.expect("</lit>")
        return literal

    def payload(self, kind: str) -> Literal:
        if kind == "<lit:money>":
            return Literal(Usd(Money(self.integer())))
        if kind == "<lit:duration>":
            return Literal(Duration(self.integer()))
        if kind != "<lit:json>":
            self.fail("a literal", back=1)
        value = self.json("a JSON scalar")
        if isinstance(value, (list, dict)) or (isinstance(value, float) and not math.isfinite(value)):
            self.fail("a JSON scalar", back=1)
        assert value is None or isinstance(value, (str, int, float, bool))
        return Literal(value)

    def json(self, what: str) -> object:
        spelled = self.take(what)
        try:
            value: object = json.loads(spelled)
        except (ValueError, RecursionError):
            self.fail(what, back=1)
        return value

    def json_text(self) -> str:
        value = self.json("a JSON string")
        if not isinstance(value, str):
            self.fail("a JSON string", back=1)
        return value

    def integer(self) -> int:
        spelled = self.take("a whole number")
        if _INT.fullmatch(spelled) is None:
            self.fail("a whole number", back=1)
        return int(spelled)

    def name(self) -> str:
        spelled = self.take("a name")
        if _NAME.fullmatch(spelled) is None:
            self.fail("a name", back=1)
        return spelled

    def inside(self, left: str, right: str, what: str, pattern: re.Pattern[str]) -> str:
        token = self.take(what)
        inner = token[len(left) : -len(right)]
        if not (token.startswith(left) and token.endswith(right) and pattern.fullmatch(inner)):
            self.fail(what, back=1)
        return inner

    def starts_value(self) -> bool:
        return self.peek().startswith(_VALUE_STARTS) or _ROOT.fullmatch(self.peek()) is not None

    def take(self, what: str) -> str:
        if self.at >= len(self.spelled):
            self.fail(what)
        self.at += 1
        return self.spelled[self.at - 1]
