"""What the demo's tools compute: small deterministic functions of pictures and texts, with plain types."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from PIL import Image

from catp.dashboard.demo_pictures import SUBJECTS, card, subject_of
from catp.tools.builtin.records import KeyPhrases, Language, Reading, Sentiment, Summary, Translation

__all__ = ["FUNCTIONS"]

_GOOD = frozenset({"lovely", "wonderful", "beautiful", "good", "warm", "herrlich", "wunderbar", "hermoso", "bueno"})
_BAD = frozenset({"bad", "terrible", "late", "mauvaise", "ritardo", "without", "tarde"})
_TELLING = {"das": "de", "wir": "de", "le": "fr", "sans": "fr", "el": "es", "es": "es", "il": "it", "era": "it"}


_EDGES = 0.02
"""Share of pixels that differ from their neighbours in a picture without specks."""


def denoise_fast(image: Image.Image) -> Image.Image:
    """Take specks away with one small median filter: quick, leaves some of them."""
    from PIL import ImageFilter

    return image.filter(ImageFilter.MedianFilter(3))


def denoise_deep(image: Image.Image) -> Image.Image:
    """Take specks away and bring the edges back: slower, and hardly one is left."""
    from PIL import ImageFilter

    return image.filter(ImageFilter.MedianFilter(5)).filter(ImageFilter.UnsharpMask(2, 60, 2))


def colourise(image: Image.Image) -> Image.Image:
    """Give a grey scan the colours its subject should have; what cannot be recognised becomes sepia."""
    from PIL import ImageOps

    about = subject_of(image)
    if about is None:
        return ImageOps.colorize(image.convert("L"), (46, 30, 18), (250, 238, 214))
    light = image.convert("YCbCr").split()[0]
    _, blue, red = card(SUBJECTS.index(about)).resize(image.size).convert("YCbCr").split()
    return Image.merge("YCbCr", (light, blue, red)).convert("RGB")


def upscale(image: Image.Image) -> Image.Image:
    """Double the width and height."""
    return image.resize((image.width * 2, image.height * 2), Image.Resampling.LANCZOS)


def tiles(image: Image.Image) -> list[Image.Image]:
    """Cut an image into six tiles, three by two."""
    wide, high = image.width // 3, image.height // 2
    return [image.crop((x * wide, y * high, (x + 1) * wide, (y + 1) * high)) for y in range(2) for x in range(3)]


def caption_small(image: Image.Image) -> Reading:
    """Describe an image in a few words, from its colours alone."""
    red, green, blue = np.asarray(image.convert("RGB"), dtype=np.float64).reshape(-1, 3).mean(axis=0)
    tint = "red" if red > max(green, blue) + 12 else "blue" if blue > max(red, green) + 4 else "green or grey"
    light = "bright" if red + green + blue > 480 else "dim"
    return Reading(f"a {light} picture, mostly {tint}", 0.62)


def caption_large(image: Image.Image) -> Reading:
    """Describe what a card shows."""
    about = subject_of(image)
    if about is None:
        return caption_small(image)
    return Reading(f"A postcard of {about.shows}.", 0.93)


def ocr(image: Image.Image) -> Reading:
    """Read what is written on a card; the more it is worn, the more letters are lost."""
    about = subject_of(image)
    if about is None:
        raise ValueError("no text found")
    from PIL import ImageFilter

    grey = image.convert("L")
    smooth = np.asarray(grey.filter(ImageFilter.MedianFilter(3)), dtype=np.int16)
    worn = max(0.0, float(np.mean(np.abs(np.asarray(grey, dtype=np.int16) - smooth) > 60)) - _EDGES)
    every = max(4, round(0.5 / worn)) if worn else len(about.text) + 1
    text = "".join("·" if (place + 1) % every == 0 and c.isalpha() else c for place, c in enumerate(about.text))
    return Reading(text, round(max(0.3, 0.97 - 2 * worn), 2))


def language(text: str) -> Language:
    """Tell the language of a text by its small words."""
    words = text.lower().split()
    for word in words:
        if word in _TELLING:
            return Language(_TELLING[word], 0.9)
    return Language("en" if words else "und", 0.8 if words else 0.0)


def translate(text: str, to: str = "en") -> Translation:
    """Translate a text into English, if it is that of a card; other texts are handed back."""
    start = text.split()[:1]
    for about in SUBJECTS:
        if about.text.split()[:1] == start:
            return Translation(about.english if to == "en" else about.text)
    return Translation(text)


def summarise(text: str) -> Summary:
    """Keep the first sentence."""
    return Summary(text.split(". ")[0].rstrip(".") + ".")


def sentiment(text: str) -> Sentiment:
    """Weigh kind words against unkind ones."""
    words = [word.strip(".,!").lower() for word in text.split()]
    score = sum(word in _GOOD for word in words) - sum(word in _BAD for word in words)
    return Sentiment(
        "positive" if score > 0 else "negative" if score < 0 else "neutral", max(-1.0, min(1.0, score / 3))
    )


def objects(image: Image.Image) -> KeyPhrases:
    """List what can be seen on a card."""
    about = subject_of(image)
    small = {"a", "an", "the", "on", "in", "with", "between", "over", "at", "two", "three"}
    return KeyPhrases([] if about is None else [word for word in about.shows.split() if word not in small])


def compose(title: str, parts: list[str], style: Literal["plain", "list"] = "plain") -> str:
    """Write a report out of its parts."""
    lines = [part if style == "plain" else f"- {part}" for part in parts]
    return "\n".join([title, "=" * min(60, len(title)), "", *lines])


def publish(text: str) -> str:
    """Put a text up where everybody can read it."""
    return f"https://example.test/cards/{len(text):04d}"


_ALL: tuple[Callable[..., Any], ...] = (
    denoise_fast, denoise_deep, colourise, upscale, tiles, caption_small, caption_large, ocr, language, translate,
    summarise, sentiment, objects, compose, publish,
)  # fmt: skip

FUNCTIONS = {function.__name__: function for function in _ALL}
