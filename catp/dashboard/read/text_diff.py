"""What was taken out of a text and what was put in, word by word; of long texts line by line."""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Literal, TypeAlias

__all__ = ["Part", "text_diff"]

Part: TypeAlias = tuple[Literal["same", "del", "ins"], str]

_WORDS = re.compile(r"\s+|\w+|[^\w\s]")
_LINES = re.compile(r"[^\n]*\n|[^\n]+")
_MOST = 1_500
"""Pieces of one text; comparing takes up to the square of it in steps."""


def text_diff(old: str, new: str) -> list[Part] | None:
    """Return the parts in order, None if a text is too long: without `ins` they make `old`, without `del` `new`."""
    for pieces in (_WORDS, _LINES):
        left, right = pieces.findall(old), pieces.findall(new)
        if len(left) <= _MOST and len(right) <= _MOST:
            return _joined(left, right)
    return None


def _joined(left: Sequence[str], right: Sequence[str]) -> list[Part]:
    parts: list[Part] = []
    for _, a, b, c, d in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if left[a:b] == right[c:d]:
            parts.append(("same", "".join(left[a:b])))
            continue
        parts += [("del", "".join(left[a:b]))] if b > a else []
        parts += [("ins", "".join(right[c:d]))] if d > c else []
    return parts
