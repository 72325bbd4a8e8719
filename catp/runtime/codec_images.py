"""Pillow images as files that viewers open, and as raw pixels where no file format holds them exactly.

Exact means: mode, size, every pixel, the palette, transparency, colour profile, EXIF and resolution. What else the
source file said (comments, its name, its format) is not part of the value.
"""

import io
import sys
from typing import Any, NamedTuple

from catp.runtime.codec_classes import DecodeError, Inexact

__all__ = ["ImageFile", "RawImage", "decode_image", "encode_image", "from_raw", "is_image", "to_raw"]

_PNG = frozenset({"1", "L", "LA", "RGB", "RGBA", "I;16"})
_TIFF = frozenset({"I", "F", "CMYK"})
_EXIF_PREFIX = b"Exif\x00\x00"
_PNG_END = b"IEND\xaeB`\x82"
_QUICK = 1
"""Zlib level: a third of the time of the default for a tenth more bytes."""


class ImageFile(NamedTuple):
    """An image as a file; `codec` is the name of the format, `png` or `tiff`."""

    codec: str
    data: bytes


class RawImage(NamedTuple):
    """An image as pixels; `facts` holds what else belongs to it, without what it does not have."""

    mode: str
    size: tuple[int, int]
    pixels: bytes
    facts: dict[str, Any]


def is_image(value: Any) -> bool:
    """True for a Pillow image, without importing Pillow: whoever has an image has."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(value, pillow.Image) and type(value).__module__.startswith("PIL.")


def encode_image(image: Any) -> ImageFile | None:
    """Return the image as a file, None if none holds it exactly; raise `Inexact` or `OSError` if nothing can."""
    facts = _facts(image)
    kind = "png" if image.mode in _PNG | {"P"} else "tiff" if image.mode in _TIFF and facts.keys() <= {"icc"} else None
    if kind is None or not 0 < image.width * image.height <= _most_pixels():
        return None
    options: dict[str, Any] = {"compress_level": _QUICK} if kind == "png" else {}
    options |= {"icc_profile": facts.get("icc"), "exif": facts.get("exif", b"")}
    if "dpi" in facts:
        options["dpi"] = tuple(round(dots * 0.0254, 4) for dots in facts["dpi"])
    plain = image
    if image.info:  # neither a comment nor a gamma value is to get into the file
        plain = image.copy()
        plain.info = {"transparency": facts["transparency"]} if "transparency" in facts else {}
    buffer = io.BytesIO()
    plain.save(buffer, format=kind, **options)
    data = buffer.getvalue()
    simple = image.mode != "P" and facts.keys() <= {"icc"}
    return ImageFile(kind, data) if simple or _same(decode_image(kind, data), image) else None


def decode_image(codec: str, data: bytes) -> Any:
    """Return the image of a file that `encode_image` made; raise `DecodeError` if it is damaged."""
    from PIL import Image

    if codec == "png" and not data.endswith(_PNG_END):  # Pillow does not miss it
        raise DecodeError(f"{len(data)} bytes of {codec!r} are damaged: the end is missing")
    try:
        with Image.open(io.BytesIO(data), formats=(codec.upper(),)) as opened:
            opened.load()
            image = opened.copy()  # a plain image: it holds no file open
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DecodeError(f"{len(data)} bytes of {codec!r} are damaged: {error}") from error
    kept = {"transparency", "icc_profile", "exif", "dpi"}
    image.info = {key: value for key, value in image.info.items() if key in kept}
    if codec == "tiff":
        image.info.pop("dpi", None)  # every TIFF file has a resolution; one that the image had is not kept in TIFF
    return image


def to_raw(image: Any) -> RawImage:
    """Return pixels and facts of an image; raise `Inexact` for one with several frames, `OSError` without pixels."""
    return RawImage(image.mode, image.size, image.tobytes(), _facts(image))


def from_raw(raw: RawImage) -> Any:
    """Return the image that `to_raw` made `raw` of."""
    from PIL import Image

    image = Image.frombytes(raw.mode, raw.size, raw.pixels)
    facts = dict(raw.facts)
    if "palette" in facts:
        mode, colours = facts.pop("palette")
        image.putpalette(colours, mode)
    if "dpi" in facts:
        facts["dpi"] = tuple(dots * 0.0254 for dots in facts["dpi"])
    names = {"icc": "icc_profile"}
    image.info = {names.get(key, key): value for key, value in facts.items()}
    return image


def _facts(image: Any) -> dict[str, Any]:
    if getattr(image, "n_frames", 1) > 1:
        raise Inexact  # a file of several pictures, of which this object shows one
    image.load()
    info = image.info
    facts: dict[str, Any] = {}
    if image.mode in ("P", "PA") and image.palette is not None:
        mode = image.palette.mode
        facts["palette"] = (mode, bytes(image.getpalette(mode)))
    if "transparency" in info:
        facts["transparency"] = info["transparency"]
    if info.get("icc_profile"):
        facts["icc"] = bytes(info["icc_profile"])
    if info.get("exif"):
        facts["exif"] = bytes(info["exif"]).removeprefix(_EXIF_PREFIX)
    if info.get("dpi"):
        # in whole dots per metre, as PNG keeps it: otherwise reading a file back would change the value
        facts["dpi"] = tuple(int(float(dots) / 0.0254 + 0.5) for dots in info["dpi"])
    return facts


def _same(one: Any, other: Any) -> bool:
    return to_raw(one) == to_raw(other)


def _most_pixels() -> int:
    """The most that Pillow opens without taking the file for an attack."""
    from PIL import Image

    return Image.MAX_IMAGE_PIXELS or sys.maxsize
