"""Text to tokens, in one pass of one compiled expression.

Every position matches some alternative (the last one takes any character), so time is linear whatever the input, and
a bad character, number or string is reported and replaced by something harmless: the parser then still sees the rest
of the line and reports what is wrong there too.
"""

import re
from typing import Final, NamedTuple, TypeAlias

from catp.planlang.errors import Diagnostic, Span
from catp.planlang.nodes import Duration, Ref, Template, Usd
from catp.planlang.scalars import (
    KEYWORDS,
    TextError,
    is_hidden,
    read_duration,
    read_money,
    read_number,
    read_string,
    read_template,
)

__all__ = ["KEYWORDS", "MAX_BYTES", "Token", "decode_source", "tokenize"]

MAX_BYTES: Final = 1 << 20
"""The largest source accepted, in bytes of UTF-8."""

TokenValue: TypeAlias = str | int | float | Usd | Duration | Template | None


class Token(NamedTuple):
    """One token. `kind` is the text itself for keywords and punctuation, else one of

    `name` (starts with a lower-case letter or `_`), `type` (starts with a capital), `int`, `float`, `money`,
    `duration`, `string`, `template`, `newline`, `end`. A token never spans lines; `column` counts from 1. `text` is
    empty for brackets that `statements` supplied. `value` is what a constant means.
    """

    kind: str
    text: str
    line: int
    column: int
    value: TokenValue = None

    @property
    def span(self) -> Span:
        """The place of the token; one column wide if it has no text."""
        return Span(self.line, self.column, self.line, self.column + max(1, len(self.text)))


_TOKEN: Final = re.compile(
    r"""[ \t]*+(?:
      (?P<template> t"[^"\\\r\n]*+(?:\\[^\r\n][^"\\\r\n]*+)*+["\\]? )
    | (?P<name>     [a-z_][A-Za-z0-9_]*+ )
    | (?P<newline>  (?:\r?\n[ \t]*+)++ )
    | (?P<string>   "[^"\\\r\n]*+(?:\\[^\r\n][^"\\\r\n]*+)*+["\\]? )
    | (?P<number>   -?[0-9](?:[eE][+-](?=[0-9])|[A-Za-z0-9_]|\.(?=[0-9]))*+ )
    | (?P<money>    \$-?(?:[0-9A-Za-z_]|\.(?=[0-9]))*+ )
    | (?P<op>       [=!<>]=|[<>] )
    | (?P<punct>    [()\[\]{},:=|@.?] )
    | (?P<type>     [A-Z][A-Za-z0-9_]*+ )
    | (?P<comment>  \#[^\r\n]*+ )
    | (?P<end>      \Z )
    | (?P<quoted>   '[^'\r\n]*+'? )
    | (?P<bad>      [^\sA-Za-z0-9_"'$=!<>()\[\]{},:|@.?\#]++ | . )
    )""",
    re.VERBOSE | re.DOTALL,
)

_OPERATOR_HELP = {
    ";": "one statement per line; remove the `;`",
    "+": "plans have no arithmetic: join texts with a template, compute with a tool",
    "-": "plans have no arithmetic: compute with a tool",
    "*": "plans have no arithmetic: compute with a tool",
    "/": "plans have no arithmetic: compute with a tool",
    "&&": "write `and`",
    "&": "write `and`",
    "!": "plans have no `not`: compare with `!=` or turn the comparison round",
    "//": "comments start with `#`",
}


