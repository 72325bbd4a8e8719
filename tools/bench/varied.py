"""Inputs of every size that nobody has timed a tool on: random texts, photographs and pages, made from packaged data.

The bench's own cases (`texts`, `pictures`, `pages`) measure accuracy at a few sizes; these measure how well prices and
times are predicted at any size. They have no right answer, and the same seed makes the same inputs.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from catp.tools.bench.cases import IMAGE
from catp.tools.bench.damage import DAMAGES, Random, shrunk
from catp.tools.bench.pages import render
from catp.tools.bench.pictures import photographs, qr_code
from catp.tools.bench.texts import articles, load, misread
from catp.tools.builtin.prose import sentences

__all__ = ["CAPABILITIES", "varied"]

_SIDES = (64, 512)
"""Least and greatest width and height of a photograph."""
_SENTENCES = 150
"""Most sentences of a text: a few pages."""
_FONTS = ("DejaVuSans.ttf", "DejaVuSerif.ttf")


def varied(capability: str, random: Random) -> Mapping[str, Any]:
    """Return arguments for a call of any tool of a capability in `CAPABILITIES`, of random size and content."""
    return _MAKERS[capability](random)


@cache
def _sentences() -> tuple[str, ...]:
    found = [sentence for article in articles() for sentence in sentences(article.text)]
    found += [entry["text"] for name in ("sentiment", "entities", "language") for entry in load(name)]
    return tuple(found)


def _between(random: Random, low: float, high: float) -> int:
    """A whole number whose logarithm is uniform: as many small inputs as large ones."""
    return round(float(np.exp(random.uniform(np.log(low), np.log(high)))))


def _text(random: Random, most: int = _SENTENCES) -> str:
    count = _between(random, 1, most)
    return " ".join(_sentences()[int(place)] for place in random.integers(0, len(_sentences()), count))


def _damaged(image: Image.Image, random: Random) -> Image.Image:
    levels = DAMAGES[int(random.integers(len(DAMAGES)))][1]
    return levels[int(random.integers(len(levels)))](image, random) if levels else image


def _photograph(random: Random) -> Image.Image:
    photo = photographs()[int(random.integers(len(photographs())))]
    size = _between(random, *_SIDES), _between(random, *_SIDES)
    left, top = (int(random.integers(0, 512 - side + 1)) for side in size)
    cut = photo.crop((left, top, left + size[0], top + size[1]))
    return cut.convert("L") if random.random() < 0.3 else cut


def _picture(random: Random) -> dict[str, Any]:
    return {IMAGE: _damaged(_photograph(random), random)}


def _small_picture(random: Random) -> dict[str, Any]:
    return {IMAGE: shrunk(2)(_photograph(random), random)}


def _coded(random: Random) -> dict[str, Any]:
    scene = _photograph(random)
    code = qr_code(f"parcel {int(random.integers(1_000_000))}", int(random.integers(2, 5)))
    if random.random() < 0.8 and code.width < min(scene.size):
        scene.paste(code, (0, 0))
    return {IMAGE: _damaged(scene, random)}


def _page(random: Random) -> dict[str, Any]:
    font = _FONTS[int(random.integers(len(_FONTS)))]
    text = _text(random, 6)
    page = render(text, size=int(random.integers(14, 23)), columns=int(random.integers(24, 53)), font=font)
    return {IMAGE: _damaged(page, random)}


def _plain(random: Random) -> dict[str, Any]:
    return {"text": _text(random)}


def _misread(random: Random) -> dict[str, Any]:
    return {"text": misread(_text(random))}


def _asked(random: Random) -> dict[str, Any]:
    questions = load("questions")
    return {"text": _text(random), "question": questions[int(random.integers(len(questions)))]["question"]}


def _translated(random: Random) -> dict[str, Any]:
    return {"text": _text(random, 4), "target": ("es", "ca")[int(random.integers(2))]}


_MAKERS: dict[str, Callable[[Random], dict[str, Any]]] = {
    **dict.fromkeys(("language", "sentiment", "entities", "phrases", "summary"), _plain),
    **dict.fromkeys(("denoise", "deblur", "image_stats", "estimate_noise", "faces"), _picture),
    "spelling": _misread, "answer": _asked, "translation": _translated, "upscale": _small_picture, "codes": _coded,
    "ocr": _page,
}  # fmt: skip

CAPABILITIES = frozenset(_MAKERS)
