"""Format plan text without losing what the tree does not hold: comments, and blank lines between groups.

A comment on its own line stays above the statement it preceded, one behind a statement stays behind it. Where a
statement had several, or no longer fits one line, they move above it. Everything else is as `to_text` prints it.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from catp.planlang.lexer import tokenize
from catp.planlang.nodes import Plan
from catp.planlang.parser import parse
from catp.planlang.printer import to_text
from catp.planlang.statements import split_statements

__all__ = ["format_source"]

_COMMENT = re.compile(r'"(?:[^"\\\r\n]|\\.)*"|(#[^\r\n]*)')


@dataclass(frozen=True, slots=True)
class _Remark:
    """A comment, or a blank line if `text` is empty."""

    line: int
    text: str
    trailing: bool


def format_source(source: str) -> str:
    """Return `source` in canonical form with its comments; formatting the result again changes nothing.

    Raises:
        PlanError: if `source` does not parse.
    """
    old = parse(source)
    text = to_text(old)
    source = source.removeprefix("\ufeff")
    places = list(zip(_extents(old, source), _extents(parse(text), text), strict=True))
    above: defaultdict[int, list[_Remark]] = defaultdict(list)
    behind: defaultdict[int, list[_Remark]] = defaultdict(list)
    lines = text.split("\n")[:-1]
    starts = {new[0] for _, new in places}
    for remark in _remarks(source):
        line = _place(remark, places, len(lines) + 1)
        if remark.text or not any(first < remark.line <= last for (first, last), _ in places):
            (behind if remark.trailing and line <= len(lines) else above)[line].append(remark)
    result: list[str] = []
    for number, line_text in enumerate(lines, 1):
        one_line = number + 1 in starts or number == len(lines)
        if len(behind[number]) > 1 or not one_line:
            above[number] = sorted(above[number] + behind.pop(number), key=lambda remark: remark.line)
        result += [remark.text for remark in above[number]]
        result.append("  ".join([line_text, *(remark.text for remark in behind.get(number, ()))]))
    result += [remark.text for remark in above[len(lines) + 1]]
    return "".join(f"{line}\n" for line in _single_blanks(result))


def _remarks(source: str) -> Iterator[_Remark]:
    for number, line in enumerate(source.split("\n"), 1):
        if not line.strip():
            yield _Remark(number, "", False)
        for match in _COMMENT.finditer(line):
            if match[1] is not None:
                yield _Remark(number, match[1].rstrip(), bool(line[: match.start()].strip()))


def _extents(plan: Plan, text: str) -> list[tuple[int, int]]:
    """Return first and last line of every statement, in tree order, so that two texts of one tree correspond."""
    extents = []
    if plan.name is not None or plan.approve:  # the tree does not keep the place of its header
        header = split_statements(tokenize(text, 1)[0], 1)[0][0]
        extents.append((header[0].line, header[-2].line))
    spans = [
        *(given.span for given in plan.inputs),
        plan.limits.span,
        *(step.span for step in plan.steps),
        *(output.span for output in plan.outputs),
    ]
    return extents + [(span.line, span.end_line) for span in spans if span is not None]


def _place(remark: _Remark, places: Sequence[tuple[tuple[int, int], tuple[int, int]]], end: int) -> int:
    """Return the line of the formatted text that a remark belongs to; `end` is the line after the last."""
    around = [new[0] for old, new in places if old[0] <= remark.line <= old[1]]
    if around:
        return around[0]
    later = [(old[0], new[0]) for old, new in places if old[0] > remark.line]
    earlier = [(old[1], new[0]) for old, new in places if old[1] < remark.line]
    if remark.trailing and earlier:
        return max(earlier)[1]
    return min(later)[1] if later else end


def _single_blanks(lines: Sequence[str]) -> Iterator[str]:
    """Leave out blank lines at both ends and all but one in a row."""
    pending = started = False
    for line in lines:
        if not line:
            pending = True
            continue
        if pending and started:
            yield ""
        yield line
        pending, started = False, True
