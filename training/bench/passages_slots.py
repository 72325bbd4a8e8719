"""Filling the slots of a sentence: `The {thing} in {place} cost {money}.`, and what was named in it.

A slot is `{kind}` or `{kind.2}`; within one passage the same slot always has the same value, and two slots of one
kind have different ones. Kinds that a passage brings along (its own word lists) come before those made up here.
"""

import importlib.resources
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

__all__ = ["LABELS", "Slots", "bank"]

LABELS: Mapping[str, str] = {
    "person": "person", "place": "place", "org": "organisation", "date": "date", "time": "time", "evening": "time",
    "money": "money", "price": "money", "fee": "money", "percent": "percent",
    "phone": "phone", "email": "email", "url": "url",
}  # fmt: skip
"""The label of what a slot names, as `catp.tools.builtin.entities` writes it; other slots name nothing."""

_SLOT = re.compile(r"\{([a-z]+)(?:\.\d)?\}")
_TRIES = 50


@cache
def bank(name: str) -> Any:
    """Return one packaged word bank, `datasets/catp-bench/texts/NAME.json`."""
    file = importlib.resources.files("catp") / "datasets" / "catp-bench" / "texts" / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8"))


class Slots:
    """The values of one passage's slots, drawn when first asked for."""

    def __init__(self, random: np.random.Generator, lists: Mapping[str, Sequence[str]]) -> None:
        self._random = random
        self._lists = lists
        self._values: dict[str, str] = {}

    def fill(self, template: str) -> str:
        """Return `template` with every slot filled and its first letter made a capital.

        Raises:
            KeyError: a slot is of a kind that is neither among the passage's lists nor known here.
        """
        text = self.inline(template)
        return text[:1].upper() + text[1:]

    def inline(self, template: str) -> str:
        """Return `template` with every slot filled, its first letter as it is."""
        return _SLOT.sub(lambda match: self._value(match.group(), match.group(1)), template)

    def named(self, template: str) -> list[tuple[str, str]]:
        """The things that the filled `template` names, with their labels, in order."""
        return [
            (self._value(match.group(), match.group(1)).removeprefix("the "), LABELS[match.group(1)])
            for match in _SLOT.finditer(template)
            if match.group(1) in LABELS and match.group(1) not in self._lists
        ]

    def _value(self, slot: str, kind: str) -> str:
        if slot not in self._values:
            self._values[slot] = self._new(kind)
        return self._values[slot]

    def _new(self, kind: str) -> str:
        drawn = ""
        for _ in range(_TRIES):
            drawn = pick(self._random, self._lists[kind]) if kind in self._lists else _MAKERS[kind](self._random)
            if drawn not in self._values.values():
                break
        return drawn


def pick(random: np.random.Generator, values: Sequence[str]) -> str:
    """One of `values`, all equally likely."""
    return values[int(random.integers(len(values)))]


def _person(random: np.random.Generator) -> str:
    return f"{pick(random, bank('slots')['first'])} {pick(random, bank('slots')['last'])}"


def _date(random: np.random.Generator) -> str:
    """A date in one of the ways dates are written; the last one is beyond plain patterns."""
    day, year = int(random.integers(1, 29)), int(random.integers(2019, 2026))
    number = int(random.integers(1, 13))
    month = bank("slots")["month"][number - 1]
    ways = (
        f"{day} {month} {year}", f"{month} {day}, {year}", f"{year}-{number:02d}-{day:02d}", f"{day} {month}",
        f"{day:02d}.{number:02d}.{year}", f"the {day}{_ordinal(day)} of {month}",
    )  # fmt: skip
    return pick(random, ways)


def _ordinal(day: int) -> str:
    return "th" if 10 < day < 20 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")


def _time(random: np.random.Generator, first: int = 6, last: int = 21) -> str:
    return f"{int(random.integers(first, last + 1))}:{pick(random, ('00', '05', '10', '15', '30', '40', '45', '50'))}"


def _money(random: np.random.Generator) -> str:
    """An amount in one of the ways amounts are written; the last two are beyond plain patterns."""
    value = int(random.integers(12, 980))
    ways = (
        f"${value},000", f"€{value},{int(random.integers(10)) * 100:03d}", f"{value},000 euros", f"£{value},000",
        f"{value},500 dollars", f"{value} thousand euros", f"{value},000 Swiss francs",
    )  # fmt: skip
    return pick(random, ways)


def _price(random: np.random.Generator, least: int = 20, most: int = 400) -> str:
    """What one thing costs; the last way is beyond plain patterns."""
    value = int(random.integers(least, most))
    return pick(random, (f"${value}", f"€{value}", f"{value} euros", f"£{value}.50", f"{value} Swiss francs"))


def _percent(random: np.random.Generator) -> str:
    value = int(random.integers(3, 88))
    return pick(random, (f"{value}%", f"{value} percent", f"{value}.5%", f"{value} per cent"))


def _phone(random: np.random.Generator) -> str:
    a, b = int(random.integers(100, 1000)), int(random.integers(1000, 10000))
    return pick(random, (f"+44 20 7946 {b}", f"555-{a}-{b}", f"0{a} 555 {b}", f"+49 30 {a} {b}"))


def _email(random: np.random.Generator) -> str:
    words = bank("slots")
    name = pick(random, words["last"]).lower().replace("'", "")
    return f"{name}@{pick(random, words['domain'])}"


def _url(random: np.random.Generator) -> str:
    words = bank("slots")
    return f"https://www.{pick(random, ('example.org', 'example.com'))}/{pick(random, words['page'])}"


def _count(random: np.random.Generator) -> str:
    value = int(random.integers(21, 9800))
    return f"{value:,}"


_MAKERS: Mapping[str, Callable[[np.random.Generator], str]] = {
    "person": _person, "date": _date, "time": _time, "money": _money, "price": _price,
    "evening": lambda random: _time(random, 18, 22), "fee": lambda random: _price(random, 4, 60), "percent": _percent,
    "phone": _phone, "email": _email, "url": _url, "n": _count,
    "place": lambda random: pick(random, bank("slots")["place"]),
    "org": lambda random: pick(random, bank("slots")["org"]),
    "month": lambda random: pick(random, bank("slots")["month"]),
    "small": lambda random: str(int(random.integers(2, 10))),
}  # fmt: skip
