"""Deblurring under a Gaussian point spread function whose width is given or measured.

Iterative methods gain most on clean pictures and amplify noise on others: remove noise first.
"""

from typing import Any

from PIL import Image

from catp.tools.builtin.arrays import np
from catp.tools.builtin.needs import needs
from catp.tools.builtin.pixels import Array, one_thread, per_channel, picture, pixels
from catp.tools.builtin.probes import probe
from catp.tools.decorator import Tool, tool
from catp.tools.price import ComputePrice

__all__ = ["TOOLS", "deblur_rl10", "deblur_rl30", "deblur_tv", "deblur_unsharp", "deblur_wiener"]

_SIGMA = {"sigma": "standard deviation of the blur in pixels; measured if left out"}
_PAD = 24


@tool(
    capability="deblur",
    price=ComputePrice(),
    family="vision",
    setup=one_thread,
    params=_SIGMA,
    unavailable=needs("cv2"),
)
def deblur_unsharp(image: Image.Image, sigma: float | None = None) -> Image.Image:
    """Add back what a blur removes (unsharp mask): nearly free, mends slight blur."""
    cv2, width = one_thread(), _width(image, sigma)
    sharp = pixels(image).astype(np.float32)
    return picture(sharp + 1.6 * (sharp - cv2.GaussianBlur(sharp, (0, 0), width)))


@tool(capability="deblur", price=ComputePrice(), family="vision", params=_SIGMA)
def deblur_wiener(image: Image.Image, sigma: float | None = None) -> Image.Image:
    """Divide by the blur's spectrum where it carries signal (Wiener filter with a smoothness prior)."""
    width, measured = _width(image, sigma), probe(image).sigma
    strength = 2e-4 + (measured / 255.0) ** 2

    def work(plane: Array) -> Array:
        blur, rough = _spectra(plane.shape, width)
        return np.asarray(np.fft.irfft2(np.fft.rfft2(plane) * blur / (blur**2 + strength * rough + 1e-5), plane.shape))

    return picture(per_channel(pixels(image), work, pad=_PAD))


@tool(
    capability="deblur",
    price=ComputePrice(),
    family="vision",
    setup=one_thread,
    params=_SIGMA,
    unavailable=needs("cv2"),
)
def deblur_rl10(image: Image.Image, sigma: float | None = None) -> Image.Image:
    """Ten Richardson-Lucy iterations: robust under remaining noise."""
    return _richardson_lucy(image, sigma, 10)


@tool(
    capability="deblur",
    price=ComputePrice(),
    family="vision",
    setup=one_thread,
    params=_SIGMA,
    unavailable=needs("cv2"),
)
def deblur_rl30(image: Image.Image, sigma: float | None = None) -> Image.Image:
    """Thirty Richardson-Lucy iterations: sharper on clean pictures, worse than ten on noisy ones."""
    return _richardson_lucy(image, sigma, 30)


@tool(capability="deblur", price=ComputePrice(), family="vision", params=_SIGMA)
def deblur_tv(image: Image.Image, sigma: float | None = None) -> Image.Image:
    """Deconvolve under a total variation prior (half-quadratic splitting): best on pictures with little noise."""
    width, measured = _width(image, sigma), probe(image).sigma
    fidelity = 2500.0 / (1.0 + measured) ** 2

    def work(plane: Array) -> Array:
        return _split(plane / 255.0, width, fidelity) * 255.0

    return picture(per_channel(pixels(image), work, pad=_PAD))


TOOLS: tuple[Tool[..., Any], ...] = (deblur_unsharp, deblur_wiener, deblur_rl10, deblur_rl30, deblur_tv)


def _width(image: Image.Image, sigma: float | None) -> float:
    """The blur to undo: as given, or as measured, kept within what these methods can mend."""
    if sigma is None:
        return min(3.5, max(0.7, probe(image).blur))
    if not 0.3 <= sigma <= 10:
        raise ValueError(f"sigma must lie in [0.3, 10] pixels, got {sigma!r}")
    return sigma


def _spectra(shape: tuple[int, ...], width: float) -> tuple[Array, Array]:
    """The spectra of a Gaussian blur and of the squared gradient, on the half plane that `rfft2` returns."""
    down, across = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :]
    blur = np.exp(-2 * (np.pi * width) ** 2 * (down**2 + across**2))
    rough = 4 * (np.sin(np.pi * down) ** 2 + np.sin(np.pi * across) ** 2)
    return blur.astype(np.float32), rough.astype(np.float32)


def _richardson_lucy(image: Image.Image, sigma: float | None, iterations: int) -> Image.Image:
    cv2, width = one_thread(), _width(image, sigma)

    def work(plane: Array) -> Array:
        seen = np.maximum(plane, 1.0)
        guess = seen.copy()
        for _ in range(iterations):
            ratio = seen / np.maximum(cv2.GaussianBlur(guess, (0, 0), width), 1e-3)
            guess *= cv2.GaussianBlur(ratio, (0, 0), width)
        return guess

    return picture(per_channel(pixels(image), work, pad=_PAD))


def _split(seen: Array, width: float, fidelity: float) -> Array:
    """Wang, Yang, Yin and Zhang 2008: alternate a shrinkage of gradients with a solve in the Fourier domain."""
    blur, rough = _spectra(seen.shape, width)
    target = np.fft.rfft2(seen) * blur
    guess, penalty = seen, 4.0
    while penalty < 400:
        across, down = np.roll(guess, -1, 1) - guess, np.roll(guess, -1, 0) - guess
        length = np.hypot(across, down)
        kept = np.maximum(length - 1 / penalty / 8, 0) / np.maximum(length, 1e-6)
        across, down = across * kept, down * kept
        back = (np.roll(across, 1, 1) - across) + (np.roll(down, 1, 0) - down)
        weight = penalty / fidelity
        guess = np.fft.irfft2((target + weight * np.fft.rfft2(back)) / (blur**2 + weight * rough + 1e-8), seen.shape)
        penalty *= 2.2
    return np.asarray(guess)
