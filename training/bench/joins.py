"""Tools that join values: votes between two readings, texts put together, judgements counted, texts compared.

The zoo's tools take one input each, so plans over them are chains and forks. These give CATP-Bench plans in which
branches meet again. They are not part of the default zoo: there the search planner would plan with them for every
user who asked for a text. `bench_catalogue()` has both.
"""

import difflib
import importlib.resources
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from catp.tools.builtin import shipped_profiles, zoo
from catp.tools.builtin.answer import load_vectors, text_vectors
from catp.tools.builtin.needs import needs
from catp.tools.builtin.prose import checked, content_words, words
from catp.tools.builtin.records import Reading
from catp.tools.catalogue import Catalogue
from catp.tools.decorator import Tool, tool
from catp.tools.price import ComputePrice
from catp.tools.profile import ProfileBook
from catp.training.bench.joins_records import Combined, Match, Tally
from catp.training.bench.lexicon import load_words, worth

__all__ = [
    "TOOLS",
    "bench_catalogue",
    "combine_all",
    "combine_texts",
    "match_letters",
    "match_vectors",
    "match_words",
    "tally_labels",
    "tally_scores",
    "vote_confident",
    "vote_words",
]

_TOKEN = re.compile(r"\S+\s*")
_MISSING = 0.65
"""What words must be worth to be kept if only one of two readings has them."""
_LEAD = 2.0
"""How much the reading that looks better as a whole is favoured where the two differ."""
_OVERLAP = 2
"""Fewest words at the end of one text that are taken for a repetition at the start of the next."""
_LONGEST_OVERLAP = 200
_NEUTRAL = 0.05
"""Mean scores nearer to zero than this are neutral, as in VADER."""
_SAME_WORDS, _SAME_LETTERS, _SAME_VECTORS = 0.4, 0.7, 0.5
"""Least scores of texts that say the same, chosen on the pairs of `benchmarks/joins.py`."""


@tool(capability="vote", price=ComputePrice(), family="text")
def vote_confident(first: Reading, second: Reading) -> Reading:
    """Take the reading that is surer of itself, the first if both are equally sure: nearly free."""
    return second if second.confidence > first.confidence else first


@tool(capability="vote", price=ComputePrice(), family="lexicon", setup=load_words, unavailable=needs("symspellpy"))
def vote_words(first: Reading, second: Reading) -> Reading:
    """Align two readings word by word and keep, wherever they differ, the words that look more like English."""
    one, two = _tokens(first.text), _tokens(second.text)
    if not one or not two:
        return first if one else second
    lead = _LEAD * (_worth(one) - _worth(two))
    kept = [
        word
        for left, right in _aligned(one, two)
        for word in (left if left == right or _worth(left) + lead >= _worth(right) else right)
    ]
    return Reading("".join(kept).strip(), max(first.confidence, second.confidence))


@tool(capability="combine", price=ComputePrice(), family="text")
def combine_texts(first: str, second: str) -> Combined:
    """Put one text after the other; words that end the first and begin the second stand only once."""
    return Combined(_joined(first.strip(), second.strip()))


@tool(capability="combine", price=ComputePrice(), family="text")
def combine_all(parts: list[str]) -> Combined:
    """Put texts one after the other; what ends one and begins the next stands only once."""
    whole = ""
    for part in parts:
        whole = _joined(whole, part.strip())
    return Combined(whole)


@tool(capability="tally", price=ComputePrice(), family="text")
def tally_labels(labels: list[str]) -> Tally:
    """Return the commonest label and its share; of labels that are equally common, `neutral`, then the first.

    No labels at all are neutral, with a share of 0.
    """
    if not labels:
        return Tally("neutral", 0.0)
    often = Counter(labels)
    best = max(often, key=lambda label: (often[label], label == "neutral"))
    return Tally(best, often[best] / len(labels))


@tool(capability="tally", price=ComputePrice(), family="text")
def tally_scores(scores: list[float]) -> Tally:
    """Return the label of the mean score, from -1 to 1, and the share of scores that have this label themselves."""
    if not scores:
        return Tally("neutral", 0.0)
    label = _label(sum(scores) / len(scores))
    return Tally(label, sum(_label(score) == label for score in scores) / len(scores))


