"""The packaged texts with their answers, as cases for the tools that read text."""

import importlib.resources
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from catp.tools.bench.cases import Case
from catp.tools.bench.metrics import chrf, overlap_f1, unigram_f1, word_accuracy
from catp.tools.builtin.facts import text_condition
from catp.tools.builtin.prose import sentences
from catp.tools.builtin.records import Answer, Entities, KeyPhrases, Language, Sentiment, Summary, Translation

__all__ = ["Article", "articles", "load", "text_cases"]

_ANY = ("plain", "")
"""Texts that a tool returned have no condition; they are filed together with plain ones."""


@dataclass(frozen=True, slots=True)
class Article:
    """A short report, the phrases that say what it is about, and a one-sentence summary."""

    text: str
    phrases: list[str]
    summary: str


def load(name: str) -> list[dict[str, Any]]:
    """Return the examples of one packaged set, `datasets/zoo/NAME.json`."""
    file = importlib.resources.files("catp") / "datasets" / "zoo" / f"{name}.json"
    examples: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    return examples


@cache
def articles() -> tuple[Article, ...]:
    """The packaged articles."""
    return tuple(Article(**entry) for entry in load("articles"))


def text_cases(quick: bool = False) -> Iterator[Case]:
    """Yield the cases of every capability that works on text; `quick` takes every fourth."""
    every = slice(None, None, 4 if quick else 1)
    for entry in load("language")[every]:
        short = text_condition(entry["text"])
        labels = (short,) if short == "short" else _ANY
        yield Case("language", {"text": entry["text"]}, labels, partial(_language, entry["language"]))
    for entry in load("sentiment")[every]:
        yield Case("sentiment", {"text": entry["text"]}, _ANY, partial(_sentiment, entry["label"]))
    for entry in load("entities")[every]:
        pairs = list(zip(entry["items"], entry["labels"], strict=True))
        yield Case("entities", {"text": entry["text"]}, _ANY, partial(_entities, pairs))
    for article in articles()[every]:
        yield Case("phrases", {"text": article.text}, _ANY, partial(_phrases, article.phrases))
        yield Case("summary", {"text": article.text, "count": 1}, _ANY, partial(_summary, article.summary))
        yield Case("spelling", {"text": misread(article.text)}, _ANY, partial(_spelling, article.text))
    for entry in load("questions")[every]:
        text = articles()[entry["article"]].text
        answer = sentences(text)[entry["sentence"]]
        yield Case("answer", {"text": text, "question": entry["question"]}, _ANY, partial(_answer, answer))
    for entry in load("translations")[every]:
        for target in ("es", "ca"):
            args = {"text": entry["text"], "target": target}
            yield Case("translation", args, _ANY, partial(_translation, entry[target]))


def misread(text: str) -> str:
    """Return `text` with the kind of mistakes a reader makes on a bad page: one letter in thirty, look-alikes."""
    random = np.random.default_rng(len(text))
    alike = {"r": "n", "n": "r", "e": "c", "c": "e", "a": "o", "o": "a", "l": "i", "i": "l", "t": "f", "h": "b"}
    return "".join(alike.get(letter, letter) if random.random() < 1 / 20 else letter for letter in text)


def _language(code: str, found: Language) -> float:
    return float(found.code == code)


def _sentiment(label: str, found: Sentiment) -> float:
    return float(found.label == label)


def _entities(pairs: list[tuple[str, str]], found: Entities) -> float:
    """Half for the thing, half for its kind."""
    items, labels = [item for item, _ in pairs], list(zip(found.items, found.labels, strict=True))
    return (overlap_f1(found.items, items) + overlap_f1(labels, pairs)) / 2


def _phrases(wanted: list[str], found: KeyPhrases) -> float:
    """F1 over the words of the phrases: `solar panels` half meets `cheap solar`."""
    return overlap_f1([w for p in found.items for w in p.split()], [w for p in wanted for w in p.split()])


def _summary(wanted: str, found: Summary) -> float:
    return unigram_f1(found.text, wanted)


def _spelling(truth: str, found: str) -> float:
    return word_accuracy(found, truth)


def _answer(sentence: str, found: Answer) -> float:
    return float(found.text == sentence)


def _translation(wanted: str, found: Translation) -> float:
    return chrf(found.text, wanted)
