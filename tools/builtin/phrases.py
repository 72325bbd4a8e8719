"""Key phrases and summaries: what a text is about, in a few phrases or a few of its own sentences."""

import re
from collections import Counter
from typing import Any

from catp.tools.builtin.needs import needs
from catp.tools.builtin.prose import STOPWORDS, checked, content_words, sentences, words
from catp.tools.builtin.records import KeyPhrases, Summary
from catp.tools.decorator import Tool, tool
from catp.tools.price import ComputePrice

__all__ = ["TOOLS", "phrases_frequency", "phrases_textrank", "phrases_yake", "summary_frequency", "summary_lead"]

_COUNT = {"count": "how many phrases at most"}
_SENTENCES = {"count": "how many sentences"}
_BREAK = re.compile(r"[^\w\s'’-]+")
_LONGEST = 3


def _load_yake() -> None:
    import yake

    yake.KeywordExtractor(lan="en").extract_keywords("A warm-up sentence.")


@tool(capability="phrases", price=ComputePrice(), family="text", params=_COUNT)
def phrases_frequency(text: str, count: int = 5) -> KeyPhrases:
    """Rank runs of content words by how often their words occur: nearly free."""
    runs = _runs(text)
    often = Counter(word for run in runs for word in run)
    return _ranked(runs, dict(often), count)


@tool(capability="phrases", price=ComputePrice(), family="text", params=_COUNT)
def phrases_textrank(text: str, count: int = 5) -> KeyPhrases:
    """Rank runs of content words by the PageRank of words that occur near each other (Mihalcea and Tarau 2004)."""
    runs = _runs(text)
    return _ranked(runs, _pagerank([word for run in runs for word in run]), count)


@tool(
    capability="phrases",
    price=ComputePrice(),
    family="yake",
    setup=_load_yake,
    params=_COUNT,
    unavailable=needs("yake"),
)
def phrases_yake(text: str, count: int = 5) -> KeyPhrases:
    """Rank phrases by the statistics of their words' case, place, frequency and company (YAKE)."""
    import yake

    plain = checked(text)
    if not plain:
        return KeyPhrases([])
    found = yake.KeywordExtractor(lan="en", n=_LONGEST, top=4 * count).extract_keywords(plain)
    return KeyPhrases(_distinct([str(phrase).lower() for phrase, _ in found], count))


@tool(capability="summary", price=ComputePrice(), family="text", params=_SENTENCES)
def summary_lead(text: str, count: int = 2) -> Summary:
    """Take the first sentences: hard to beat on news and reports."""
    return Summary(" ".join(sentences(text)[: max(0, count)]))


@tool(capability="summary", price=ComputePrice(), family="text", params=_SENTENCES)
def summary_frequency(text: str, count: int = 2) -> Summary:
    """Take the sentences whose words occur most often in the text, in their own order."""
    found = sentences(text)
    often = Counter(content_words(text))

    def weight(place: int) -> float:
        kept = content_words(found[place])
        return sum(often[word] for word in kept) / (len(kept) + 3) if kept else 0.0

    best = sorted(range(len(found)), key=lambda place: (-weight(place), place))[: max(0, count)]
    return Summary(" ".join(found[place] for place in sorted(best)))


TOOLS: tuple[Tool[..., Any], ...] = (phrases_frequency, phrases_textrank, phrases_yake, summary_lead, summary_frequency)


def _runs(text: str) -> list[tuple[str, ...]]:
    """Runs of neighbouring content words, cut at punctuation and stop words, at most three words each."""
    runs: list[tuple[str, ...]] = []
    for part in _BREAK.split(checked(text)):
        run: list[str] = []
        for word in [*words(part), ""]:
            if word and word not in STOPWORDS["en"] and len(word) > 2 and not word.isdigit():
                run.append(word)
                continue
            if run:
                runs.extend(tuple(run[i : i + _LONGEST]) for i in range(0, len(run), _LONGEST))
            run = []
    return runs


def _ranked(runs: list[tuple[str, ...]], weights: dict[str, float] | dict[str, int], count: int) -> KeyPhrases:
    often = Counter(runs)
    score = {run: often[run] ** 0.5 * sum(weights[word] for word in run) / len(run) ** 0.5 for run in often}
    order = sorted(score, key=lambda run: -score[run])
    return KeyPhrases(_distinct([" ".join(run) for run in order], count))


def _distinct(phrases: list[str], count: int) -> list[str]:
    """The first `count` phrases, without those that contain, or are contained in, a better one."""
    kept: list[str] = []
    for phrase in phrases:
        if len(kept) >= count:
            break
        found = set(phrase.split())
        if not any(found <= set(other.split()) or found >= set(other.split()) for other in kept):
            kept.append(phrase)
    return kept


def _pagerank(tokens: list[str], window: int = 3, rounds: int = 25, damping: float = 0.85) -> dict[str, float]:
    near: dict[str, Counter[str]] = {word: Counter() for word in tokens}
    for place, word in enumerate(tokens):
        for other in tokens[place + 1 : place + window]:
            if other != word:
                near[word][other] += 1
                near[other][word] += 1
    total = {word: sum(links.values()) for word, links in near.items()}
    rank = dict.fromkeys(near, 1.0)
    for _ in range(rounds):
        rank = {
            word: 1 - damping + damping * sum(rank[other] * count / total[other] for other, count in links.items())
            for word, links in near.items()
        }
    return rank