@tool(capability="match", price=ComputePrice(), family="text")
def match_words(first: str, second: str) -> Match:
    """Compare two texts by the content words they share (Dice): nearly free, blind to synonyms and misreadings."""
    one, two = Counter(_told(first)), Counter(_told(second))
    total = one.total() + two.total()
    return _match(2 * (one & two).total() / total if total else 1.0, _SAME_WORDS)


@tool(capability="match", price=ComputePrice(), family="text")
def match_letters(first: str, second: str) -> Match:
    """Compare two texts by the letters that stand in the same order: forgives misread letters, not other words."""
    one, two = checked(first).lower(), checked(second).lower()
    return _match(difflib.SequenceMatcher(None, one, two, autojunk=False).ratio(), _SAME_LETTERS)


@tool(
    capability="match",
    price=ComputePrice(),
    family="vectors",
    setup=load_vectors,
    unavailable=needs("wordllama", "tokenizers", "safetensors"),
)
def match_vectors(first: str, second: str) -> Match:
    """Compare two texts by the cosine of their averaged word vectors (WordLlama): knows paraphrases."""
    one, two = checked(first), checked(second)
    if not one or not two:
        return Match(one == two, float(one == two))
    left, right = text_vectors([one, two])
    return _match(min(1.0, max(0.0, float(left @ right))), _SAME_VECTORS)


TOOLS: tuple[Tool[..., Any], ...] = (
    vote_confident,
    vote_words,
    combine_texts,
    combine_all,
    tally_labels,
    tally_scores,
    match_words,
    match_letters,
    match_vectors,
)


def bench_catalogue(profiles: ProfileBook | None = None) -> Catalogue:
    """Return the zoo's tools and the joins that can run on this machine, with `profiles` or those that ship."""
    usable = [item for item in (*zoo(), *TOOLS) if item.spec.unavailable() is None]
    return Catalogue(usable, profiles if profiles is not None else shipped_profiles().merge(_join_profiles()))


def _join_profiles() -> ProfileBook:
    file = importlib.resources.files("catp") / "datasets" / "profiles" / "joins.json"
    if not file.is_file():
        return ProfileBook()
    with importlib.resources.as_file(file) as path:
        return ProfileBook.load(path)


def _tokens(text: str) -> list[str]:
    """The words, each with the white space behind it: a space at the end of the text."""
    return _TOKEN.findall(f"{text} ")


def _aligned(one: list[str], two: list[str]) -> Iterator[tuple[list[str], list[str]]]:
    """Runs of words that stand for each other; runs of equal length are taken word by word."""
    left, right = ([word.rstrip() for word in side] for side in (one, two))
    for kind, a, b, c, d in difflib.SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if kind == "equal":
            yield one[a:b], one[a:b]
        elif b - a == d - c:
            yield from (([first], [second]) for first, second in zip(one[a:b], two[c:d], strict=True))
        else:
            yield one[a:b], two[c:d]


def _worth(run: list[str]) -> float:
    """The mean worth of the words, long ones counting more."""
    if not run:
        return _MISSING
    return sum(len(word) * worth(word.rstrip()) for word in run) / sum(map(len, run))


def _joined(first: str, second: str) -> str:
    before, after = first.split()[-_LONGEST_OVERLAP:], _tokens(second)
    begins = [word.strip() for word in after[:_LONGEST_OVERLAP]]
    for size in range(min(len(before), len(begins)), _OVERLAP - 1, -1):
        if before[-size:] == begins[:size]:
            rest = "".join(after[size:]).rstrip()
            return f"{first} {rest}" if rest else first
    return f"{first}\n\n{second}" if first and second else first or second


def _label(score: float) -> str:
    return "positive" if score >= _NEUTRAL else "negative" if score <= -_NEUTRAL else "neutral"


def _told(text: str) -> list[str]:
    return content_words(text) or words(text)


def _match(score: float, least: float) -> Match:
    return Match(score >= least, round(score, 4))
