"""Statements to a `Plan`: recursive descent, one method per rule of the grammar, reporting every bad line.

    text -> lexer (tokens) -> layout (statements with balanced brackets) -> parser (tree)

After a fault the parser goes on at the next thing that can stand alone: the next element of a list, the next
alternative or annotation, the next statement. Because brackets are balanced before, these places are certain and one
fault is reported once. `grammar.lark` is the same language as an executable specification.
"""

from collections.abc import Callable
from typing import Final, TypeVar

from catp.planlang.errors import Diagnostic, PlanError, Span, nearest
from catp.planlang.layout import split_statements
from catp.planlang.lexer import KEYWORDS, Token, decode_source, tokenize
from catp.planlang.nodes import (
    OPERATORS,
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
    Operator,
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
from catp.planlang.types import Type

__all__ = ["MAX_PROBLEMS", "parse"]

MAX_PROBLEMS: Final = 50
"""How many problems one `PlanError` lists; the rest is only mentioned."""

T = TypeVar("T")

_WORDS: Final = frozenset(("name", "type", *KEYWORDS))
_CONSTANTS: Final = {"true": True, "false": False, "null": None}
_SCALARS: Final = frozenset(("string", "int", "float", "money", "duration", *_CONSTANTS))
_OPERATORS: Final[dict[str, Operator]] = {op: op for op in OPERATORS}
_STATEMENTS: Final = ("plan", "in", "limit", "out")
_MISSPELLED: Final = {
    "input": "in",
    "inputs": "in",
    "output": "out",
    "outputs": "out",
    "return": "out",
    "limits": "limit",
}
_BOUNDS: Final = {"cost": ("money", "$0.20"), "latency": ("duration", "3s"), "calls": ("int", "200")}
_KINDS: Final = {
    "name": "a name", "type": "a name", "int": "number", "float": "number", "money": "amount", "duration": "duration",
    "string": "text", "template": "template",
}  # fmt: skip


def parse(source: str | bytes) -> Plan:
    """Read a plan in text form.

    Only the form is judged: whether tools, types, fields and names exist is `catp.planlang.check`'s question.

    Args:
        source: the plan; bytes must be UTF-8. A byte order mark and CRLF line ends are accepted.

    Raises:
        PlanError: listing every bad line (up to `MAX_PROBLEMS`), whatever `source` is.
    """
    text, unreadable = decode_source(source)
    if unreadable:
        raise PlanError([unreadable], text)
    tokens, problems = tokenize(text, MAX_PROBLEMS)
    statements, unbalanced = split_statements(tokens, MAX_PROBLEMS)
    problems += unbalanced
    parser = _Parser(problems)
    for statement in statements:
        parser.statement(statement)
        if len(problems) >= MAX_PROBLEMS:
            break
    if problems:
        raise PlanError(_ordered(problems), text)
    return parser.plan()


def _ordered(problems: list[Diagnostic]) -> list[Diagnostic]:
    """Sort by place; leave out what only follows from a bad character or open quote before it; cut what is too much."""
    ordered: list[Diagnostic] = []
    spoilt: dict[int, int] = {}
    for problem in sorted(problems, key=lambda d: (d.span.line, d.span.column) if d.span else (0, 0)):
        line, column = (problem.span.line, problem.span.column) if problem.span else (0, 0)
        if problem.code == "E004" and column > spoilt.get(line, column):
            continue
        if problem.code == "E002" and ordered and ordered[-1].code == "E005" and _line(ordered[-1]) == line:
            ordered.pop()  # the closing bracket is inside the open text
        if problem.code in ("E001", "E002"):
            spoilt.setdefault(line, column)
        ordered.append(problem)
    if len(problems) < MAX_PROBLEMS:
        return ordered
    del ordered[MAX_PROBLEMS - 1 :]
    last = ordered[-1]
    note = Diagnostic(
        last.code, "too many problems; those after this place are not shown", last.span, "fix these first"
    )
    return [*ordered, note]


def _line(problem: Diagnostic) -> int:
    return problem.span.line if problem.span else 0


class _Fault(Exception):
    """Raised after a problem was recorded, to get to the place where parsing can go on."""


class _Parser:
    def __init__(self, problems: list[Diagnostic]) -> None:
        self.problems = problems
        self.tokens: list[Token] = []
        self.at = 0
        self.tok = Token("end", "", 1, 1)
        self.count = 0
        self.header: tuple[str, str | None] | None = None
        self.inputs: list[Input] = []
        self.bounds: dict[str, Usd | Duration | int] = {}
        self.limit_span: Span | None = None
        self.steps: list[Step] = []
        self.outputs: list[Output] = []

    def plan(self) -> Plan:
        name, doc = self.header or (None, None)
        cost, latency, calls = (self.bounds.get(kind) for kind in _BOUNDS)
        limits = Limits(
            cost if isinstance(cost, Usd) else None,
            latency if isinstance(latency, Duration) else None,
            calls if isinstance(calls, int) else None,
            self.limit_span,
        )
        return Plan(tuple(self.steps), tuple(self.outputs), tuple(self.inputs), limits, name, doc)

    # tokens

    def advance(self) -> Token:
        token = self.tok
        self.at += 1
        self.tok = self.tokens[self.at]
        return token

    def span(self, first: Token) -> Span:
        last = self.tokens[self.at - 1]
        return Span(first.line, first.column, last.line, last.column + len(last.text))

    def fail(self, message: str, help_: str | None = None, token: Token | None = None, code: str = "E004") -> _Fault:
        token = token or self.tok
        if token.text or token.kind == "end":  # a bracket that the layout supplied: already reported
            self.problems.append(Diagnostic(code, message, token.span, help_))
        return _Fault()

    def expected(self, what: str, help_: str | None = None) -> _Fault:
        return self.fail(f"expected {what}, found {_describe(self.tok)}", help_)

    def expect(self, kind: str, help_: str | None = None) -> Token:
        if self.tok.kind != kind:
            raise self.expected(f"`{kind}`", help_)
        return self.advance()

    def skip_to(self, *kinds: str) -> None:
        """Go to the next token of one of `kinds` outside further brackets, or to the end of the statement."""
        depth = 0
        while self.tok.kind != "end" and (depth or self.tok.kind not in kinds):
            kind = self.advance().kind
            if kind in ("(", "[", "{"):
                depth += 1
            elif kind in (")", "]", "}"):
                depth -= 1

    def elements(self, close: str, read: Callable[[], T]) -> tuple[T, ...]:
        """Read `read {"," read}` up to `close`; a faulty element is skipped. Brackets allow a trailing comma."""
        found: list[T] = []
        while self.tok.kind not in (close, "end"):
            try:
                found.append(read())
                if self.tok.kind not in (",", close):
                    raise self.separator(close)
            except _Fault:
                self.skip_to(",", close)
            if self.tok.kind == ",":
                comma = self.advance()
                if close == "end" and self.tok.kind == "end":
                    self.fail("nothing follows this comma", "remove it", comma)
        if close != "end":
            self.expect(close)
        return tuple(found)

    def inside(self, read: Callable[[], T]) -> T:
        """Read one thing in square brackets; on a fault leave the brackets first."""
        self.advance()
        try:
            found = read()
            if self.tok.kind != "]":
                raise self.expected("`]`")
        except _Fault:
            self.skip_to("]")
            self.expect("]")
            raise
        self.advance()
        return found

    def separator(self, close: str) -> _Fault:
        if self.tok.kind == "(":
            return self.fail("a call cannot be an argument", "give it its own step and pass the step's name")
        if self.tok.kind == "=" and close != "end":
            return self.fail("`=` after something that is no parameter name", "write `name=value`")
        wanted = "`,` or the end of the line" if close == "end" else f"`,` or `{close}`"
        return self.expected(wanted)

    # names

    def word(self, what: str) -> str:
        if self.tok.kind not in _WORDS:
            raise self.expected(what)
        return self.advance().text

    def name(self, what: str) -> str:
        kind = self.tok.kind
        if kind == "name":
            return self.advance().text
        if kind in KEYWORDS:
            raise self.fail(f"`{kind}` is a keyword and cannot be {what}", f"choose another name, such as `{kind}_`")
        if kind == "type":
            text = self.tok.text
            raise self.fail(
                f"`{text}` cannot be {what}", f"names start with a lower-case letter: `{text[0].lower()}{text[1:]}`"
            )
        raise self.expected(what)

    def dotted(self) -> tuple[str, ...]:
        """Read `{"." name}` and return the names."""
        names = []
        while self.tok.kind == ".":
            self.advance()
            names.append(self.field())
        return tuple(names)

    def field(self) -> str:
        if self.tok.kind == "int":
            raise self.fail("a field name cannot start with a digit", f"write `[{self.tok.text}]` for an element")
        return self.word("a field name after `.`")

    # statements

    def statement(self, tokens: list[Token]) -> None:
        self.tokens, self.at, self.tok = tokens, 0, tokens[0]
        self.count += 1
        try:
            kind = self.tok.kind
            match kind:
                case "name" if tokens[1].kind == "=":
                    self.steps.append(self.step())
                case _ if tokens[1].kind == "=":
                    raise self.no_statement()
                case "in":
                    self.inputs.append(self.input())
                case "out":
                    self.outputs += self.output()
                case "limit":
                    self.limit()
                case "plan":
                    self.plan_header()
                case _:
                    raise self.no_statement()
            if self.tok.kind != "end":
                raise self.expected("the end of the line")
        except _Fault:
            return

    def no_statement(self) -> _Fault:
        text, following = self.tok.text, self.tokens[1].kind
        if self.tok.kind in ("|", "@"):
            return self.fail(f"`{text}` continues a step, but there is none before it")
        if self.tok.kind in _WORDS and following == "=":
            self.name("the name of a step")
        if self.tok.kind == "name" and following in ("name", "string", "type"):
            meant = _MISSPELLED.get(text)
            hint = f"did you mean `{meant}`?" if meant else nearest(text, _STATEMENTS)
            return self.fail(
                f"`{text}` starts no statement", hint or "lines start with plan, in, limit, out or `name =`"
            )
        if self.tok.kind == "name" and following == "==":
            return self.fail("`==` compares; a step is named with `=`", f"write `{text} = ...`", self.tokens[1])
        if self.tok.kind in ("name", "type") and following in ("(", "."):
            return self.fail("the result of this call has no name", f"write `name = {text}...`")
        return self.fail(
            f"a line cannot start with {_describe(self.tok)}", "lines start with plan, in, limit, out or `name =`"
        )

    def plan_header(self) -> None:
        first = self.advance()
        if self.header:
            raise self.fail("a second `plan` line", "keep one", first, "E007")
        if self.count > 1:
            raise self.fail("`plan` must be the first line", "move it to the top", first, "E007")
        name = self.name("the name of a plan")
        doc = self.advance().value if self.tok.kind == "string" else None
        self.header = name, doc if isinstance(doc, str) else None

    def input(self) -> Input:
        first = self.advance()
        name = self.name("the name of an input")
        self.expect(":", f"write the type: `in {name}: text`")
        type_ = self.type_()
        default = None
        if self.tok.kind == "=":
            self.advance()
            default = self.constant()
        return Input(name, type_, default, self.span(first))

    def type_(self) -> Type:
        if self.tok.kind not in ("name", "type", "null"):
            raise self.expected("a type", "such as text, image, number or list[text]")
        name = self.advance().text
        item = None
        if self.tok.kind == "[":
            item = self.inside(self.type_)
        optional = self.tok.kind == "?"
        if optional:
            self.advance()
        return Type(name, item, optional)

    def limit(self) -> None:
        first = self.advance()
        if self.tok.kind == "end":
            raise self.expected("a bound", "write `limit cost $0.20, latency 3s, calls 200`")
        self.elements("end", self.bound)
        self.limit_span = self.limit_span or self.span(first)

    def bound(self) -> None:
        bound = self.tok
        if bound.text not in _BOUNDS:
            hint = nearest(bound.text, _BOUNDS) or "a plan may limit cost, latency and calls"
            raise self.expected("cost, latency or calls", hint)
        self.advance()
        kind, example = _BOUNDS[bound.text]
        value = self.tok.value
        if self.tok.kind != kind or not isinstance(value, Usd | Duration | int):
            raise self.expected(f"a limit for {bound.text}", f"write `{bound.text} {example}`")
        self.advance()
        if bound.text in self.bounds:
            raise self.fail(f"a second limit for {bound.text}", "keep the lower one", bound, "E007")
        self.bounds[bound.text] = value

    def output(self) -> tuple[Output, ...]:
        self.advance()
        if self.tok.kind == "end":
            raise self.expected("what the plan returns", "write `out name` or `out name = value`")
        return self.elements("end", self.output_item)

    def output_item(self) -> Output:
        first = self.tok
        name = None
        if first.kind in _WORDS and self.tokens[self.at + 1].kind == "=":
            name = self.advance().text
            self.advance()
        ref = self.ref()
        optional = self.tok.kind == "?"
        if optional:
            self.advance()
        return Output(name if name is not None else Output.default_name(ref), ref, optional, self.span(first))

    # steps

    def step(self) -> Step:
        first = self.advance()
        self.advance()
        attempts = [self.guarded(self.attempt, "|", "when", "@")]
        while self.tok.kind == "|":
            self.advance()
            attempts.append(self.guarded(self.attempt, "|", "when", "@"))
        when: tuple[Test, ...] | None = ()
        otherwise = None
        if self.tok.kind == "when":
            self.advance()
            when = self.guarded(self.tests, "else", "@")
            if self.tok.kind == "else":
                self.advance()
                otherwise = self.guarded(self.ref, "@")
        notes = []
        while self.tok.kind == "@":
            notes.append(self.guarded(self.note, "@"))
        if self.tok.kind != "end":
            raise self.after_step()
        complete = [a for a in attempts if a is not None], [n for n in notes if n is not None]
        return Step(
            StepName(first.text), tuple(complete[0]), when or (), otherwise, tuple(complete[1]), self.span(first)
        )

    def guarded(self, read: Callable[[], T], *stops: str) -> T | None:
        """Read one part of a step; on a fault go to the next part, so that its faults are reported too."""
        try:
            part = read()
            if self.tok.kind not in ("end", "|", "when", "else", "@", *stops):
                raise self.after_step()
            return part
        except _Fault:
            self.skip_to(*stops)
            return None

    def after_step(self) -> _Fault:
        kind = self.tok.kind
        if kind == "if":
            return self.fail("`if` must follow a call directly", "write `tool(...) if .field >= value`")
        if kind == "when":
            return self.fail("`when` must come before annotations", "move it in front of the `@`")
        if kind == "else":
            return self.fail("`else` without `when`", "write `when test else value`, or `| tool(...)` for a fallback")
        if kind == "|":
            return self.fail("an alternative after `when` or `@`", "alternatives come first")
        if kind == "name" and self.tok.text == "or":
            return self.fail("guards have no `or`", "write two alternatives, or two steps")
        return self.expected(
            "the end of the step", "a step is `name = tool(...)` with `if`, `|`, `when` or `@` after it"
        )

    def attempt(self) -> Attempt:
        first = self.tok
        if first.kind == "|":
            raise self.fail("an alternative is missing between two `|`", "write one `|` between two calls")
        if first.kind not in ("name", "type"):
            raise self.no_call()
        tool = self.advance().text
        if self.tok.kind == ".":
            tool = ".".join((tool, *self.dotted()))
        if self.tok.kind != "(":
            raise self.expected(f"`(` after the tool `{tool}`", f"a step calls a tool: `{tool}(...)`")
        self.advance()
        args = self.elements(")", self.arg)
        accept: tuple[OwnTest, ...] = ()
        if self.tok.kind == "if":
            self.advance()
            accept = self.joined(self.own_test)
        return Attempt(ToolName(tool), args, accept, self.span(first))

    def no_call(self) -> _Fault:
        if self.tok.kind in KEYWORDS:
            return self.fail(f"`{self.tok.text}` is a keyword, not a tool", "a step calls a tool: `name = tool(...)`")
        if self.tok.kind == "end":
            return self.expected(
                "a call", "write `name = tool(...)`; go on in the next line only inside brackets or with `|`"
            )
        return self.expected("a call", "a step calls a tool: `name = tool(...)`; constants belong in arguments")

    def arg(self) -> Arg:
        first = self.tok
        name = None
        if first.kind in _WORDS and self.tokens[self.at + 1].kind == "=":
            name = self.advance().text
            self.advance()
        each = self.tok.kind == "each"
        if each:
            self.advance()
        return Arg(self.value(), name, each, self.span(first))

    def joined(self, read: Callable[[], T]) -> tuple[T, ...]:
        """Read `read {"and" read}`."""
        found = [read()]
        while self.tok.kind == "and":
            self.advance()
            found.append(read())
        if self.tok.kind == ",":
            raise self.fail("conditions are joined with `and`, not `,`", "write `and`")
        return tuple(found)

    def own_test(self) -> OwnTest:
        first = self.tok
        if first.kind != ".":
            hint = f"write `.{first.text}`" if first.kind == "name" else "write it like `.confidence >= 0.8`"
            raise self.fail("`if` looks at the call's own result, so its test starts with `.`", hint)
        if self.tokens[self.at + 1].kind in _OPERATORS:
            self.advance()
            path: tuple[str, ...] = ()
        else:
            path = self.dotted()
        op = self.operator()
        return OwnTest(path, op, self.scalar(), self.span(first))

    def tests(self) -> tuple[Test, ...]:
        return self.joined(self.test)

    def test(self) -> Test:
        first = self.tok
        if first.kind == ".":
            raise self.fail(
                "`when` looks at earlier values", "start with a name, or use `if .field` for the own result"
            )
        ref = self.ref()
        op = self.operator()
        return Test(ref, op, self.scalar(), self.span(first))

    def operator(self) -> Operator:
        op = _OPERATORS.get(self.tok.kind)
        if op is None:
            hint = "write `==`" if self.tok.kind == "=" else f"one of {' '.join(OPERATORS)}"
            raise self.expected("a comparison", hint)
        self.advance()
        return op

    def note(self) -> Note:
        first = self.advance()
        if self.tok.kind not in ("name", "type"):
            raise self.expected("the name of an annotation after `@`", "such as `@retry(2)`")
        name = self.advance().text
        args: tuple[NoteArg, ...] = ()
        if self.tok.kind == "(":
            self.advance()
            args = self.elements(")", self.note_arg)
        return Note(name, args, self.span(first))

    def note_arg(self) -> NoteArg:
        first = self.tok
        key = None
        if first.kind in _WORDS and self.tokens[self.at + 1].kind == "=":
            key = self.advance().text
            self.advance()
        return NoteArg(self.value(), key, self.span(first))

    # values

    def value(self) -> Value:
        token = self.tok
        kind = token.kind
        if kind == "name":
            ref = self.ref()
            if self.tok.kind == "?":
                self.advance()
                return Ref(ref.root, ref.path, True, self.span(token))
            return ref
        if kind in _SCALARS:
            return self.scalar()
        if kind == "template" and isinstance(token.value, Template):
            self.advance()
            return Template(token.value.parts, token.span)
        return self.collection(self.value)

    def constant(self) -> Value:
        if self.tok.kind in _SCALARS:
            return self.scalar()
        if self.tok.kind in ("name", "template"):
            raise self.fail("a default must be a constant", "references and templates belong in steps")
        return self.collection(self.constant)

    def collection(self, read: Callable[[], Value]) -> Value:
        first = self.tok
        if first.kind == "[":
            self.advance()
            return ListValue(self.elements("]", read), self.span(first))
        if first.kind == "{":
            self.advance()
            pairs = self.elements("}", lambda: self.pair(read))
            return ObjectValue(self.unique(pairs), self.span(first))
        if first.kind == "each":
            raise self.fail("`each` belongs in front of an argument of a call", "write `tool(each values)`")
        if first.kind == ".":
            raise self.fail("a value cannot start with `.`", "numbers start with a digit: `0.5`")
        if first.kind == "type" or first.kind in KEYWORDS:
            self.name("a value")
        raise self.expected("a value")

    def pair(self, read: Callable[[], Value]) -> tuple[Token, Value]:
        key = self.tok
        if key.kind not in _WORDS and key.kind != "string":
            raise self.expected("a key", 'a key is a name or text: `{lang: "de"}`')
        self.advance()
        self.expect(":")
        return key, read()

    def unique(self, pairs: tuple[tuple[Token, Value], ...]) -> tuple[tuple[str, Value], ...]:
        found: dict[str, Value] = {}
        for token, value in pairs:
            key = token.value if isinstance(token.value, str) else token.text
            if key in found:
                self.fail(f"key `{key}` stands twice in one object", "keep one of them", token, "E103")
            found[key] = value
        return tuple(found.items())

    def scalar(self) -> Literal:
        token = self.tok
        if token.kind in _CONSTANTS:
            self.advance()
            return Literal(_CONSTANTS[token.kind], token.span)
        if token.kind not in _SCALARS or isinstance(token.value, Template):
            raise self.expected("a constant", 'such as 0.8, true or "en"')
        self.advance()
        return Literal(token.value, token.span)

    def ref(self) -> Ref:
        first = self.tok
        root = self.name("a value")
        path: list[str | int] = []
        while True:
            if self.tok.kind == ".":
                self.advance()
                path.append(self.field())
            elif self.tok.kind == "[":
                path.append(self.inside(self.index))
            else:
                return Ref(root, tuple(path), False, self.span(first))

    def index(self) -> int:
        value = self.tok.value
        if self.tok.kind != "int" or not isinstance(value, int):
            raise self.expected("the position of an element", "a whole number from 0; for a field write `.field`")
        if self.tok.text.startswith("-") or len(self.tok.text) > 9:
            raise self.fail(f"`{self.tok.text}` is no position in a list", "positions count from 0")
        self.advance()
        return value


def _describe(token: Token) -> str:
    if token.kind == "end":
        return "the end of the line"
    if token.kind in KEYWORDS:
        return f"the keyword `{token.kind}`"
    text = token.text if len(token.text) <= 24 else token.text[:21] + "..."
    kind = _KINDS.get(token.kind)
    return f"{kind} `{text}`" if kind and token.kind not in ("name", "type") else f"`{text}`"
