"""How much does a word look like English? Known words by their frequency, unknown ones by their pairs of letters.

The words are the 82,765 of symspellpy's frequency dictionary, read as plain lines: loading them takes a tenth of a
second, symspell's own index of misspellings three.
"""

import functools
import importlib.util
import math
from collections import Counter
from pathlib import Path
from typing import TypeAlias

__all__ = ["load_words", "worth"]

_FILE = "frequency_dictionary_en_82_765.txt"
_KNOWN = 0.6
"""Least worth of a known word; unknown ones stay below."""
_NUMBER = 0.6
_SINGLE = frozenset("aAI&")
_OUTSIDE = "\"'’‘“”.,;:!?()[]-–—"

_Words: TypeAlias = dict[str, float]
_Pairs: TypeAlias = dict[str, float]


@functools.cache
def load_words() -> tuple[_Words, _Pairs]:
    """Return the worth of each known word, and log2 of how often each pair of letters occurs in a thousand words."""
    spec = importlib.util.find_spec("symspellpy")
    assert spec is not None
    assert spec.origin is not None
    lines = (Path(spec.origin).parent / _FILE).read_text(encoding="utf-8-sig").splitlines()
    counts = {word: int(count) for word, _, count in (line.partition(" ") for line in lines)}
    most = math.log(max(counts.values()))
    known = {word: _KNOWN + (1.0 - _KNOWN) * math.log(max(1, count)) / most for word, count in counts.items()}
    pairs: Counter[str] = Counter()
    for word in counts:
        pairs.update(map("".join, zip(f" {word}", f"{word} ", strict=True)))
    return known, {pair: math.log2(1.0 + 1000.0 * count / len(counts)) / 8.0 for pair, count in pairs.items()}


@functools.lru_cache(maxsize=4096)
def worth(word: str) -> float:
    """Return how much `word`, with the punctuation around it, looks like a word as it would be printed: 0 to 1."""
    core = word.strip(_OUTSIDE)
    if not core:
        return 0.3
    if core.replace(",", "").replace(".", "").rstrip("%").isdigit():
        return _NUMBER
    known, pairs = load_words()
    parts = [part for part in core.replace("’", "'").split("-") if part]
    if not parts:
        return 0.1
    letters = sum(map(len, parts))
    return _capitals(core) * sum(len(part) * _part(part, known, pairs) for part in parts) / letters


def _part(part: str, known: _Words, pairs: _Pairs) -> float:
    lower = part.lower()
    found = known.get(lower) or known.get(lower.removesuffix("'s"))
    if found is not None and (len(part) > 1 or part in _SINGLE):
        return found
    if not lower.isalpha():
        return 0.15 * sum(map(str.isalpha, lower)) / len(lower)
    usual = [min(1.0, pairs.get(pair, 0.0)) for pair in map("".join, zip(f" {lower}", f"{lower} ", strict=True))]
    return (_KNOWN - 0.1) * sum(usual) / len(usual) * min(1.0, len(part) / 4)


def _capitals(core: str) -> float:
    """Capitals stand first or everywhere; anything else is a misreading."""
    return 1.0 if core.islower() or core.isupper() or core[1:].islower() or not core[1:].isalpha() else 0.7
