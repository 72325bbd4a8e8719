"""Named things in text: what patterns can tell, with or without guesses about capitalised words."""

import re
from typing import Any

from catp.tools.builtin.prose import STOPWORDS, checked
from catp.tools.builtin.records import Entities
from catp.tools.decorator import Tool, tool
from catp.tools.price import ComputePrice

__all__ = ["TOOLS", "entities_names", "entities_patterns"]

_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_PATTERNS: tuple[tuple[str, str], ...] = (
    ("email", r"[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,5}[A-Za-z]{2,10}\b"),
    ("url", r"\b(?:https?://|www\.)[^\s<>\"]{3,500}[^\s<>\".,;:!?)]"),
    ("date", r"\b\d{4}-\d\d-\d\d\b"),
    ("date", r"\b\d{1,2}[./]\d{1,2}[./](?:\d{4}|\d\d)\b"),
    ("date", rf"\b(?:\d{{1,2}} )?(?:{_MONTHS}) (?:\d{{1,2}}, )?\d{{4}}\b"),
    ("date", rf"\b(?:\d{{1,2}} (?:{_MONTHS})|(?:{_MONTHS}) \d{{1,2}})\b"),
    ("time", r"\b(?:[01]?\d|2[0-3]):[0-5]\d(?: ?[ap]m\b)?"),
    (
        "money",
        r"(?:[$€£] ?\d[\d,]*(?:\.\d+)?(?: (?:million|billion))?|\b\d[\d,]*(?:\.\d+)? (?:dollars|euros|pounds)\b)",
    ),
    ("percent", r"\b\d+(?:\.\d+)? ?(?:%|percent\b)"),
    ("phone", r"(?<![\w.])\+?\d[\d ()-]{7,16}\d\b"),
)
_ANY_PATTERN = re.compile("|".join(f"(?P<p{place}>{pattern})" for place, (_, pattern) in enumerate(_PATTERNS)))
_CAPITALISED = re.compile(r"\b[A-ZÀ-ÖØ-Þ][\w'’-]+(?: (?:of |de |van |von )?[A-ZÀ-ÖØ-Þ][\w'’-]+){0,4}")
_PLACE_SUFFIX = re.compile(r"\b(?:Street|Road|Avenue|Square|Bridge|River|Lake|Park|City|Town|Valley|Island|Station)$")
_FIRM_SUFFIX = re.compile(r"\b(?:Inc|Ltd|GmbH|Corp|Company|University|Institute|Council|Bank|Committee|Agency|Museum)$")
_PLACE_CUE = re.compile(r"\b(?:in|from|near|to|at|of|through) $")
_NOT_NAMES = frozenset(["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]) | frozenset(
    month.lower() for month in _MONTHS.split("|")
)

_Found = tuple[int, int, str, str]


@tool(capability="entities", price=ComputePrice(), family="text")
def entities_patterns(text: str) -> Entities:
    """Find dates, times, amounts, percentages, addresses of the net and phone numbers: exact, and blind to names."""
    return _listed(_by_pattern(checked(text)))


@tool(capability="entities", price=ComputePrice(), family="text")
def entities_names(text: str) -> Entities:
    """Also guess the names of people, places and organisations from capitals and the words around them."""
    plain = checked(text)
    exact = _by_pattern(plain)
    taken = [(start, end) for start, end, _, _ in exact]
    names = [
        found for found in _by_capitals(plain) if not any(found[0] < end and start < found[1] for start, end in taken)
    ]
    return _listed(exact + names)


TOOLS: tuple[Tool[..., Any], ...] = (entities_patterns, entities_names)


def _by_pattern(text: str) -> list[_Found]:
    return [
        (match.start(), match.end(), match.group(), _PATTERNS[int((match.lastgroup or "p0")[1:])][0])
        for match in _ANY_PATTERN.finditer(text)
    ]


def _by_capitals(text: str) -> list[_Found]:
    found: list[_Found] = []
    for match in _CAPITALISED.finditer(text):
        start, name = match.start(), match.group()
        opens = start == 0 or text[:start].rstrip("\"'“‘( ")[-1:] in ("", ".", "!", "?", ":")
        first, _, rest = name.partition(" ")
        if opens and first.lower() in STOPWORDS["en"]:
            start, name = start + len(first) + 1, rest
        if not name or name.lower() in _NOT_NAMES or (name.isupper() and len(name) > 6):
            continue
        if opens and " " not in name:
            continue
        found.append((start, match.end(), name, _kind(name, text[:start])))
    return found


def _kind(name: str, before: str) -> str:
    if _FIRM_SUFFIX.search(name):
        return "organisation"
    if _PLACE_SUFFIX.search(name) or _PLACE_CUE.search(before):
        return "place"
    return "person" if " " in name else "name"


def _listed(found: list[_Found]) -> Entities:
    order = sorted(found)
    return Entities([item for _, _, item, _ in order], [label for _, _, _, label in order])
