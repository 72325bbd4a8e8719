"""Pages of text with exact truth: rendered, damaged, and given to the readers with and without restoration."""

from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from catp.tools.bench.cases import IMAGE, Case, condition_of
from catp.tools.bench.damage import DAMAGES, blurred, noisy, specked
from catp.tools.bench.metrics import character_accuracy
from catp.tools.bench.texts import articles
from catp.tools.builtin.prose import sentences
from catp.tools.builtin.records import Reading

__all__ = ["page_cases", "pages", "render"]

_DENOISE = ("denoise_median", "denoise_bilateral", "denoise_wavelet", "denoise_nlm", "denoise_dct", "denoise_dct_fine")
_DEBLUR = ("deblur_unsharp", "deblur_wiener", "deblur_rl10", "deblur_rl30", "deblur_tv")
_UPSCALE = ("upscale_bicubic", "upscale_lanczos", "upscale_backproject")

_FEW = (("denoise_median",), ("denoise_dct",), ("upscale_lanczos",))
_HELPERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "clean": (("denoise_median",),),
    "noisy": tuple((name,) for name in _DENOISE),
    "very_noisy": tuple((name,) for name in _DENOISE),
    "impulse": (
        ("denoise_median",), ("denoise_bilateral",), ("denoise_dct",),
        *(("denoise_median", name) for name in _DEBLUR),
    ),
    "blurred": (*((name,) for name in _DEBLUR), ("denoise_bilateral",)),
    "blurred_noisy": (
        *((name,) for name in _DENOISE),
        *((first, then) for first in ("denoise_bilateral", "denoise_dct") for then in _DEBLUR),
    ),
    "small": (*((name,) for name in _UPSCALE), ("upscale_lanczos", "deblur_unsharp")),
}  # fmt: skip
"""What to put before a reader: never two denoisers, whose difference is below what so few pages can show.

Labels without a measurement fall back to the label one step shorter.
"""


def render(text: str, *, size: int = 18, columns: int = 52, font: str = "DejaVuSans.ttf") -> Image.Image:
    """Return `text`, wrapped at `columns` characters, as black print on white paper, in a font matplotlib ships."""
    letters = _font(font, size)
    lines, line = [], ""
    for word in text.split():
        if len(line) + len(word) >= columns:
            lines.append(line)
            line = ""
        line = f"{line} {word}".strip()
    lines.append(line)
    pitch = int(size * 1.55)
    width = int(max(letters.getlength(line) for line in lines)) + 2 * pitch
    page = Image.new("L", (width, pitch * (len(lines) + 1)), 250)
    draw = ImageDraw.Draw(page)
    for number, line in enumerate(lines):
        draw.text((pitch, int(pitch * (number + 0.5))), line, fill=20, font=letters)
    return page


def pages(quick: bool = False) -> Iterator[tuple[str, Image.Image, Image.Image]]:
    """Yield text, clean page and damaged page; the levels of a damage take turns with two styles of print."""
    random = np.random.default_rng(7)
    styles = (("DejaVuSans.ttf", 18), ("DejaVuSerif.ttf", 16))
    texts = [" ".join(sentences(articles()[number].text)[:3]) for number in (0, 1)]
    clean = [render(text, size=size, font=font) for text, (font, size) in zip(texts, styles, strict=True)]
    for number in range(1 if quick else 2):
        yield texts[number], clean[number], clean[number]
        tiny = render(texts[number], size=8, font=styles[number][0], columns=60)
        yield texts[number], tiny, tiny
    for _, levels in DAMAGES:
        for place, damage in enumerate(levels[: 1 if quick else None]):
            yield texts[place % 2], clean[place % 2], damage(clean[place % 2], random)
    if not quick:
        yield from _two_columns(random)


def page_cases(quick: bool = False) -> Iterator[Case]:
    """Yield the readers' cases: each page as it is and after every chain of restoring tools that may help.

    Every page of a condition gets every chain, so that labels can be compared with each other.
    """
    for text, _, page in pages(quick):
        condition = condition_of(page)
        chains = tuple(chain for chain in _HELPERS[condition] if not quick or chain in _FEW)
        yield Case("ocr", {IMAGE: page}, (condition,), partial(_reading, text), chains)
    random, full = np.random.default_rng(11), articles()[3].text
    for damage in () if quick else (noisy(30), specked(0.10, 1.3), blurred(2.2, 20)):
        page = damage(render(full, size=22, columns=58), random)
        yield Case("ocr", {IMAGE: page}, (), partial(_reading, full))  # for the price of a large page only


def _reading(truth: str, found: Reading) -> float:
    return character_accuracy(found.text, truth)


def _two_columns(random: np.random.Generator) -> Iterator[tuple[str, Image.Image, Image.Image]]:
    """A sheet that only a reader which finds columns can read."""
    left, right = (" ".join(sentences(articles()[number].text)[:2]) for number in (4, 5))
    sheet = _side_by_side(render(left, columns=26), render(right, columns=26))
    for damage in (noisy(1), noisy(30), noisy(65), specked(0.10, 1.3), blurred(2.0), blurred(1.8, 15)):
        yield f"{left} {right}", sheet, damage(sheet, random)


def _side_by_side(left: Image.Image, right: Image.Image) -> Image.Image:
    sheet = Image.new("L", (left.width + right.width, max(left.height, right.height)), 250)
    sheet.paste(left, (0, 0))
    sheet.paste(right, (left.width, 0))
    return sheet


@cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)
