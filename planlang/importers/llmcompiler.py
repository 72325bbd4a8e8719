"""LLMCompiler plans: numbered calls in Python spelling that refer to earlier results as `$1` or `${1}`.

    1. search("population of Vienna")
    2. search("population of Graz")
    Thought: I can compare them now.
    3. math("$1 / $2")
    4. join()<END_OF_PLAN>

A text that is nothing but `$1` is the value itself, `$1` inside a text makes it a template, and `$2.50` is money, not
a reference. Results no other call uses become outputs; `join()` itself does nothing and is left out. As in
LLMCompiler, arguments that are not Python values are taken as one text, unless they contain quotes, `=` or square or
curly brackets: then they were meant as values, and what is wrong is reported.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from catp.planlang.errors import Diagnostic, Span
from catp.planlang.importers.building import Builder, python_expression, read_text, with_references
from catp.planlang.nodes import Arg, Attempt, ListValue, Literal, ObjectValue, Plan, Ref, StepName, Value
from catp.planlang.registry_view import RegistryView

__all__ = ["from_llmcompiler", "looks_like_llmcompiler"]

_CALL = re.compile(r"[ \t]*(\d{1,6})\.[ \t]*([A-Za-z_][\w.-]*)[ \t]*(\()?")
_END = re.compile(r"\s*+(?:<END_OF_PLAN>\s*+)?(?:#.*)?$")
_IN_TEXT = re.compile(r"\$(?:\{(\d{1,6})\}|(\d{1,6})(?!\d|[.,]\d))")
_BARE = re.compile(r"""("(?:[^"\\]|\\.)*+"?|'(?:[^'\\]|\\.)*+'?)|\$(?:\{(\d{1,6})\}|(\d{1,6}))""", re.DOTALL)
_PREFIX = "_result_"


@dataclass(frozen=True, slots=True)
class _Line:
    """One numbered call: its number, tool, argument text and place."""

    number: int
    tool: str
    args: str
    span: Span


def looks_like_llmcompiler(text: str) -> bool:
    """True if some line is a numbered call."""
    return any((match := _CALL.match(line)) and (match[3] or match[2] == "join") for line in text.splitlines())


def from_llmcompiler(data: str | bytes, *, registry: RegistryView | None = None) -> Plan:
    """Return the plan for LLMCompiler's text. Raises `PlanError` pointing at the lines at fault."""
    return _Reader(read_text(data), registry).read()


class _Reader:
    """Reads one text, line by line; problems point at the line they are in."""

    def __init__(self, source: str, registry: RegistryView | None) -> None:
        self.source = source
        self.builder = Builder(registry)
        self.names: dict[int, StepName] = {}
        self.numbers: set[int] = set()

    def read(self) -> Plan:
        lines = [line for line in self._lines() if line.tool != "join"]
        self.numbers = {line.number for line in lines}
        for line in lines:
            if line.number in self.names:
                self._problem("E103", f"two calls have number {line.number}", line.span)
            tool = self.builder.tool(line.tool, f"call {line.number}")
            attempt = Attempt(tool, self._args(line), (), line.span)
            self.names[line.number] = self.builder.name(f"s{line.number}")
            self.builder.add(self.names[line.number], attempt)
        self.builder.problems.sort(key=lambda problem: problem.span.line if problem.span else 0)
        return self.builder.finish(source=self.source)

    def _lines(self) -> Iterator[_Line]:
        for row, text in enumerate(self.source.split("\n"), 1):
            match = _CALL.match(text)
            if match is None:
                continue
            start, end = match.start(2) + 1, len(text.rstrip()) + 1
            span = Span(row, start, row, max(end, start + 1))
            close = text.rfind(")")
            if match[3] and close >= match.end() and _END.match(text, close + 1):
                yield _Line(int(match[1]), match[2], text[match.end() : close].strip(), span)
            elif match[3]:
                self._problem("E005", f"the call of `{match[2]}` is never closed", span, "end the line with `)`")
            elif match[2] != "join":
                self._problem("E004", f"`{match[2]}` is not followed by arguments", span, f"write {match[2]}(...)")

    def _args(self, line: _Line) -> tuple[Arg, ...]:
        if not line.args:
            return ()
        bare = _BARE.sub(lambda m: m[1] or f"{_PREFIX}{m[2] or m[3]}", line.args)
        tree = python_expression(f"f({bare})")
        call = tree.body if tree is not None else None
        try:
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
                raise _NotPython
            named = [(keyword.arg, keyword.value) for keyword in call.keywords]
            args = [Arg(self._value(node, line)) for node in call.args]
            return (*args, *(Arg(self._value(node, line), name) for name, node in named))
        except _NotPython:
            if any(sign in line.args for sign in "\"'=[]{}"):
                hint = "quote texts; write earlier results as $1"
                self._problem("E004", f"the arguments of `{line.tool}` are not values", line.span, hint)
                return ()
            return (Arg(self._text(line.args, line)),)

    def _value(self, node: ast.expr, line: _Line, depth: int = 0) -> Value:
        if depth > 50:
            self._problem("E006", "values nested too deep", line.span)
            return Literal(None)
        match node:
            case ast.Constant(value=str(text)):
                return self._text(text, line)
            case ast.Constant(value=value):
                return self.builder.value(value, f"call {line.number}", self.builder.literal)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return Literal(-number)
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return ListValue(tuple(self._value(item, line, depth + 1) for item in items))
            case ast.Dict(keys=keys, values=values):
                return ObjectValue(
                    tuple(
                        (_key(key), self._value(item, line, depth + 1)) for key, item in zip(keys, values, strict=True)
                    )
                )
            case ast.Name(id="true" | "false" | "null" as word):
                return Literal({"true": True, "false": False, "null": None}[word])
        return self._path(node, line)

    def _path(self, node: ast.expr, line: _Line) -> Value:
        """Read `$1`, `$1.text` or `$1[0]`."""
        path: list[str | int] = []
        while isinstance(node, (ast.Attribute, ast.Subscript)):
            if isinstance(node, ast.Attribute):
                path.append(node.attr)
            elif isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, (int, str)):
                path.append(node.slice.value)
            else:
                raise _NotPython
            node = node.value
        if not (isinstance(node, ast.Name) and node.id.startswith(_PREFIX)):
            raise _NotPython
        number = int(node.id.removeprefix(_PREFIX))
        ref = self._refer(number, line)
        if number not in self.numbers:
            self._problem("E102", f"there is no call {number}", line.span, "$N is the result of the call numbered N")
        return Ref(ref.root, tuple(reversed(path))) if ref is not None else Literal(None)

    def _text(self, text: str, line: _Line) -> Value:
        value = with_references(text, _IN_TEXT, lambda match: self._refer(int(match[1] or match[2]), line))
        return self.builder.literal(value, f"call {line.number}") if isinstance(value, str) else value

    def _refer(self, number: int, line: _Line) -> Ref | None:
        """Return a reference to an earlier call; `$500` where there is no call 500 is just a text."""
        if number in self.names:
            return Ref(self.names[number])
        if number in self.numbers:
            self._problem(
                "E101",
                f"call {line.number} uses ${number}, which comes later",
                line.span,
                "use only earlier results; an amount is written 5 USD",
            )
        return None

    def _problem(self, code: str, message: str, span: Span, help: str | None = None) -> None:
        self.builder.note(Diagnostic(code, message, span, help))


class _NotPython(Exception):
    """The arguments are no list of Python constants and references."""


def _key(node: ast.expr | None) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise _NotPython