def decode_source(source: object) -> tuple[str, Diagnostic | None]:
    """Return the text of `source` without a byte order mark, or the reason it cannot be read as a plan."""
    if isinstance(source, bytes | bytearray):
        if len(source) > MAX_BYTES:
            return "", _too_large(len(source))
        try:
            text = bytes(source).decode("utf-8")
        except UnicodeDecodeError as error:
            return _undecodable(bytes(source), error)
    elif isinstance(source, str):
        text = source
        if len(text) > MAX_BYTES or len(size := text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
            return "", _too_large(len(text) if len(text) > MAX_BYTES else len(size))
    else:
        return "", Diagnostic("E001", f"a plan is text or UTF-8 bytes, not {type(source).__name__}")
    return text.removeprefix("\ufeff"), None


def tokenize(text: str, max_problems: int) -> tuple[list[Token], list[Diagnostic]]:
    """Return the tokens of `text`, ending with one of kind `end`, and what is wrong with them.

    After `max_problems` problems the rest of the text is left out.
    """
    lexer = _Lexer(max_problems)
    return lexer.run(text), lexer.problems


class _Lexer:
    def __init__(self, max_problems: int) -> None:
        self.problems: list[Diagnostic] = []
        self.max_problems = max_problems

    def run(self, text: str) -> list[Token]:
        tokens: list[Token] = []
        append = tokens.append
        new = tuple.__new__  # half the time of Token(...), for the three kinds that nearly all tokens are
        line, base = 1, -1  # column = start - base
        for match in _TOKEN.finditer(text):
            group = match.lastgroup or "end"
            raw = match[group]
            start = match.start(group)
            if group == "name":
                append(new(Token, (raw if raw in KEYWORDS else "name", raw, line, start - base, None)))
            elif group in ("punct", "op"):
                append(new(Token, (raw, raw, line, start - base, None)))
            elif group == "newline":
                append(new(Token, ("newline", "", line, start - base, None)))
                line += raw.count("\n")
                base = start + raw.rindex("\n")
            elif group == "type":
                append(Token("type", raw, line, start - base))
            elif group == "end":
                break
            elif token := self.special(group, raw, line, start - base):
                append(token)
            if len(self.problems) >= self.max_problems:
                break
        append(Token("end", "", line, start - base))
        return tokens

    def special(self, group: str, raw: str, line: int, column: int) -> Token | None:
        """Return the token of a constant, or None for a comment or a character that is left out."""
        try:
            match group:
                case "string":
                    return Token("string", raw, line, column, read_string(raw))
                case "template":
                    return Token("template", raw, line, column, self.template(raw, line, column))
                case "number" if raw[-1] in "smh":
                    return Token("duration", raw, line, column, read_duration(raw))
                case "number":
                    number = read_number(raw)
                    return Token("int" if isinstance(number, int) else "float", raw, line, column, number)
                case "money":
                    return Token("money", raw, line, column, read_money(raw[1:]))
                case "quoted":
                    raise TextError("E001", "text is written in double quotes", 0, len(raw), f'write "{raw[1:-1]}"')
                case "comment":
                    self.check_comment(raw, line, column)
                case _:
                    raise TextError("E001", *_bad_character(raw))
        except TextError as error:
            self.report(error, line, column)
        return self.placeholder(group, raw, line, column)

    def template(self, raw: str, line: int, column: int) -> Template:
        return read_template(
            raw, lambda root, path, start, end: Ref(root, path, False, Span(line, column + start, line, column + end))
        )

    def placeholder(self, group: str, raw: str, line: int, column: int) -> Token | None:
        match group:
            case "string" | "quoted" | "template":
                return Token("string", raw, line, column, "")
            case "number":
                kind = "duration" if raw[-1] in "smh" else "int"
                return Token(kind, raw, line, column, Duration(0) if kind == "duration" else 0)
            case "money":
                return Token("money", raw, line, column, read_money("0"))
            case _:
                return None

    def check_comment(self, raw: str, line: int, column: int) -> None:
        for offset, char in enumerate(raw):
            if is_hidden(char):
                message, start, end, help_ = _bad_character(char)
                self.report(TextError("E001", message, start, end, help_), line, column + offset)
                return

    def report(self, error: TextError, line: int, column: int) -> None:
        span = Span(line, column + error.start, line, column + max(error.end, error.start + 1))
        self.problems.append(Diagnostic(error.code, error.message, span, error.help))


def _bad_character(raw: str) -> tuple[str, int, int, str | None]:
    char = raw[0]
    if is_hidden(char) or not char.isprintable():
        return f"invisible character U+{ord(char):04X}", 0, len(raw), "remove it; inside text write it as an escape"
    if raw.isascii():
        shown = raw if len(raw) <= 8 else raw[:8] + "..."
        return f"`{shown}` has no meaning in a plan", 0, len(raw), _OPERATOR_HELP.get(raw)
    hint = "write text in double quotes" if char in "‘’“”«»" else "names use a-z, A-Z, 0-9 and _; text goes in quotes"
    return f"character `{char}` (U+{ord(char):04X}) outside text", 0, len(raw), hint


def _too_large(size: int) -> Diagnostic:
    return Diagnostic("E006", f"the plan is {size:,} bytes, more than {MAX_BYTES:,}", None, "split the plan")


def _undecodable(source: bytes, error: UnicodeDecodeError) -> tuple[str, Diagnostic]:
    before = source[: error.start].decode("utf-8").removeprefix("\ufeff")
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    bad = source[error.start]
    text = source.decode("utf-8", "replace").removeprefix("\ufeff")
    return text, Diagnostic(
        "E001", f"byte 0x{bad:02X} is not UTF-8", Span(line, column, line, column + 1), "save the plan as UTF-8"
    )
