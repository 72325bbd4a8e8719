"""Where the parser stands in a statement, what it says when it cannot go on, and where it goes on then.

After a fault the parser continues at the next thing that can stand alone: the next element of a list, the next part of
a step, the next statement. Because `statements` balanced the brackets before, these places are certain.
"""

from collections.abc import Callable
from typing import Final, TypeVar

from catp.planlang.errors import Diagnostic, Span
from catp.planlang.lexer import KEYWORDS, Token

__all__ = ["WORDS", "Cursor", "Fault", "describe"]

T = TypeVar("T")

WORDS: Final = frozenset(("name", "type", *KEYWORDS))
"""The kinds of token that can stand for a field, a parameter or a key."""

_KINDS: Final = {
    "name": "a name", "type": "a name", "int": "number", "float": "number", "money": "amount", "duration": "duration",
    "string": "text", "template": "template",
}  # fmt: skip


class Fault(Exception):
    """Raised after a problem was recorded, to get to the place where parsing can go on."""


class Cursor:
    """The next token of one statement; reads names, lists and brackets, and records problems."""

    def __init__(self, problems: list[Diagnostic]) -> None:
        self.problems = problems
        self.tokens: list[Token] = []
        self.at = 0
        self.tok = Token("end", "", 1, 1)

    # tokens

    def advance(self) -> Token:
        """Step over the next token and return it."""
        token = self.tok
        self.at += 1
        self.tok = self.tokens[self.at]
        return token

    def span(self, first: Token) -> Span:
        """Return the place from `first` to the token before the next."""
        last = self.tokens[self.at - 1]
        return Span(first.line, first.column, last.line, last.column + len(last.text))

    def expect(self, kind: str, help_: str | None = None) -> Token:
        """Step over a token of `kind`, which must be the next one."""
        if self.tok.kind != kind:
            raise self.expected(f"`{kind}`", help_)
        return self.advance()

    def skip(self, kind: str) -> bool:
        """Step over a token of `kind` if it is the next one."""
        found = self.tok.kind == kind
        if found:
            self.advance()
        return found

    # problems

    def fail(self, message: str, help_: str | None = None, token: Token | None = None, code: str = "E004") -> Fault:
        """Record a problem at `token` (the next one by default); raise what is returned unless parsing can go on."""
        token = token or self.tok
        if token.text or token.kind == "end":  # a bracket that `statements` supplied: already reported
            self.problems.append(Diagnostic(code, message, token.span, help_))
        return Fault()

    def expected(self, what: str, help_: str | None = None) -> Fault:
        """Record that the next token is not what must stand here."""
        return self.fail(f"expected {what}, found {describe(self.tok)}", help_)

    def separator(self, close: str) -> Fault:
        """Record that an element of a list is not followed by a comma or `close`."""
        if self.tok.kind == "(":
            return self.fail("a call cannot be an argument", "give it its own step and pass the step's name")
        if self.tok.kind == "=" and close != "end":
            return self.fail("`=` after something that is no parameter name", "write `name=value`")
        wanted = "`,` or the end of the line" if close == "end" else f"`,` or `{close}`"
        return self.expected(wanted)

    def skip_to(self, *kinds: str) -> None:
        """Go to the next token of one of `kinds` outside further brackets, or to the end of the statement."""
        depth = 0
        while self.tok.kind != "end" and (depth or self.tok.kind not in kinds):
            kind = self.advance().kind
            if kind in ("(", "[", "{"):
                depth += 1
            elif kind in (")", "]", "}"):
                depth -= 1

    # brackets and lists

    def elements(self, close: str, read: Callable[[], T]) -> tuple[T, ...]:
        """Read `read {"," read}` up to `close`; a faulty element is skipped. Brackets allow a trailing comma."""
        found: list[T] = []
        while self.tok.kind not in (close, "end"):
            try:
                found.append(read())
                if self.tok.kind not in (",", close):
                    raise self.separator(close)
            except Fault:
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
        except Fault:
            self.skip_to("]")
            self.expect("]")
            raise
        self.advance()
        return found

    # names

    def word(self, what: str) -> str:
        """Read a word; keywords are ordinary words here."""
        if self.tok.kind not in WORDS:
            raise self.expected(what)
        return self.advance().text

    def name(self, what: str) -> str:
        """Read the name of a plan, an input or a step."""
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
        while self.skip("."):
            names.append(self.field())
        return tuple(names)

    def field(self) -> str:
        """Read the name after a dot."""
        if self.tok.kind == "int":
            raise self.fail("a field name cannot start with a digit", f"write `[{self.tok.text}]` for an element")
        return self.word("a field name after `.`")

    def key(self) -> str | None:
        """Read `name "="` if it is next, else nothing."""
        if self.tok.kind not in WORDS or self.tokens[self.at + 1].kind != "=":
            return None
        name = self.advance().text
        self.advance()
        return name


def describe(token: Token) -> str:
    """Return a token in words, as messages name it."""
    if token.kind == "end":
        return "the end of the line"
    if token.kind in KEYWORDS:
        return f"the keyword `{token.kind}`"
    text = token.text if len(token.text) <= 24 else token.text[:21] + "..."
    kind = _KINDS.get(token.kind)
    return f"{kind} `{text}`" if kind and token.kind not in ("name", "type") else f"`{text}`"
