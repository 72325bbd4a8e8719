"""Between pictures and arrays: every image tool takes any `PIL.Image` and works on 8-bit grey or RGB."""

from typing import Any, TypeAlias

from PIL import Image

from catp.tools.builtin.arrays import np

__all__ = ["MAX_PIXELS", "Array", "grey", "one_thread", "per_channel", "picture", "pixels"]

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

MAX_PIXELS = 40_000_000
"""Larger pictures are refused: they would need gigabytes in the restoring tools."""


def pixels(image: Image.Image) -> Array:
    """Return `image` as uint8, `(h, w)` if it is grey throughout, else `(h, w, 3)`; transparency becomes white.

    Raises:
        ValueError: the picture has no pixels or more than `MAX_PIXELS`.
    """
    if not image.width or not image.height:
        raise ValueError("the image has no pixels")
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"the image has {image.width}x{image.height} pixels; at most {MAX_PIXELS:,} are accepted")
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))
    if image.mode.startswith(("I", "F")):
        return _stretched(np.asarray(image, dtype=np.float64))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    colours = np.asarray(image.convert("RGB"))
    red = colours[..., 0]
    if np.array_equal(red, colours[..., 1]) and np.array_equal(red, colours[..., 2]):
        return red.copy()
    return colours


def grey(image: Image.Image) -> Array:
    """Return the brightness of `image` as `(h, w)` uint8."""
    array = pixels(image)
    return array if array.ndim == 2 else np.asarray(Image.fromarray(array).convert("L"))


def picture(array: Array) -> Image.Image:
    """Return a picture of `array`, rounded and clipped to 8 bits."""
    if array.dtype != np.uint8:
        array = np.clip(np.rint(array), 0, 255).astype(np.uint8)
    return Image.fromarray(array)


def per_channel(array: Array, work: Any, *, pad: int = 0) -> Array:
    """Apply `work(float32 plane) -> plane` to each channel, mirrored by `pad` pixels at every border."""
    planes = array[..., None] if array.ndim == 2 else array
    height, width = planes.shape[:2]
    done = []
    for index in range(planes.shape[2]):
        plane = np.pad(planes[..., index].astype(np.float32), pad, mode="symmetric")
        done.append(work(plane)[pad : pad + height, pad : pad + width])
    return done[0] if array.ndim == 2 else np.stack(done, axis=-1)


def one_thread() -> Any:
    """Return `cv2` pinned to one thread, so that CPU time is the price of the call and not of the machine."""
    import cv2

    cv2.setNumThreads(1)
    return cv2


def _stretched(array: Array) -> Array:
    low, high = float(np.nanmin(array)), float(np.nanmax(array))
    if low >= 0 and high <= 255:
        return array.astype(np.uint8)
    scale = 255.0 / (high - low) if high > low else 0.0
    return np.nan_to_num((array - low) * scale).astype(np.uint8)
