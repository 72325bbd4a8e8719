"""Scores in [0, 1] for results of every kind, 1 being exactly right."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from catp.tools.builtin.pixels import grey
from catp.tools.builtin.prose import words

__all__ = ["boxes_f1", "character_accuracy", "chrf", "edit_distance", "mended", "overlap_f1", "psnr", "unigram_f1",
           "word_accuracy"]  # fmt: skip

_UNDAMAGED_MSE = 10.0
"""Mean squared error (38 dB) below which a picture counts as undamaged: less than a step of JPEG at high quality."""


def edit_distance(left: Sequence[Hashable], right: Sequence[Hashable]) -> int:
    """The fewest insertions, deletions and replacements that turn one sequence into the other (Levenshtein).

    One step per item of `right`, on a whole column of the table at once: bit i of `up` and `down` says whether the
    entry for i + 1 items of `left` is greater or less by one than the entry above it (Myers 1999, Hyyrö 2003).
    """
    if not left:
        return len(right)
    places: dict[Hashable, int] = {}
    for place, item in enumerate(left):
        places[item] = places.get(item, 0) | 1 << place
    whole, last, distance = (1 << len(left)) - 1, 1 << (len(left) - 1), len(left)
    up, down = whole, 0
    for item in right:
        same = places.get(item, 0)
        diagonal = (((same & up) + up) ^ up) | same | down
        more, less = down | (~(diagonal | up) & whole), up & diagonal
        distance += bool(more & last) - bool(less & last)
        more, less = more << 1 | 1, less << 1
        up = (less | ~(diagonal | more)) & whole
        down = more & diagonal & whole
    return distance


def character_accuracy(read: str, truth: str) -> float:
    """One minus the character error rate, white space normalised, at least 0."""
    found, wanted = " ".join(read.split()), " ".join(truth.split())
    return max(0.0, 1.0 - edit_distance(found, wanted) / len(wanted)) if wanted else float(not found)


def word_accuracy(read: str, truth: str) -> float:
    """One minus the word error rate, at least 0."""
    found, wanted = read.split(), truth.split()
    return max(0.0, 1.0 - edit_distance(found, wanted) / len(wanted)) if wanted else float(not found)


def psnr(image: Image.Image, truth: Image.Image) -> float:
    """Peak signal-to-noise ratio in dB of the brightness; pictures of different size are compared at the truth's."""
    error = _mse(image, truth)
    return float("inf") if error == 0 else 10 * float(np.log10(255.0**2 / error))


def mended(restored: Image.Image, damaged: Image.Image, truth: Image.Image) -> float:
    """The share of the squared error that a restoration removed: 0 if it removed none or did harm, 1 if all.

    A picture that was not damaged keeps 1 as long as it is left as it was.
    """
    return float(np.clip(1.0 - _mse(restored, truth) / max(_UNDAMAGED_MSE, _mse(damaged, truth)), 0.0, 1.0))


def overlap_f1(found: Sequence[Any], wanted: Sequence[Any]) -> float:
    """F1 of two bags of items."""
    common = sum((Counter(found) & Counter(wanted)).values())
    return 2 * common / (len(found) + len(wanted)) if found or wanted else 1.0


def unigram_f1(found: str, wanted: str) -> float:
    """ROUGE-1 F: F1 of two bags of words."""
    return overlap_f1(words(found), words(wanted))


def chrf(found: str, wanted: str, order: int = 6, beta: float = 2.0) -> float:
    """Character n-gram F-score (Popovic 2015), spaces left out, recall weighed twice."""
    left, right = "".join(found.split()), "".join(wanted.split())
    scores = []
    for size in range(1, order + 1):
        a = Counter(left[i : i + size] for i in range(len(left) - size + 1))
        b = Counter(right[i : i + size] for i in range(len(right) - size + 1))
        if not b:
            break
        common = sum((a & b).values())
        precision, recall = common / max(1, sum(a.values())), common / sum(b.values())
        weighed = beta**2 * precision + recall
        scores.append((1 + beta**2) * precision * recall / weighed if weighed else 0.0)
    return sum(scores) / len(scores) if scores else float(not left)


def boxes_f1(found: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]], least: float = 0.3) -> float:
    """F1 of boxes, two of which match if they share at least `least` of their union."""
    free = list(wanted)
    hits = 0
    for box in found:
        best = max(free, key=lambda other: _shared(box, other), default=None)
        if best is not None and _shared(box, best) >= least:
            free.remove(best)
            hits += 1
    return 2 * hits / (len(found) + len(wanted)) if found or wanted else 1.0


def _shared(a: Mapping[str, float], b: Mapping[str, float]) -> float:
    across = min(a["x"] + a["w"], b["x"] + b["w"]) - max(a["x"], b["x"])
    down = min(a["y"] + a["h"], b["y"] + b["h"]) - max(a["y"], b["y"])
    common = max(0, across) * max(0, down)
    return common / (a["w"] * a["h"] + b["w"] * b["h"] - common)


def _mse(image: Image.Image, truth: Image.Image) -> float:
    if image.size != truth.size:
        image = image.resize(truth.size, Image.Resampling.BICUBIC)
    return float(np.mean((grey(image).astype(np.float64) - grey(truth)) ** 2))
