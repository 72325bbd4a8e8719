"""Regenerate `examples/scan.png`: a page of text after a bad photocopier, byte for byte the same each time.

The page is set in Pillow's own font and then loses what real copies lose: focus, straightness, even light, and about a
tenth of its pixels to black and white specks. `examples/scan.txt` holds what the page says, so that anybody can
measure how well a plan read it.

Run: python examples/make_scan.py [OUTPUT.png]
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

HERE = Path(__file__).parent
WIDTH, HEIGHT = 700, 500
LETTER_SIZE, LINE_PITCH, MARGIN = 19, 30, 40
TILT, FOCUS, GRAIN, SPECKS = 0.4, 1.3, 6.0, 0.11


def clean_page(text: str) -> Image.Image:
    """Return the page as the printer left it: one line of `text` per line of print."""
    page = Image.new("L", (WIDTH, HEIGHT), 250)
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(LETTER_SIZE)
    for number, line in enumerate(text.splitlines()):
        draw.text((MARGIN, MARGIN + number * LINE_PITCH), line, fill=25, font=font)
    return page


def copied(page: Image.Image) -> Image.Image:
    """Return the page as the photocopier left it."""
    random = np.random.default_rng(1959)
    tilted = page.rotate(TILT, Image.Resampling.BICUBIC, fillcolor=250).filter(ImageFilter.GaussianBlur(FOCUS))
    down, across = np.mgrid[0:HEIGHT, 0:WIDTH]
    light = 1.0 - 0.22 * across / WIDTH - 0.10 * (down / HEIGHT) ** 2
    grey = np.asarray(tilted, dtype=np.float64) * light + random.normal(0.0, GRAIN, (HEIGHT, WIDTH))
    dice = random.random((HEIGHT, WIDTH))
    grey[dice < SPECKS / 2] = 0
    grey[dice > 1 - SPECKS / 2] = 255
    return Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8))


def main() -> None:
    """Write the scan."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "scan.png"
    copied(clean_page((HERE / "scan.txt").read_text(encoding="utf-8"))).save(target, optimize=True)
    print(f"{target}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
