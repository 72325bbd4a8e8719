"""Tokens to statements: which newlines count, and which bracket is to blame.

A newline ends a statement unless a bracket is open or the next line starts with `|` or `@`. Brackets are balanced
here, once, so that the parser only ever sees matching ones: where one is missing, it is reported at the bracket that
was never closed and supplied as a token without text, after which the rest of the plan reads as if it were there.

An open bracket ends at a line that can only start a statement. That is certain for `plan x`, `in x :`, `limit cost`,
`out x`, `x = tool(`, `|` and `@`, which no bracket can contain. Where such a line never comes, the first line that
starts with `x =` is taken, though it may have been meant as an argument.
"""

from typing import Final

from catp.planlang.errors import Diagnostic
from catp.planlang.lexer import Token

__all__ = ["MAX_DEPTH", "split_statements"]

MAX_DEPTH: Final = 64
"""How deep brackets may nest."""

_MAX_RESCANS: Final = 3

_CLOSER: Final = {"(": ")", "[": "]", "{": "}"}
_OPENER: Final = {closer: opener for opener, closer in _CLOSER.items()}
_MATTERS: Final = frozenset((*_CLOSER, *_OPENER, "newline", "end"))


def split_statements(tokens: list[Token], max_problems: int) -> tuple[list[list[Token]], list[Diagnostic]]:
    """Return the tokens of each statement, without newlines and closed by an `end` token, and the bracket problems.

    Stops early after `max_problems` problems or one bracket nested deeper than `MAX_DEPTH`.
    """
    splitter = _Splitter(tokens, max_problems)
    splitter.run()
    return splitter.statements, splitter.problems


class _Splitter:
    def __init__(self, tokens: list[Token], max_problems: int) -> None:
        self.tokens = tokens
        self.max_problems = max_problems
        self.statements: list[list[Token]] = []
        self.problems: list[Diagnostic] = []
        self.current: list[Token] = []
        self.open: list[Token] = []
        self.doubtful: tuple[int, int, int, list[Token]] | None = None
        """Where the open bracket may end: index of the newline, and what there was of tokens, problems, brackets."""
        self.rescans = 0

    def run(self) -> None:
        tokens, at = self.tokens, 0
        last = len(tokens) - 1
        while at <= last and len(self.problems) < self.max_problems:
            token = tokens[at]
            kind = token.kind
            if kind not in _MATTERS:
                self.current.append(token)
            elif kind in _CLOSER:
                self.opening(token)
                if len(self.open) > MAX_DEPTH:
                    self.too_deep(token)
                    return
            elif kind in _OPENER:
                self.closing(token)
            elif kind == "newline":
                self.newline(at)
            else:
                if not self.open or self.doubtful is None or self.rescans == _MAX_RESCANS:
                    self.finish(token)
                    return
                at = self.back_to_doubt(self.doubtful)
            at += 1

    def back_to_doubt(self, doubtful: tuple[int, int, int, list[Token]]) -> int:
        """No closing bracket came: end the statement at the first line that looked like the next one."""
        at, tokens, problems, self.open = doubtful
        self.rescans += 1
        del self.current[tokens:], self.problems[problems:]
        self.finish(self.tokens[at])
        return at

    def opening(self, token: Token) -> None:
        self.open.append(token)
        self.current.append(token)

    def closing(self, token: Token) -> None:
        if not self.open:
            self.report(
                token, f"`{token.kind}` closes nothing", f"remove it or open a `{_OPENER[token.kind]}` before it"
            )
            return
        wanted = _OPENER[token.kind]
        if self.open[-1].kind == wanted:
            self.open.pop()
            if not self.open:
                self.doubtful = None
            self.current.append(token)
            return
        opener = self.open[-1]
        self.report(opener, f"`{opener.kind}` is closed by `{token.kind}`", f"close it with `{_CLOSER[opener.kind]}`")
        if any(bracket.kind == wanted for bracket in self.open):
            while self.open[-1].kind != wanted:
                self.supply(self.open.pop(), token)
            self.open.pop()
            self.current.append(token)
        else:
            self.supply(self.open.pop(), token)
        if not self.open:
            self.doubtful = None

    def newline(self, at: int) -> None:
        if self.tokens[at + 1].kind == "newline":
            return  # blank lines and comments: the last newline decides
        following = self.tokens[at + 1]
        continued = following.kind in ("|", "@")
        if self.open:
            if continued or self.starts_statement(at + 1):
                self.blame(self.tokens[at])
            elif self.doubtful is None and following.kind == "name" and self.tokens[at + 2].kind == "=":
                self.doubtful = at, len(self.current), len(self.problems), list(self.open)
        if not self.open and not continued:
            self.finish(self.tokens[at])

    def starts_statement(self, at: int) -> bool:
        """True if the line at `at` is the start of a statement and cannot stand inside brackets."""
        first, second = self.tokens[at].kind, self.tokens[min(at + 1, len(self.tokens) - 1)]
        if first in ("plan", "out", "in", "limit"):
            return second.kind == "name"
        if first != "name" or second.kind != "=":
            return False
        at += 2
        while self.tokens[at].kind in ("name", "type"):
            at += 1
            if self.tokens[at].kind == "(":
                return True
            if self.tokens[at].kind != ".":
                return False
            at += 1
        return False

    def finish(self, end: Token) -> None:
        """Close the statement at `end`, first supplying what is missing."""
        if self.open:
            self.blame(end)
        if self.current:
            self.current.append(Token("end", "", end.line, end.column))
            self.statements.append(self.current)
            self.current = []

    def blame(self, end: Token) -> None:
        opener = self.open[-1]
        self.report(opener, f"`{opener.kind}` is never closed", f"add `{_CLOSER[opener.kind]}`")
        while self.open:
            self.supply(self.open.pop(), end)
        self.doubtful = None

    def supply(self, opener: Token, place: Token) -> None:
        self.current.append(Token(_CLOSER[opener.kind], "", place.line, place.column))

    def too_deep(self, token: Token) -> None:
        message = f"brackets nested deeper than {MAX_DEPTH}"
        self.problems.append(
            Diagnostic("E006", message, token.span, "give inner values a step or an input of their own")
        )

    def report(self, token: Token, message: str, help_: str) -> None:
        self.problems.append(Diagnostic("E005", message, token.span, help_))
