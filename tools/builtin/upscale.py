"""Doubling the size of a picture: two interpolations and one that inverts the shrinking."""

from typing import Any

from PIL import Image

from catp.tools.builtin.arrays import np
from catp.tools.builtin.needs import needs
from catp.tools.builtin.pixels import MAX_PIXELS, one_thread, picture, pixels
from catp.tools.decorator import Tool, tool
from catp.tools.price import ComputePrice

__all__ = ["TOOLS", "upscale_backproject", "upscale_bicubic", "upscale_lanczos"]


@tool(capability="upscale", price=ComputePrice(), family="vision")
def upscale_bicubic(image: Image.Image) -> Image.Image:
    """Double the size by cubic interpolation: the cheapest, and mild on noise."""
    return _doubled(image, Image.Resampling.BICUBIC)


@tool(capability="upscale", price=ComputePrice(), family="vision")
def upscale_lanczos(image: Image.Image) -> Image.Image:
    """Double the size with a Lanczos window: a little sharper than cubic."""
    return _doubled(image, Image.Resampling.LANCZOS)


@tool(capability="upscale", price=ComputePrice(), family="vision", setup=one_thread, unavailable=needs("cv2"))
def upscale_backproject(image: Image.Image) -> Image.Image:
    """Double the size so that shrinking it again gives the original (Irani and Peleg): sharpest on clean pictures."""
    cv2 = one_thread()
    small = pixels(_checked(image)).astype(np.float32)
    size = (small.shape[1], small.shape[0])
    large = cv2.resize(small, (2 * size[0], 2 * size[1]), interpolation=cv2.INTER_CUBIC)
    for _ in range(8):
        missing = small - cv2.resize(large, size, interpolation=cv2.INTER_AREA)
        large += cv2.resize(missing, (2 * size[0], 2 * size[1]), interpolation=cv2.INTER_CUBIC)
    return picture(large)


TOOLS: tuple[Tool[..., Any], ...] = (upscale_bicubic, upscale_lanczos, upscale_backproject)


def _doubled(image: Image.Image, method: Image.Resampling) -> Image.Image:
    source = Image.fromarray(pixels(_checked(image)))
    return source.resize((2 * source.width, 2 * source.height), method)


def _checked(image: Image.Image) -> Image.Image:
    if 4 * image.width * image.height > MAX_PIXELS:
        raise ValueError(f"doubling {image.width}x{image.height} pixels would give more than {MAX_PIXELS:,}")
    return image
