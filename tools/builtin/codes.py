"""QR codes and barcodes: a pure-vision reader and zxing at two levels of effort."""

from typing import Any

import numpy as np
from PIL import Image

from catp.tools.builtin.needs import needs
from catp.tools.builtin.pixels import grey, one_thread
from catp.tools.builtin.records import Codes
from catp.tools.decorator import Tool, tool
from catp.tools.price import ComputePrice

__all__ = ["TOOLS", "codes_opencv", "codes_zxing", "codes_zxing_fast"]

_MIN_SIDE = 21
"""No QR code has fewer modules than this, so no smaller picture can hold one."""


def _load_zxing() -> None:
    import zxingcpp

    zxingcpp.read_barcodes(np.zeros((32, 32), dtype=np.uint8))


@tool(capability="codes", price=ComputePrice(), family="vision", setup=one_thread, unavailable=needs("cv2"))
def codes_opencv(image: Image.Image) -> Codes:
    """Read QR codes with OpenCV's detector: the one that copes with heavy noise."""
    array = grey(image)
    if min(array.shape) < _MIN_SIDE:
        return Codes([])
    found, texts, _, _ = one_thread().QRCodeDetector().detectAndDecodeMulti(array)
    return Codes([text for text in texts if text] if found else [])


@tool(capability="codes", price=ComputePrice(), family="vision", setup=_load_zxing, unavailable=needs("zxingcpp"))
def codes_zxing_fast(image: Image.Image) -> Codes:
    """Read upright codes with zxing, without retrying rotated, shrunk or inverted."""
    return _zxing(image, thorough=False)


@tool(capability="codes", price=ComputePrice(), family="vision", setup=_load_zxing, unavailable=needs("zxingcpp"))
def codes_zxing(image: Image.Image) -> Codes:
    """Read codes of any kind with zxing, also rotated, shrunk or inverted."""
    return _zxing(image, thorough=True)


TOOLS: tuple[Tool[..., Any], ...] = (codes_zxing_fast, codes_zxing, codes_opencv)


def _zxing(image: Image.Image, *, thorough: bool) -> Codes:
    import zxingcpp

    found = zxingcpp.read_barcodes(grey(image), try_rotate=thorough, try_downscale=thorough, try_invert=thorough)
    return Codes([code.text for code in found if code.text])
