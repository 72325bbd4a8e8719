"""The pictures of the demo: postcards drawn with Pillow, worn out so that what a tool does to them can be seen.

A card is a scene above a strip with a printed code, four cells, that says which `Subject` it is: whatever "reads" a
card really reads the code off its pixels, and fails if they do not show it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["SUBJECTS", "Subject", "card", "subject_of"]

_RGB: TypeAlias = tuple[int, int, int]
_Shape: TypeAlias = tuple[str, tuple[int, ...], _RGB]

_WIDTH, _HEIGHT, _STRIP = 192, 144, 24
_CELL = 12
_MARK: _RGB = (24, 28, 36)
_PAPER: _RGB = (246, 240, 226)


@dataclass(frozen=True, slots=True)
class Subject:
    """One card: what it shows, what is written on it, in which language, and how it is drawn."""

    shows: str
    text: str
    language: str
    english: str
    sky: _RGB
    shapes: tuple[_Shape, ...]


SUBJECTS = (
    Subject(
        "a red house between two hills", "Das Wetter ist herrlich und die Berge sind wunderbar. Wir bleiben noch.",
        "de", "The weather is lovely and the mountains are wonderful. We are staying on.", (126, 178, 226),
        (
            ("polygon", (0, 112, 60, 52, 124, 120, 192, 64, 192, 144, 0, 144), (96, 150, 82)),
            ("rectangle", (78, 92, 124, 130), (186, 62, 52)),
            ("polygon", (70, 94, 101, 66, 132, 94), (90, 50, 44)),
            ("rectangle", (94, 108, 108, 130), (240, 220, 150)),
        ),
    ),
    Subject(
        "a sailing boat at sunset", "Le bateau est parti sans nous. La mer était mauvaise, le repas aussi.",
        "fr", "The boat left without us. The sea was bad, and so was the meal.", (244, 158, 96),
        (
            ("ellipse", (128, 40, 164, 76), (255, 232, 150)),
            ("rectangle", (0, 92, 192, 144), (48, 98, 148)),
            ("polygon", (66, 96, 66, 28, 112, 92), (250, 250, 244)),
            ("polygon", (60, 92, 60, 44, 34, 92), (214, 72, 64)),
            ("polygon", (28, 98, 124, 98, 110, 118, 42, 118), (96, 62, 40)),
        ),
    ),
    Subject(
        "a lighthouse on a cliff", "Greetings from the coast. The light is beautiful and the bread is good.",
        "en", "Greetings from the coast. The light is beautiful and the bread is good.", (150, 200, 220),
        (
            ("rectangle", (0, 110, 192, 144), (52, 112, 150)),
            ("polygon", (0, 78, 96, 88, 122, 144, 0, 144), (120, 112, 96)),
            ("polygon", (52, 84, 58, 28, 74, 28, 80, 84), (248, 246, 240)),
            ("rectangle", (54, 50, 78, 62), (196, 58, 52)),
            ("ellipse", (56, 14, 76, 32), (255, 224, 96)),
        ),
    ),
    Subject(
        "a bridge over a river", "El puente es hermoso. La ciudad duerme tarde y el café es bueno.",
        "es", "The bridge is beautiful. The city sleeps late and the coffee is good.", (206, 214, 236),
        (
            ("rectangle", (0, 100, 192, 144), (72, 136, 156)),
            ("rectangle", (0, 66, 192, 80), (150, 104, 76)),
            ("ellipse", (18, 76, 86, 140), (72, 136, 156)),
            ("rectangle", (86, 66, 102, 128), (130, 88, 64)),
            ("rectangle", (6, 66, 18, 128), (130, 88, 64)),
            ("rectangle", (170, 66, 184, 128), (130, 88, 64)),
        ),
    ),
    Subject(
        "three trees in the snow", "Il treno era in ritardo e la neve terribile, ma la casa è calda.",
        "it", "The train was late and the snow terrible, but the house is warm.", (176, 190, 214),
        (
            ("rectangle", (0, 104, 192, 144), (238, 242, 246)),
            ("polygon", (14, 112, 42, 34, 70, 112), (44, 104, 76)),
            ("polygon", (66, 118, 98, 22, 130, 118), (36, 90, 64)),
            ("polygon", (126, 112, 152, 46, 178, 112), (58, 118, 88)),
        ),
    ),
    Subject(
        "a market square with a tower", "Invoice 1042. Two rooms, three nights, paid in full. Thank you, come again.",
        "en", "Invoice 1042. Two rooms, three nights, paid in full. Thank you, come again.", (228, 206, 166),
        (
            ("rectangle", (0, 112, 192, 144), (168, 140, 110)),
            ("rectangle", (84, 30, 112, 118), (204, 120, 84)),
            ("polygon", (78, 32, 98, 6, 118, 32), (110, 62, 58)),
            ("polygon", (14, 96, 38, 78, 62, 96), (62, 124, 170)),
            ("polygon", (130, 96, 154, 78, 178, 96), (206, 72, 84)),
            ("ellipse", (90, 42, 106, 58), (250, 246, 226)),
        ),
    ),
)  # fmt: skip


def card(subject: int, *, worn: float = 0.0, colour: bool = True, seed: int = 0) -> "Image":
    """Draw the card of a subject (0 to 5), 192 x 168 pixels.

    `worn` is the share of its pixels that are specks, which denoising takes away; without `colour` it is a grey scan.
    """
    from PIL import Image, ImageDraw

    about = SUBJECTS[subject]
    image = Image.new("RGB", (_WIDTH, _HEIGHT + _STRIP), _PAPER)
    draw = ImageDraw.Draw(image)
    for y in range(_HEIGHT):
        red, green, blue = (round(c + (255 - c) * 0.6 * y / _HEIGHT) for c in about.sky)
        draw.line([(0, y), (_WIDTH, y)], fill=(red, green, blue))
    for shape, points, fill in about.shapes:
        getattr(draw, shape)(points, fill=fill)
    draw.rectangle((0, _HEIGHT, _WIDTH, _HEIGHT + _STRIP), fill=_PAPER)
    for cell, marked in enumerate(_code(subject)):
        if marked:
            draw.rectangle(_cell(cell), fill=_MARK)
    draw.text((108, _HEIGHT + 6), f"card {subject + 1:02d}", fill=_MARK)
    if not colour:
        image = image.convert("L").convert("RGB")
    return _specked(image, worn, seed + 101 * subject) if worn else image


def subject_of(image: "Image") -> Subject | None:
    """Return the subject whose code is printed on the strip, None if it cannot be read."""
    grey = np.asarray(image.convert("L").resize((_WIDTH, _HEIGHT + _STRIP)), dtype=np.float64)
    seen = []
    for cell in range(4):
        left, top, right, bottom = _cell(cell)
        seen.append(bool(np.median(grey[top + 2 : bottom - 1, left + 2 : right - 1]) < 128))
    number = sum(marked << bit for bit, marked in enumerate(seen[:3]))
    return SUBJECTS[number] if number < len(SUBJECTS) and _code(number) == seen else None


def _code(subject: int) -> list[bool]:
    """Three bits and their odd parity: an empty strip is no code."""
    bits = [bool(subject >> bit & 1) for bit in range(3)]
    return [*bits, sum(bits) % 2 == 0]


def _cell(cell: int) -> tuple[int, int, int, int]:
    left = 8 + cell * (_CELL + 6)
    return left, _HEIGHT + 6, left + _CELL, _HEIGHT + 6 + _CELL


def _specked(image: "Image", share: float, seed: int) -> "Image":
    from PIL import Image

    rng = np.random.default_rng([seed, 7])
    pixels = np.array(image)
    hit = rng.random(pixels.shape[:2]) < share
    pixels[hit] = np.where(rng.random(int(hit.sum())) < 0.5, 20, 235)[:, None]
    return Image.fromarray(pixels)
