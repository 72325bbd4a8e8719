"""Diagnostics: every problem of a plan, each with its code, place and fix.

    PlanError            the only exception planlang raises on bad input
      .diagnostics       one `Diagnostic` per problem, in source order

Codes: E0xx syntax, E1xx names, types and rules, E2xx limits and money, W3xx warnings. `CODES` says what each means.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal

__all__ = ["CODES", "Diagnostic", "PlanError", "Span", "nearest"]

CODES: dict[str, str] = {
    "E001": "character or byte that no plan may contain",
    "E002": "unterminated string or template",
    "E003": "malformed number, amount or duration",
    "E004": "unexpected token",
    "E005": "bracket never closed, or closed by the wrong one",
    "E006": "input larger or nested deeper than the parser accepts",
    "E007": "duplicate or misplaced header or limit",
    "E008": "bad escape or placeholder in a string or template",
    "E009": "malformed JSON form",
    "E010": "malformed token form",
    "E101": "value used before it is defined",
    "E102": "unknown value",
    "E103": "name defined twice",
    "E104": "unknown tool",
    "E105": "unknown parameter",
    "E106": "missing argument",
    "E107": "argument given twice or positional after keyword",
    "E108": "too many arguments",
    "E109": "unknown type",
    "E110": "unknown annotation",
    "E111": "malformed annotation",
    "E112": "annotation not allowed here",
    "E113": "plan without an output",
    "E114": "`each` over something that is not a list",
    "E115": "type mismatch",
    "E116": "index or field on a type that has none",
    "E117": "unknown field",
    "E118": "comparison between values that cannot be compared",
    "E119": "value outside the choices of the parameter",
    "E120": "alternatives with no common type",
    "E121": "`?` where a value is required",
    "E122": "default does not fit the input's type",
    "E123": "condition that makes the plan impossible to run",
    "E124": "plan larger than the checker accepts",
    "E201": "limit is zero or negative",
    "E202": "price exceeds the limit",
    "E203": "latency exceeds the limit",
    "E204": "number of calls exceeds the limit",
    "E205": "price unknown",
    "W206": "latency unknown",
    "W301": "step whose result nobody uses",
    "W302": "write step without @key",
    "W303": "unreachable alternative",
}


@dataclass(frozen=True, slots=True)
class Span:
    """A place in source text; lines and columns start at 1, the end column is exclusive."""

    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One problem: `code` (a key of `CODES`), `message`, `span` (None for forms without source text) and `help`."""

    code: str
    message: str
    span: Span | None = None
    help: str | None = None
    severity: Literal["error", "warning"] = "error"
    path: str | None = field(default=None)
    """JSON pointer or step name where there is no source text to point into."""

    def render(self, source: str | None = None) -> str:
        """Return `line:column: error[CODE]: message`, then the source line with a caret, then the help line."""
        place = f"{self.span.line}:{self.span.column}: " if self.span else f"{self.path}: " if self.path else ""
        lines = [f"{place}{self.severity}[{self.code}]: {self.message}"]
        if self.span and source is not None:
            lines += _excerpt(source, self.span)
        if self.help:
            lines.append(f"  help: {self.help}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return the diagnostic as JSON values; this is what a planner is given to repair its plan."""
        span = self.span
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "line": span.line if span else None,
            "column": span.column if span else None,
            "end_line": span.end_line if span else None,
            "end_column": span.end_column if span else None,
            "path": self.path,
            "help": self.help,
        }


class PlanError(ValueError):
    """A plan that cannot be used; `diagnostics` lists all problems found, `source` is the text they point into."""

    def __init__(self, diagnostics: Iterable[Diagnostic], source: str | None = None) -> None:
        self.diagnostics = tuple(diagnostics)
        self.source = source
        super().__init__("\n".join(d.render(source) for d in self.diagnostics))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.diagnostics, self.source)


def nearest(name: str, known: Iterable[str], *, what: str = "") -> str | None:
    """Return a "did you mean" line naming the closest of `known`, or None if nothing is close."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {what + ' ' if what else ''}`{close[0]}`?" if close else None


def _excerpt(source: str, span: Span) -> list[str]:
    lines = source.split("\n")
    if not 1 <= span.line <= len(lines):
        return []
    line = lines[span.line - 1].rstrip("\r")
    end = span.end_column if span.end_line == span.line else len(line) + 1
    start = max(0, span.column - 1)
    width = max(1, min(end - span.column, len(line) - start + 1))
    if start > 60:  # keep the caret on screen for very long lines
        line, start = "..." + line[start - 40 :], 43
    if len(line) > 110:
        line = line[:107] + "..."
    indent = "".join("\t" if c == "\t" else " " for c in line[:start])
    return [f"    {line}", f"    {indent}{'^' * min(width, 80)}"]
