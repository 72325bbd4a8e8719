"""What the built-in tools return: small frozen records, each a nominal plan type named after its class."""

from dataclasses import dataclass
from typing import Any

__all__ = [
    "Answer",
    "Codes",
    "Entities",
    "Faces",
    "ImageStats",
    "KeyPhrases",
    "Language",
    "NoiseEstimate",
    "Reading",
    "Sentiment",
    "Summary",
    "Translation",
]


@dataclass(frozen=True, slots=True)
class Reading:
    """Text read from an image, in reading order, and the reader's own confidence in [0, 1]."""

    text: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Language:
    """An ISO 639-1 code (`und` if it cannot be told) and a confidence in [0, 1]."""

    code: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Sentiment:
    """`positive`, `negative` or `neutral`, and a score from -1 (worst) to 1 (best)."""

    label: str
    score: float


@dataclass(frozen=True, slots=True)
class KeyPhrases:
    """The phrases that say most about a text, most telling first."""

    items: list[str]


@dataclass(frozen=True, slots=True)
class Entities:
    """Named things in a text, in order of appearance; `labels[i]` says what `items[i]` is."""

    items: list[str]
    labels: list[str]


@dataclass(frozen=True, slots=True)
class Summary:
    """A shorter text that keeps the main points."""

    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The sentence that best answers a question, and how well it matches in [0, 1]."""

    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Translation:
    """A text in another language."""

    text: str


@dataclass(frozen=True, slots=True)
class Faces:
    """Faces found in a picture; each box is `{"x", "y", "w", "h"}` in pixels."""

    count: int
    boxes: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Codes:
    """The contents of the QR codes and barcodes in a picture."""

    items: list[str]


@dataclass(frozen=True, slots=True)
class ImageStats:
    """Size in pixels, and mean brightness and contrast (standard deviation) on a scale of 0 to 255."""

    width: int
    height: int
    mean: float
    contrast: float


@dataclass(frozen=True, slots=True)
class NoiseEstimate:
    """How damaged a picture is.

    `sigma` is the standard deviation of its noise (0 to 255), `impulse` the share of black and white specks,
    `blur` the width in pixels of the Gaussian that would explain its softest edges, and `condition` the label that
    profiles use: `clean`, `noisy`, `very_noisy`, `impulse`, `blurred`, `blurred_noisy` or `small`.
    """

    sigma: float
    impulse: float
    blur: float
    condition: str
