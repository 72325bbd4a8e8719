"""Requests in natural language, put together from patterns, for what a task wants.

A request is a frame (`Could you {do}?`) around one clause for every ask, joined by connectors, with an opener before
and a closer after it now and then. Every slot (frames, connectors, the clauses of each ask, the names of each source,
...) has a list of patterns in `datasets/catp-bench/phrasing/LANG.json`. Of every list, the patterns at places 1, 5, 9,
... (counted from 0) are held out: side "test" draws from them alone, side "train" only from the others, so that a
planner can be tried on requests whose every wording is new to it.

All clauses are infinitives, which each of the five languages lets stand after every frame. German names bring their
accusative, dative and genitive; names of `each` and of `all` things of a list go in pairs, place by place.
"""

import importlib.resources
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal, TypeAlias

import numpy as np

__all__ = ["ASKS", "PHRASED", "Ask", "Wording", "held_out", "phrase"]

ASKS: Final = (
    "text", "clean", "sharp", "large", "language", "sentiment", "phrases", "entities", "summary", "answer",
    "corrected", "codes", "faces", "stats", "damage", "tally", "match", "combined", "careful",
)  # fmt: skip
"""What can be asked for."""
PHRASED: Final = ("en", "de", "fr", "es", "it")
"""Languages of requests."""

Wording: TypeAlias = Literal["train", "test"]

_TOGETHER = frozenset(["tally", "match", "combined"])
"""Asked of several things taken together, never of each."""
_PAIRED = frozenset(["match", "combined"])
_NAMED_AGAIN = frozenset(["answer", "tally", "match"])
"""Where a pronoun will not do: the question gets in between, or `them` would be a subject."""
_SOFTENED = {"es": ("i", " e "), "it": ("e", " ed ")}
"""The first letter of a clause before which `and` (Spanish y, Italian e) changes, and into what."""
_OPENS, _CLOSES, _BREAKS, _PRONOUN = 0.35, 0.35, 0.4, 0.85
"""How often a request has an opener, a closer, its clauses as sentences of their own, and a pronoun for a source just
named."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One thing asked for.

    `source` names the input it is about (page, photo, people, label, text, pages, texts, labels), or two of them with
    a plus sign: `page+other`, `text+other`, `page+text`, or `page+note` where the question is on paper. `many` asks
    for it of every element of a list.
    """

    what: str
    source: str
    many: bool = False
    optional: bool = False


def held_out(place: int) -> bool:
    """Whether the pattern at this place of its list is kept for side "test": about a quarter of each list is."""
    return place % 4 == 1


def phrase(asks: Sequence[Ask], lang: str, rng: np.random.Generator, side: Wording) -> tuple[str, str]:
    """Return a request for `asks` and the id of its patterns, such as `en.f03+en.language.07+en.summary.12`.

    Args:
        asks: what is wanted, in the order in which it will be asked for; at least one.
        lang: one of `PHRASED`.
        rng: decides between the patterns; the same state gives the same request.
        side: which patterns may be used.

    Raises:
        ValueError: nothing is asked, or there are no patterns for an ask, a source or the language.
    """
    if not asks:
        raise ValueError("nothing is asked for: give at least one Ask")
    if lang not in PHRASED:
        raise ValueError(f"no patterns in language {lang!r}; there are: {', '.join(PHRASED)}")
    return _Phrasing(_patterns(lang), lang, rng, side).request(asks)


@cache
def _patterns(lang: str) -> dict[str, Any]:
    file = importlib.resources.files("catp") / "datasets" / "catp-bench" / "phrasing" / f"{lang}.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


