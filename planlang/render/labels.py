"""Short, safe words for pictures: calls, values, prices and times as one line each."""

import json
import re
import unicodedata
from collections.abc import Iterable

from catp.planlang.money import NANO_PER_USD, Money, format_usd
from catp.planlang.nodes import (
    Attempt,
    Duration,
    ListValue,
    Literal,
    Note,
    ObjectValue,
    Ref,
    Step,
    Template,
    Usd,
    Value,
)
from catp.planlang.registry_view import PriceRange
from catp.planlang.scalars import format_amount, format_duration

__all__ = ["call_text", "clip", "note_text", "price_text", "time_text", "value_text", "visible", "when_text", "width"]

_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff\ufff9-\uffff\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    """Return text that can neither steer a terminal nor break XML: control, bidirectional, surrogate and
    non-characters are written as escapes. Newline and tab stay."""
    return _UNSAFE.sub(
        lambda match: f"\\u{ord(match[0]):04x}" if match[0] <= "\uffff" else f"\\U{ord(match[0]):08x}", text
    )


def width(text: str) -> int:
    """Return how many terminal columns a text takes: two for wide East Asian characters, none for combining ones."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def clip(text: str, columns: int, *, ellipsis: str = "\u2026") -> str:
    """Return `text` on one line in at most `columns` columns, ending in an ellipsis if it was cut."""
    flat = visible(text).replace("\n", " ").replace("\t", " ")
    if width(flat) <= columns:
        return flat
    kept: list[str] = []
    room = columns - width(ellipsis)
    for character in flat:
        room -= width(character)
        if room < 0:
            break
        kept.append(character)
    return "".join(kept).rstrip() + ellipsis


def call_text(attempt: Attempt) -> str:
    """Return `tool(a, size=3) if .score >= 0.8`."""
    args = ", ".join(
        f"{arg.name + '=' if arg.name else ''}{'each ' if arg.each else ''}{value_text(arg.value)}"
        for arg in attempt.args
    )
    tests = " and ".join(
        f"{''.join('.' + part for part in test.path)} {test.op} {value_text(test.value)}" for test in attempt.accept
    )
    return f"{attempt.tool}({args}){' if ' + tests if tests else ''}"


def when_text(step: Step) -> str:
    """Return `when lang.code != "en" else page`, or an empty text for a step that always runs."""
    if not step.when:
        return ""
    tests = " and ".join(f"{test.ref} {test.op} {value_text(test.value)}" for test in step.when)
    return f"when {tests}{f' else {step.otherwise}' if step.otherwise is not None else ''}"


def note_text(notes: Iterable[Note]) -> str:
    """Return `@retry(2, backoff=500ms) @approve`."""
    return " ".join(f"@{note.name}" + (f"({', '.join(_note_args(note))})" if note.args else "") for note in notes)


def value_text(value: Value) -> str:
    """Return a value close to how plan text writes it; long texts are cut."""
    if isinstance(value, Ref):
        return str(value)
    if isinstance(value, Literal):
        return _literal(value)
    if isinstance(value, Template):
        return "t" + _quoted("".join(f"{{{part}}}" if isinstance(part, Ref) else part for part in value.parts))
    if isinstance(value, ListValue):
        return f"[{', '.join(map(value_text, value.items))}]"
    assert isinstance(value, ObjectValue)
    return f"{{{', '.join(f'{key}: {value_text(item)}' for key, item in value.pairs)}}}"


def price_text(price: PriceRange) -> str:
    """Return the expected price to three digits and, if it differs, the p95 price: `$0.0043, p95 $0.10`."""
    if price.expected is None:
        return "unpriced"
    expected = _rounded(price.expected)
    high = _rounded(price.p95) if price.p95 is not None else expected
    return expected if high == expected else f"{expected}, p95 {high}"


def time_text(ms: float) -> str:
    """Return a time as people read it: `0.4 ms`, `85 ms`, `1.25 s`, `3 min 5 s`."""
    if ms < 9.95:
        return f"{ms:.1f} ms"
    if ms < 999.5:
        return f"{ms:.0f} ms"
    if ms < 99_995:
        return f"{ms / 1000:.2f} s"
    minutes, seconds = divmod(round(ms / 1000), 60)
    return f"{minutes} min {seconds} s"


def _rounded(amount: Money) -> str:
    """Three significant digits, or whole cents from a dollar up."""
    if abs(amount) >= NANO_PER_USD:
        return f"${format_usd(Money(round(amount, -7)))}"
    return f"${format_usd(Money(round(amount, min(0, 3 - len(str(abs(amount)))))))}"


def _literal(literal: Literal) -> str:
    value = literal.value
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, Usd):
        return format_amount(value)
    if isinstance(value, Duration):
        return format_duration(value)
    return json.dumps(value)


def _quoted(text: str) -> str:
    return json.dumps(clip(text, 40), ensure_ascii=False)


def _note_args(note: Note) -> list[str]:
    return [f"{arg.key + '=' if arg.key else ''}{value_text(arg.value)}" for arg in note.args]
