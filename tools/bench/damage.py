"""Damage to pictures at stated levels: what the restoring tools are measured against."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageFilter

from catp.tools.builtin.pixels import picture, pixels

__all__ = ["DAMAGES", "Damage", "Random", "blurred", "noisy", "shrunk", "specked"]

Random: TypeAlias = np.random.Generator
Damage: TypeAlias = Callable[[Image.Image, Random], Image.Image]


def noisy(sigma: float) -> Damage:
    """Gaussian noise of standard deviation `sigma` (0 to 255), clipped at black and white."""

    def apply(image: Image.Image, random: Random) -> Image.Image:
        array = pixels(image).astype(np.float64)
        return picture(array + random.normal(0.0, sigma, array.shape))

    return apply


def blurred(radius: float, sigma: float = 0.0) -> Damage:
    """A Gaussian blur of standard deviation `radius` pixels, then noise of `sigma`."""

    def apply(image: Image.Image, random: Random) -> Image.Image:
        soft = image.filter(ImageFilter.GaussianBlur(radius))
        return noisy(sigma)(soft, random) if sigma else soft

    return apply


def specked(share: float, radius: float = 0.0) -> Damage:
    """Black and white specks on `share` of all pixels, after a blur of `radius` pixels."""

    def apply(image: Image.Image, random: Random) -> Image.Image:
        array = pixels(image.filter(ImageFilter.GaussianBlur(radius)) if radius else image).copy()
        dice = random.random(array.shape[:2])
        array[dice < share / 2] = 0
        array[dice > 1 - share / 2] = 255
        return picture(array)

    return apply


def shrunk(factor: int) -> Damage:
    """A picture `factor` times smaller in both directions, each pixel the mean of those it replaces."""

    def apply(image: Image.Image, random: Random) -> Image.Image:
        del random
        return image.resize((max(1, image.width // factor), max(1, image.height // factor)), Image.Resampling.BOX)

    return apply


DAMAGES: tuple[tuple[str, tuple[Damage, ...]], ...] = (
    ("clean", ()),
    ("noisy", (noisy(15), noisy(30))),
    ("very_noisy", (noisy(65), noisy(90))),
    ("impulse", (specked(0.10, 1.3), specked(0.08), specked(0.14, 1.0))),
    ("blurred", (blurred(2.0), blurred(2.6))),
    ("blurred_noisy", (blurred(1.8, 15), blurred(2.2, 20))),
)
"""The condition each damage is meant to cause, and its levels; how hard it is shows in the measured accuracy."""
