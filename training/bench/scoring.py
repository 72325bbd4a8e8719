"""Scores in [0, 1] of what a plan gave against what is true, by kind of output; 1 is exactly right.

    METRICS["cer"](reading, "The ferry leaves at noon.")
    mean_of("exact")(languages, ["en", "de"])

A value of the wrong kind scores 0, as a missing one does: a plan that returns something else has failed. The truth is
ours, so one that does not fit its metric raises.

| metric | value | truth | score |
|---|---|---|---|
| cer | text, or a record with `text` | text | 1 - character error rate |
| ssim | image | image | structural similarity of the brightness (Wang et al. 2004) |
| exact | text, bool, or a record with `code`, `label` or `same` | text or bool | 1 if equal |
| set_f1 | record with `items` | list of texts | F1 of the two bags of items |
| set_f1 | record with `items` and `labels` | list of (item, label) | half F1 of items, half F1 of pairs |
| word_f1 | record with `items` | list of phrases | F1 of the bags of words of all phrases |
| rouge_l | text, or a record with `text` | text | ROUGE-L, F1 (Lin 2004) |
| chrf | text, or a record with `text` | text | chrF2 (Popovic 2015) |
| boxes_f1 | record with `boxes` | list of boxes | F1 of boxes that share at least 0.3 of their union |
| answer | text, or a record with `text` | sentence | 1 if it is the sentence, else half of their chrF |
| stats | record with width, height, mean, contrast | the same | share of figures within 1 or 1 % |
"""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

import numpy as np
from PIL import Image

from catp.tools.bench.metrics import boxes_f1, character_accuracy, chrf, overlap_f1
from catp.tools.builtin.pixels import grey
from catp.tools.builtin.prose import MAX_CHARS, words

__all__ = ["METRICS", "Scorer", "common_words", "mean_of"]

Scorer: TypeAlias = Callable[[Any, Any], float]
"""Takes what the plan gave and the truth, returns a score in [0, 1]."""

T = TypeVar("T")

_WINDOW = 7
"""Side of the window of SSIM in pixels."""
_FIGURES = ("width", "height", "mean", "contrast")


def mean_of(metric: str) -> Scorer:
    """Return the scorer of lists of what `metric` scores: the mean over places, missing and surplus elements being 0.

    Two empty lists score 1. Raises `KeyError` if there is no such metric.
    """
    score = METRICS[metric]

    def mean(value: Any, truth: Sequence[Any]) -> float:
        if not isinstance(value, list | tuple):
            return 0.0
        scores = [score(found, wanted) for found, wanted in zip(value, truth, strict=False)]
        return sum(scores) / longest if (longest := max(len(value), len(truth))) else 1.0

    return mean


