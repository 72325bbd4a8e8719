"""Values, references, types and comparisons: what stands inside the statements of a plan."""

from collections.abc import Callable
from typing import Final

from catp.planlang.lexer import KEYWORDS, Token
from catp.planlang.nodes import OPERATORS, ListValue, Literal, ObjectValue, Operator, Ref, Template, Value
from catp.planlang.parse_cursor import WORDS, Cursor
from catp.planlang.types import Type

__all__ = ["ValueParser"]

_CONSTANTS: Final = {"true": True, "false": False, "null": None}
_SCALARS: Final = frozenset(("string", "int", "float", "money", "duration", *_CONSTANTS))
_OPERATORS: Final[dict[str, Operator]] = {op: op for op in OPERATORS}


class ValueParser(Cursor):
    """Recursive descent, one method per rule of the grammar."""

    def value(self) -> Value:
        """Read any value."""
        token = self.tok
        kind = token.kind
        if kind == "name":
            ref = self.ref()
            if self.skip("?"):
                return Ref(ref.root, ref.path, True, self.span(token))
            return ref
        if kind in _SCALARS:
            return self.scalar()
        if kind == "template" and isinstance(token.value, Template):
            self.advance()
            return Template(token.value.parts, token.span)
        return self.collection(self.value)

    def constant(self) -> Value:
        """Read a value without references."""
        if self.tok.kind in _SCALARS:
            return self.scalar()
        if self.tok.kind in ("name", "template"):
            raise self.fail("a default must be a constant", "references and templates belong in steps")
        return self.collection(self.constant)

    def collection(self, read: Callable[[], Value]) -> Value:
        """Read a list or an object of what `read` reads."""
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
        """Read `key: value`."""
        key = self.tok
        if key.kind not in WORDS and key.kind != "string":
            raise self.expected("a key", 'a key is a name or text: `{lang: "de"}`')
        self.advance()
        self.expect(":")
        return key, read()

    def unique(self, pairs: tuple[tuple[Token, Value], ...]) -> tuple[tuple[str, Value], ...]:
        """Return the pairs under their keys' names, and report a key that stands twice."""
        found: dict[str, Value] = {}
        for token, value in pairs:
            key = token.value if isinstance(token.value, str) else token.text
            if key in found:
                self.fail(f"key `{key}` stands twice in one object", "keep one of them", token, "E103")
            found[key] = value
        return tuple(found.items())

    def scalar(self) -> Literal:
        """Read one constant."""
        token = self.tok
        if token.kind in _CONSTANTS:
            self.advance()
            return Literal(_CONSTANTS[token.kind], token.span)
        if token.kind not in _SCALARS or isinstance(token.value, Template):
            raise self.expected("a constant", 'such as 0.8, true or "en"')
        self.advance()
        return Literal(token.value, token.span)

    def ref(self) -> Ref:
        """Read a reference with its path."""
        first = self.tok
        root = self.name("a value")
        path: list[str | int] = []
        while True:
            if self.skip("."):
                path.append(self.field())
            elif self.tok.kind == "[":
                path.append(self.inside(self.index))
            else:
                return Ref(root, tuple(path), False, self.span(first))

    def index(self) -> int:
        """Read the number between `[` and `]`."""
        value = self.tok.value
        if self.tok.kind != "int" or not isinstance(value, int):
            raise self.expected("the position of an element", "a whole number from 0; for a field write `.field`")
        if self.tok.text.startswith("-") or len(self.tok.text) > 9:
            raise self.fail(f"`{self.tok.text}` is no position in a list", "positions count from 0")
        self.advance()
        return value

    def type_(self) -> Type:
        """Read a type."""
        if self.tok.kind not in ("name", "type", "null"):
            raise self.expected("a type", "such as text, image, number or list[text]")
        name = self.advance().text
        item = self.inside(self.type_) if self.tok.kind == "[" else None
        return Type(name, item, self.skip("?"))

    def operator(self) -> Operator:
        """Read a comparison."""
        op = _OPERATORS.get(self.tok.kind)
        if op is None:
            hint = "write `==`" if self.tok.kind == "=" else f"one of {' '.join(OPERATORS)}"
            raise self.expected("a comparison", hint)
        self.advance()
        return op
