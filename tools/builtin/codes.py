"""QR codes and barcodes with zxing at two levels of effort.

OpenCV's own detectors were measured too and left out: dearer, and no better in any condition.
"""

from typing import Any

from PIL import Image

from catp.tools.builtin.arrays import np
from catp.tools.builtin.needs import needs
from catp.tools.builtin.pixels import grey
from catp.tools.builtin.records import Codes
from catp.tools.decorator import Tool, tool
from catp.tools.price import ComputePrice

__all__ = ["TOOLS", "codes_zxing", "codes_zxing_fast"]


def _load_zxing() -> None:
    import zxingcpp

    zxingcpp.read_barcodes(np.zeros((32, 32), dtype=np.uint8))


@tool(capability="codes", price=ComputePrice(), family="vision", setup=_load_zxing, unavailable=needs("zxingcpp"))
def codes_zxing_fast(image: Image.Image) -> Codes:
    """Read upright codes with zxing, without retrying rotated, shrunk or inverted."""
    return _zxing(image, thorough=False)


@tool(capability="codes", price=ComputePrice(), family="vision", setup=_load_zxing, unavailable=needs("zxingcpp"))
def codes_zxing(image: Image.Image) -> Codes:
    """Read codes of any kind with zxing, also rotated, shrunk or inverted."""
    return _zxing(image, thorough=True)


TOOLS: tuple[Tool[..., Any], ...] = (codes_zxing_fast, codes_zxing)


def _zxing(image: Image.Image, *, thorough: bool) -> Codes:
    import zxingcpp

    found = zxingcpp.read_barcodes(grey(image), try_rotate=thorough, try_downscale=thorough, try_invert=thorough)
    return Codes([code.text for code in found if code.text])
