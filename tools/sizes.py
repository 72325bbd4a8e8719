"""How big a value is, in the unit of its type: pixels of an image, characters of a text, bytes of a file.

Profiles keep what calls used by the size of their input, so the same measure serves measured values and predicted
ones (`ValueFacts.size`).
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from catp.planlang.registry_view import Size

__all__ = ["input_units", "size_of"]


_SCALARS = frozenset({int, float, bool, type(None)})
"""Told apart first: asking an abstract class about each of many numbers would take longer than the call itself."""


def size_of(value: Any) -> Size:
    """Return the size of a value; scalars count as one unit, records and objects as the sum of their parts."""
    if isinstance(value, list | tuple):
        units = [_units(item) for item in value]
        return Size(max(1, round(sum(units) / len(units))) if units else 1, len(units))
    return Size(_units(value))


def input_units(sizes: Mapping[str, Size]) -> int:
    """Return the size of a call's input: the sum over its arguments, at least 1."""
    return max(1, sum(size.units * size.count for size in sizes.values()))


def _units(value: Any) -> int:
    if type(value) in _SCALARS:
        return 1
    if isinstance(value, str | bytes | bytearray | memoryview):
        return max(1, len(value))
    if isinstance(value, os.PathLike):
        return _file_size(value)
    if isinstance(value, Mapping):
        return max(1, sum(_units(item) for item in value.values()))
    if isinstance(value, list | tuple):
        return max(1, sum(_units(item) for item in value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return max(1, sum(_units(getattr(value, field.name)) for field in dataclasses.fields(value)))
    width, height = getattr(value, "width", None), getattr(value, "height", None)
    if isinstance(width, int) and isinstance(height, int):
        return max(1, width * height)
    return max(1, int(getattr(value, "size", 1))) if hasattr(value, "__array__") else 1


def _file_size(path: "os.PathLike[str]") -> int:
    try:
        return max(1, os.path.getsize(path))
    except OSError:
        return 1