def common_words(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence of two sequences of words.

    One step per word of `second`, on all of `first` at once as the bits of one number (Hyyrö 2004).
    """
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    free = whole = (1 << len(first)) - 1
    for word in second:
        met = free & places.get(word, 0)
        free = ((free + met) | (free - met)) & whole
    return len(first) - free.bit_count()


def _scorer(read: Callable[[Any], T | None], score: Callable[[T, Any], float]) -> Scorer:
    """A scorer that is 0 for a value that cannot be read as what the metric is about, and never NaN."""

    def scored(value: Any, truth: Any) -> float:
        found = read(value)
        if found is None:
            return 0.0
        result = float(score(found, truth))
        return 0.0 if math.isnan(result) else min(1.0, max(0.0, result))

    return scored


def _field(value: Any, name: str) -> Any:
    """The field of a record, which may also be a mapping; None if it has none."""
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _text(value: Any) -> str | None:
    found = value if isinstance(value, str) else _field(value, "text")
    return found if isinstance(found, str) and len(found) <= MAX_CHARS else None


def _label(value: Any) -> str | bool | None:
    if isinstance(value, str | bool):
        return value
    found = (_field(value, name) for name in ("code", "label", "same"))
    return next((label for label in found if isinstance(label, str | bool)), None)


def _texts(value: Any) -> list[str] | None:
    fits = isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
    return list(value) if fits else None


def _items(value: Any) -> list[str] | None:
    return _texts(value if isinstance(value, list | tuple) else _field(value, "items"))


def _named(value: Any) -> tuple[list[str], list[tuple[str, str]]] | None:
    """The items, and the pairs of item and label if there is a label for each."""
    items = _items(value)
    if items is None:
        return None
    labels = _texts(_field(value, "labels")) or []
    return items, list(zip(items, labels, strict=True)) if len(labels) == len(items) else []


def _boxes(value: Any) -> list[dict[str, float]] | None:
    found = value if isinstance(value, list | tuple) else _field(value, "boxes")
    if not isinstance(found, list | tuple):
        return None
    boxes = [_figures(box, ("x", "y", "w", "h")) for box in found]
    whole = [box for box in boxes if box is not None and box["w"] > 0 and box["h"] > 0]
    return whole if len(whole) == len(boxes) else None


def _figures(value: Any, names: Sequence[str]) -> dict[str, float] | None:
    figures = {name: _field(value, name) for name in names}
    if not all(isinstance(figure, int | float) and abs(figure) < 1e9 for figure in figures.values()):
        return None
    return {name: float(figure) for name, figure in figures.items()}


def _measures(value: Any) -> dict[str, float] | None:
    return _figures(value, _FIGURES)


def _image(value: Any) -> Image.Image | None:
    if not (isinstance(value, Image.Image) and value.width and value.height):
        return None
    try:
        value.load()
    except (OSError, ValueError):  # a file that ends too early, or is closed
        return None
    return value if value.mode != "F" or np.isfinite(np.asarray(value)).all() else None


def _ssim(image: Image.Image, truth: Image.Image) -> float:
    """Windows of 7 x 7 pixels; pictures too small for one score one minus their mean error, as a share of 255."""
    if image.size != truth.size:
        image = image.resize(truth.size, Image.Resampling.BICUBIC)
    found, wanted = grey(image).astype(np.float64), grey(truth).astype(np.float64)
    if min(truth.size) < _WINDOW:
        return 1.0 - float(np.abs(found - wanted).mean()) / 255.0
    from skimage.metrics import structural_similarity

    similarity: Any = structural_similarity  # skimage has no types
    return float(similarity(wanted, found, win_size=_WINDOW, data_range=255.0))


def _exact(found: object, truth: object) -> float:
    return float(found == truth)


def _set_f1(found: tuple[list[str], list[tuple[str, str]]], truth: Sequence[Any]) -> float:
    items, pairs = found
    if not truth or isinstance(truth[0], str):
        return overlap_f1(items, truth)
    wanted = [(item, label) for item, label in truth]
    return (overlap_f1(items, [item for item, _ in wanted]) + overlap_f1(pairs, wanted)) / 2


def _word_f1(found: list[str], truth: Sequence[str]) -> float:
    return overlap_f1([w for phrase in found for w in words(phrase)], [w for phrase in truth for w in words(phrase)])


def _rouge_l(found: str, truth: str) -> float:
    said, wanted = words(found), words(truth)
    return 2 * common_words(said, wanted) / (len(said) + len(wanted)) if said or wanted else 1.0


def _answer(found: str, truth: str) -> float:
    return 1.0 if found.split() == truth.split() else chrf(found, truth) / 2


def _stats(found: dict[str, float], truth: Any) -> float:
    wanted = {name: float(_field(truth, name)) for name in _FIGURES}
    return sum(abs(found[name] - wanted[name]) <= max(1.0, abs(wanted[name]) / 100) for name in _FIGURES) / len(
        _FIGURES
    )


METRICS: Mapping[str, Scorer] = MappingProxyType(
    {
        "cer": _scorer(_text, character_accuracy),
        "ssim": _scorer(_image, _ssim),
        "exact": _scorer(_label, _exact),
        "set_f1": _scorer(_named, _set_f1),
        "word_f1": _scorer(_items, _word_f1),
        "rouge_l": _scorer(_text, _rouge_l),
        "chrf": _scorer(_text, chrf),
        "boxes_f1": _scorer(_boxes, boxes_f1),
        "answer": _scorer(_text, _answer),
        "stats": _scorer(_measures, _stats),
    }
)
"""The metrics by name."""
