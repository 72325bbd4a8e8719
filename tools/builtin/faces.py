"""Faces: the Haar cascades that ship with OpenCV, at two levels of effort."""

import functools
from typing import Any

from PIL import Image

from catp.tools.builtin.needs import needs
from catp.tools.builtin.pixels import grey, one_thread
from catp.tools.builtin.records import Faces
from catp.tools.decorator import Tool, tool
from catp.tools.price import ComputePrice

__all__ = ["TOOLS", "faces_haar", "faces_haar_fine"]

_MIN_SIDE = 24
_DEFAULT, _FINE = "haarcascade_frontalface_default.xml", "haarcascade_frontalface_alt2.xml"


@functools.cache
def _cascade(name: str) -> Any:
    cv2 = one_thread()
    return cv2.CascadeClassifier(cv2.data.haarcascades + name)


def _load_cascade() -> None:
    _cascade(_DEFAULT)


def _load_fine_cascade() -> None:
    _cascade(_FINE)


@tool(capability="faces", price=ComputePrice(), family="vision", setup=_load_cascade, unavailable=needs("cv2"))
def faces_haar(image: Image.Image) -> Faces:
    """Find upright frontal faces with large scale steps."""
    return _detect(image, _DEFAULT, 1.3, 4)


@tool(capability="faces", price=ComputePrice(), family="vision", setup=_load_fine_cascade, unavailable=needs("cv2"))
def faces_haar_fine(image: Image.Image) -> Faces:
    """Find upright frontal faces with small scale steps: five times the price, fewer misses."""
    return _detect(image, _FINE, 1.1, 4)


TOOLS: tuple[Tool[..., Any], ...] = (faces_haar, faces_haar_fine)


def _detect(image: Image.Image, cascade: str, step: float, neighbours: int) -> Faces:
    array = grey(image)
    if min(array.shape) < _MIN_SIDE:
        return Faces(0, [])
    found = _cascade(cascade).detectMultiScale(array, scaleFactor=step, minNeighbors=neighbours)
    boxes = [dict(zip("xywh", map(int, box), strict=True)) for box in found]
    return Faces(len(boxes), sorted(boxes, key=lambda box: (box["y"], box["x"])))
