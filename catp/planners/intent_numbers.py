"""Numbers in a request: "in 3 sentences", "10 key phrases", and which parameter of which tool they mean.

A number means a parameter if the word after it stands in the parameter's name or description (`count`: "how many
sentences"), or if it counts the results themselves ("10 key phrases", "topics, at most 5") and the tool takes a count.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from catp.planlang.registry_view import Param, ToolSig

__all__ = ["Number", "find_numbers", "parameter_for"]

_WORDS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_VALUES = {word: value for value, word in enumerate(_WORDS, 2)}
_NUMBER = re.compile(
    rf"(?<![\w.])(?P<number>\d{{1,9}}(?:\.\d{{1,9}})?|{'|'.join(_WORDS)})(?!\w)(?:[ -]?(?P<noun>[^\W\d_]{{1,30}}))?"
)
_COUNTS = ("count", "number", "n", "k", "top", "top_k", "limit", "max_items", "max_results")
_AT_MOST = re.compile(r"(?:at most|up to|max\.?|maximum|only|exactly|top|limit(?:ed)? to) *$")
_NEAR = re.compile(r"(?:[^\W\d_]+[ -]){0,3}")


@dataclass(frozen=True, slots=True)
class Number:
    """A number at `text[start:end]`, the word after it, and whether it limits what stands before it ("at most 5")."""

    start: int
    end: int
    value: int | float
    noun: str
    limits: bool


def find_numbers(text: str) -> list[Number]:
    """The numbers of a text in lower case, in order."""
    found = []
    for match in _NUMBER.finditer(text):
        spoken = match["number"]
        value = _VALUES[spoken] if spoken in _VALUES else float(spoken) if "." in spoken else int(spoken)
        limits = _AT_MOST.search(text[max(0, match.start() - 12) : match.start()]) is not None
        found.append(Number(match.start(), match.end("number"), value, match["noun"] or "", limits))
    return found


def parameter_for(number: Number, text: str, start: int, end: int, tools: Iterable[ToolSig]) -> str | None:
    """The parameter of `tools` that `number` means, if the words at `text[start:end]` asked for these tools."""
    counts = _counts(number, text, start, end)
    for sig in tools:
        for param in sig.params:
            if _takes(param, number.value) and (_names(param, number.noun) or (counts and param.name in _COUNTS)):
                return param.name
    return None


def _counts(number: Number, text: str, start: int, end: int) -> bool:
    """True if the number counts what is asked for: it stands right before the words, or limits them from behind."""
    if number.end <= start:
        return _NEAR.fullmatch(text[number.end : start].lstrip(" -")) is not None
    return number.limits and end <= number.start and not re.search(r"[.;!?\n]", text[end : number.start])


def _takes(param: Param, value: int | float) -> bool:
    if param.type.name not in ("int", "number") or value <= 0 or (param.choices and value not in param.choices):
        return False
    return param.type.name == "number" or isinstance(value, int)


def _names(param: Param, noun: str) -> bool:
    return len(noun) > 2 and _singular(noun) in _singulars(re.findall(r"[^\W_]+", f"{param.name} {param.description}"))


def _singulars(words: Sequence[str]) -> set[str]:
    return {_singular(word.lower()) for word in words}


def _singular(word: str) -> str:
    return word[:-1] if word.endswith("s") and len(word) > 3 else word