class _Phrasing:
    """The making of one request: what has been named so far, and which patterns were used."""

    def __init__(self, patterns: dict[str, Any], lang: str, rng: np.random.Generator, side: Wording) -> None:
        self._patterns, self._lang, self._rng, self._side = patterns, lang, rng, side
        self._names: dict[str, int] = {}
        self._last: tuple[str, str] | None = None
        self._used: list[str] = []

    def request(self, asks: Sequence[Ask]) -> tuple[str, str]:
        frame = self._draw(self._patterns["frames"], "f")
        opener = self._draw(self._patterns["opens"], "o") + " " if self._rng.random() < _OPENS else ""
        closer = " " + self._draw(self._patterns["closes"], "c") if self._rng.random() < _CLOSES else ""
        sentences = "{steps}" in frame and self._rng.random() < _BREAKS
        joined = self._joined([self._clause(ask) for ask in asks], sentences)
        text = _capital(frame.replace("{steps}", joined).replace("{do}", joined))
        return opener + text + closer, "+".join(self._used)

    def _joined(self, clauses: Sequence[str], sentences: bool) -> str:
        """The clauses in one; a comma that closes a German subordinate clause stays only before a word."""
        if len(clauses) == 1:
            return clauses[0].rstrip(",")
        slot, mark = ("breaks", "b") if sentences else ("joins", "j")
        middle, last = self._draw(self._patterns[slot], mark)
        text = clauses[0]
        for clause in clauses[1:]:
            join = last if clause is clauses[-1] else middle
            if clause.startswith(_SOFTENED.get(self._lang, ("?", ""))[0]):
                join = re.sub(r" [ye] $", _SOFTENED[self._lang][1], join)
            starts_sentence = join[0] == "." and join.endswith(". ")
            text = text if join[0] == " " else text.rstrip(",")
            text += join + (_capital(clause) if starts_sentence else clause)
        return text.rstrip(",")

    def _clause(self, ask: Ask) -> str:
        if ask.what not in self._patterns["asks"]:
            raise ValueError(f"no patterns for {ask.what!r}; there are: {', '.join(ASKS)}")
        pattern = self._draw(self._patterns["asks"][ask.what], f"{ask.what}.")
        key = self._key(ask)
        for case, name in zip(("{it}", "{dat}", "{gen}"), self._named(key, ask.what).split("|"), strict=False):
            pattern = pattern.replace(case, name)
        if "{question}" in pattern:
            slot = "note" if ask.source.endswith("+note") else "question"
            pattern = pattern.replace("{question}", self._draw(self._patterns[slot]))
        if ask.optional:
            pattern = self._draw(self._patterns["optional"], "optional.").replace("{do}", pattern)
        return str(pattern)

    def _key(self, ask: Ask) -> tuple[str, str]:
        """The list of names for what is asked about, and whether it is one thing, each of several, or all of them."""
        names, first = self._patterns["names"], ask.source.split("+")[0]
        source = ask.source if ask.source in names else first
        if ask.what in _PAIRED and f"{source}+other" in names:
            source = f"{source}+other"
        if source not in names:
            raise ValueError(f"no names for the source {ask.source!r}; there are: {', '.join(names)}")
        if isinstance(names[source], dict):
            return source, "all" if ask.what in _TOGETHER or not ask.many else "each"
        return source, "all" if "+" in source else "one"

    def _named(self, key: tuple[str, str], what: str) -> str:
        """A name, the same for the same thing; or a pronoun for what the clause before was about."""
        again, self._last = key == self._last, key
        if again and what not in _NAMED_AGAIN and "them" in self._patterns and self._rng.random() < _PRONOUN:
            words: list[str] = self._patterns["them"][key[1]]
            return words[int(self._rng.integers(len(words)))]
        names = self._patterns["names"][key[0]]
        names = names[key[1]] if isinstance(names, dict) else names
        if key[0] not in self._names:
            self._names[key[0]] = self._place(names)
        return str(names[self._names[key[0]]])

    def _draw(self, patterns: Sequence[Any], mark: str = "") -> Any:
        """One of the patterns of this side; `mark` says under which letters it is noted."""
        place = self._place(patterns)
        if mark:
            self._used.append(f"{self._lang}.{mark}{place:02d}")
        return patterns[place]

    def _place(self, patterns: Sequence[Any]) -> int:
        open_to = [place for place in range(len(patterns)) if held_out(place) == (self._side == "test")]
        return open_to[int(self._rng.integers(len(open_to)))]


def _capital(text: str) -> str:
    """`text` with its first letter, which may follow a Spanish mark or a bracket, made a capital."""
    place = next((place for place, letter in enumerate(text) if letter.isalpha()), 0)
    return text[:place] + text[place : place + 1].upper() + text[place + 1 :]
