"""The words of a request: which of them a table of rules matches, which are negated, and which mean nothing to it."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from catp.planners.intent_numbers import find_numbers
from catp.planners.intent_rules import FILLER, LANGUAGES, IntentRule

__all__ = ["Match", "RequestText"]

_NEGATION = re.compile(
    r"\b(?:don'?t|do not|does not|doesn'?t|without|no|not|never|skip|except|instead of|rather than|no need to)\b"
)
_CLAUSE = re.compile(r"[.,;:!?\n]|\b(?:and|but|then|also|plus)\b")
_FILLER = frozenset(FILLER.split())


@dataclass(frozen=True, slots=True)
class Match:
    """Words of the request (`text[start:end]`) that a rule matched; `to` is the language that they name, if any."""

    start: int
    end: int
    rule: IntentRule
    to: str | None = None


class RequestText:
    """A request in lower case, without what it quotes; places in it are places in the task, too.

    Args:
        task: The request, in English.
        rules: The table of patterns.
    """

    def __init__(self, task: str, rules: Sequence[IntentRule]) -> None:
        self.quoted = [m.group(1) or m.group(2) for m in re.finditer(r"\"([^\"]+)\"|“([^”]+)”", task)]
        # same length as the task, so that spans fit both; quoted words are data, not requests
        blank = re.sub(r"\"[^\"]+\"|“[^”]+”", lambda m: " " * len(m.group()), task)
        self.text = "".join(c.lower() if len(c.lower()) == 1 else c for c in blank).replace("’", "'")
        self.rules = rules
        self._negations = [m.start() for m in _NEGATION.finditer(self.text)]
        self._clauses = [m.end() for m in _CLAUSE.finditer(self.text)]

    def matches(self) -> list[Match]:
        """What the rules match, in order; where matches overlap, the first and longest counts."""
        found = [
            Match(m.start(), m.end(), rule, m.groupdict().get("to"))
            for rule in self.rules
            for m in re.finditer(rf"(?<![\w]){'(?:' + rule.pattern + ')'}(?![\w])", self.text)
        ]
        found.sort(key=lambda m: (m.start, -m.end))
        kept: list[Match] = []
        for match in found:
            if not kept or match.start >= kept[-1].end:
                kept.append(match)
        return kept

    def negated(self, start: int) -> bool:
        """True if a negation stands before `start` in the same clause; `and`, `but` and commas end clauses."""
        clause = bisect_right(self._clauses, start)
        since = self._clauses[clause - 1] if clause else 0
        return bisect_right(self._negations, start - 1) > bisect_left(self._negations, since)

    def ignored(self, understood: Iterable[tuple[int, int]], named: Collection[str]) -> tuple[str, ...]:
        """Words outside the spans `understood` that are no filler, no language and no part of the names `named`."""
        covered = bytearray(len(self.text))
        for start, end in understood:
            covered[start:end] = b"\1" * (end - start)
        for number in find_numbers(self.text):  # those that nothing takes have a note of their own
            covered[number.start : number.end] = b"\1" * (number.end - number.start)
        named = {word for name in named for word in (name, *name.split("_"))}
        words = [m.group() for m in re.finditer(r"[^\W\d_][\w'-]+", self.text) if not covered[m.start()]]
        return tuple(dict.fromkeys(w for w in words if w not in _FILLER and w not in named and w not in LANGUAGES))
