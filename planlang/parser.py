"""Statements to a `Plan`: recursive descent, one method per rule of the grammar, reporting every bad line.

    text -> lexer (tokens) -> statements (with balanced brackets) -> parser (tree)

The parser has three layers: `parse_cursor` (place, problems, recovery), `parse_values`, and the statements here.
`grammar.lark` is the same language as an executable specification.
"""

from collections.abc import Callable
from typing import Final, TypeVar

from catp.planlang.errors import Diagnostic, PlanError, Span, nearest
from catp.planlang.lexer import KEYWORDS, Token, decode_source, tokenize
from catp.planlang.nodes import (
    OPERATORS,
    Arg,
    Attempt,
    Duration,
    Input,
    Limits,
    Note,
    NoteArg,
    Output,
    OwnTest,
    Plan,
    Step,
    StepName,
    Test,
    ToolName,
    Usd,
)
from catp.planlang.parse_cursor import WORDS, Fault, describe
from catp.planlang.parse_values import ValueParser
from catp.planlang.statements import split_statements

__all__ = ["MAX_PROBLEMS", "parse"]

MAX_PROBLEMS: Final = 50
"""How many problems one `PlanError` lists; the rest is only mentioned."""

T = TypeVar("T")

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


class _Parser(ValueParser):
    def __init__(self, problems: list[Diagnostic]) -> None:
        super().__init__(problems)
        self.count = 0
        self.header: tuple[str | None, str | None] | None = None
        self.approve = False
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
        return Plan(tuple(self.steps), tuple(self.outputs), tuple(self.inputs), limits, name, doc, self.approve)

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
        except Fault:
            return

    def no_statement(self) -> Fault:
        text, following = self.tok.text, self.tokens[1].kind
        if self.tok.kind in ("|", "@"):
            return self.fail(f"`{text}` continues a step, but there is none before it")
        if self.tok.kind in WORDS and following == "=":
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
            f"a line cannot start with {describe(self.tok)}", "lines start with plan, in, limit, out or `name =`"
        )

    def plan_header(self) -> None:
        first = self.advance()
        if self.header:
            raise self.fail("a second `plan` line", "keep one", first, "E007")
        if self.count > 1:
            raise self.fail("`plan` must be the first line", "move it to the top", first, "E007")
        name = doc = None
        if self.tok.kind != "@":
            name = self.name("the name of a plan")
            doc = self.advance().value if self.tok.kind == "string" else None
        self.header = name, doc if isinstance(doc, str) else None
        while self.tok.kind == "@":
            self.plan_note()

    def plan_note(self) -> None:
        """Read the one annotation that a plan line takes."""
        first = self.advance()
        if self.tok.text != "approve":
            raise self.fail(
                "a plan line takes no annotation but `@approve`", "write it behind the step that it is for", first
            )
        self.advance()
        if self.skip("("):
            self.expect(")", "`@approve` takes no arguments")
        if self.approve:
            raise self.fail("a second `@approve`", "keep one", first, "E007")
        self.approve = True

    def input(self) -> Input:
        first = self.advance()
        name = self.name("the name of an input")
        self.expect(":", f"write the type: `in {name}: text`")
        type_ = self.type_()
        default = self.constant() if self.skip("=") else None
        return Input(name, type_, default, self.span(first))

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
        name = self.key()
        ref = self.ref()
        optional = self.skip("?")
        return Output(name if name is not None else Output.default_name(ref), ref, optional, self.span(first))

    # steps

    def step(self) -> Step:
        first = self.advance()
        self.advance()
        attempts = [self.guarded(self.attempt, "|", "when", "@")]
        while self.skip("|"):
            attempts.append(self.guarded(self.attempt, "|", "when", "@"))
        when: tuple[Test, ...] | None = ()
        otherwise = None
        if self.skip("when"):
            when = self.guarded(self.tests, "else", "@")
            if self.skip("else"):
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
        except Fault:
            self.skip_to(*stops)
            return None

    def after_step(self) -> Fault:
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
        if not self.skip("("):
            raise self.expected(f"`(` after the tool `{tool}`", f"a step calls a tool: `{tool}(...)`")
        args = self.elements(")", self.arg)
        accept = self.joined(self.own_test) if self.skip("if") else ()
        return Attempt(ToolName(tool), args, accept, self.span(first))

    def no_call(self) -> Fault:
        if self.tok.kind in KEYWORDS:
            return self.fail(f"`{self.tok.text}` is a keyword, not a tool", "a step calls a tool: `name = tool(...)`")
        if self.tok.kind == "end":
            return self.expected(
                "a call", "write `name = tool(...)`; go on in the next line only inside brackets or with `|`"
            )
        return self.expected("a call", "a step calls a tool: `name = tool(...)`; constants belong in arguments")

    def arg(self) -> Arg:
        first = self.tok
        name = self.key()
        each = self.skip("each")
        return Arg(self.value(), name, each, self.span(first))

    def joined(self, read: Callable[[], T]) -> tuple[T, ...]:
        """Read `read {"and" read}`."""
        found = [read()]
        while self.skip("and"):
            found.append(read())
        if self.tok.kind == ",":
            raise self.fail("conditions are joined with `and`, not `,`", "write `and`")
        return tuple(found)

    def own_test(self) -> OwnTest:
        first = self.tok
        if first.kind != ".":
            hint = f"write `.{first.text}`" if first.kind == "name" else "write it like `.confidence >= 0.8`"
            raise self.fail("`if` looks at the call's own result, so its test starts with `.`", hint)
        if self.tokens[self.at + 1].kind in OPERATORS:
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

    def note(self) -> Note:
        first = self.advance()
        if self.tok.kind not in ("name", "type"):
            raise self.expected("the name of an annotation after `@`", "such as `@retry(2)`")
        name = self.advance().text
        args = self.elements(")", self.note_arg) if self.skip("(") else ()
        return Note(name, args, self.span(first))

    def note_arg(self) -> NoteArg:
        first = self.tok
        key = self.key()
        return NoteArg(self.value(), key, self.span(first))
