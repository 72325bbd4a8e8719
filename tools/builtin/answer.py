"""Retrieval question answering: the sentence of a text that answers a question, by words or by meaning."""

import functools
import importlib.util
import math
from collections import Counter
from pathlib import Path
from typing import Any

from catp.tools.builtin.arrays import np
from catp.tools.builtin.needs import needs
from catp.tools.builtin.pixels import Array
from catp.tools.builtin.prose import content_words, sentences
from catp.tools.builtin.records import Answer
from catp.tools.decorator import Tool, tool
from catp.tools.price import ComputePrice

__all__ = ["TOOLS", "answer_bm25", "answer_vectors", "load_vectors", "text_vectors"]

_NONE = Answer("", 0.0)


@functools.cache
def load_vectors() -> tuple[Any, Array]:
    """The tokenizer and the 32,000 vectors from the wheel's files; the package's own loader would go online."""
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    spec = importlib.util.find_spec("wordllama")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent
    tokenizer = Tokenizer.from_file(str(folder / "tokenizers" / "l2_supercat_tokenizer_config.json"))
    return tokenizer, load_file(folder / "weights" / "l2_supercat_256.safetensors")["embedding.weight"]


@tool(capability="answer", price=ComputePrice(), family="text")
def answer_bm25(text: str, question: str) -> Answer:
    """Find the sentence that shares the rarest words with the question (BM25): nearly free, blind to synonyms."""
    found = sentences(text)
    wanted = set(_stems(question))
    if not found or not wanted:
        return _NONE
    documents = [Counter(_stems(sentence)) for sentence in found]
    mean = sum(sum(document.values()) for document in documents) / len(documents) or 1.0
    rarity = {word: _rarity(sum(word in document for document in documents), len(documents)) for word in wanted}

    def score(document: Counter[str]) -> float:
        length = 1.2 * (0.25 + 0.75 * sum(document.values()) / mean)
        return sum(rarity[word] * document[word] * 2.2 / (document[word] + length) for word in wanted)

    scores = [score(document) for document in documents]
    best = max(range(len(found)), key=scores.__getitem__)
    return (
        Answer(found[best], round(min(1.0, scores[best] / (sum(rarity.values()) or 1.0)), 4)) if scores[best] else _NONE
    )


@tool(
    capability="answer",
    price=ComputePrice(),
    family="vectors",
    setup=load_vectors,
    unavailable=needs("wordllama", "tokenizers", "safetensors"),
)
def answer_vectors(text: str, question: str) -> Answer:
    """Find the sentence closest in meaning to the question, by averaged word vectors (WordLlama)."""
    found = sentences(text)
    if not found or not question.strip():
        return _NONE
    asked = text_vectors([question])[0]
    scores = text_vectors(found) @ asked
    best = int(np.argmax(scores))
    return Answer(found[best], round(float(np.clip(scores[best], 0.0, 1.0)), 4))


TOOLS: tuple[Tool[..., Any], ...] = (answer_bm25, answer_vectors)


def _rarity(count: int, total: int) -> float:
    return math.log(1.0 + (total - count + 0.5) / (count + 0.5))


def _stems(text: str) -> list[str]:
    """Content words without their commonest English endings, so that `opened` meets `opening`."""
    return [_stem(word) for word in content_words(text)]


def _stem(word: str) -> str:
    for ending in ("ings", "ing", "edly", "ed", "ies", "es", "s", "ly"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def text_vectors(texts: list[str]) -> Array:
    """Return the averaged word vectors of the texts, of length 1, one a row."""
    tokenizer, table = load_vectors()
    means = [
        table[encoding.ids or [0]].astype(np.float32).mean(axis=0)
        for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)
    ]
    stacked = np.stack(means)
    return np.asarray(stacked / np.maximum(np.linalg.norm(stacked, axis=1, keepdims=True), 1e-9))
