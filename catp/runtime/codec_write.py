"""Writes values as trees of JSON with numbered binary parts.

What JSON does not mean by itself is an object whose first key begins with `$`:

    [1, "a"]                     [1,"a"]
    (1, b"...")                  {"$tuple":[1,{"$bytes":0}]}                    part 0: the bytes
    {1: True}                    {"$dict":[[1,true]]}                           keys that are no text
    {"k": Decimal("1.10")}       {"k":{"$decimal":"1.10"}}
    Reading("x", 0.5)            {"$record":"catp.tools.builtin.records:Reading","values":{"text":"x","confidence":0.5}}
    Image, array                 {"$png":0}, {"$array":0}

The canonical tree of a value, made to be hashed, differs in three ways: dict items are sorted, binary parts are
replaced by their digests, and images and arrays are written as mode or type, shape and content.
"""

import datetime
import decimal
import hashlib
import json
import math
import struct
import sys
import zlib
import zoneinfo
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

from catp.runtime.codec_classes import Inexact, take_apart
from catp.runtime.codec_images import encode_image, is_image, to_raw

__all__ = ["TreeWriter"]

_DEEPEST = 100
"""Levels of nesting; this bounds the recursion, here and in the JSON reader, and it is what stops at a cycle."""

_MOST_ITEMS = 1_000_000
"""Values in one value; a few lists that contain each other twice would otherwise unfold into billions."""

_FLAT = 16
"""Numbers or texts of one kind in a list are quick to look through: so many of them count as one value."""

_LARGE = 1 << 63


class TreeWriter:
    """Writes one value; `parts` are the binary parts of the tree, in order. Raises `Inexact`, or what objects raise."""

    def __init__(self, *, canonical: bool = False) -> None:
        self.parts: list[bytes] = []
        self._canonical = canonical
        self._depth = 0
        self._left = _MOST_ITEMS

    def write(self, value: Any) -> Any:
        """Return the tree of a value."""
        self._left -= 1
        if self._depth >= _DEEPEST or self._left < 0:
            raise Inexact
        write = _WRITERS.get(type(value), TreeWriter._other)
        self._depth += 1
        try:
            return write(self, value)
        finally:
            self._depth -= 1

    def _itself(self, value: Any) -> Any:
        return value

    def _text(self, value: str) -> Any:
        if value.isascii():
            return value
        try:
            value.encode()
        except UnicodeEncodeError:  # half a surrogate pair, which JSON readers may put together
            return {"$text": value.encode("utf-8", "surrogatepass").hex()}
        return value

    def _int(self, value: int) -> Any:
        return value if -_LARGE < value < _LARGE else {"$int": hex(value)}

    def _float(self, value: float) -> Any:
        return value if math.isfinite(value) else {"$float": struct.pack("<d", value).hex()}

    def _bytes(self, value: bytes) -> Any:
        return {"$bytes": self._part(value)}

    def _part(self, data: bytes) -> int | str:
        if self._canonical:
            return hashlib.sha256(data).hexdigest()
        self.parts.append(data)
        return len(self.parts) - 1

    def _list(self, value: list[Any]) -> Any:
        if len(value) >= _FLAT and _is_flat(value):
            self._left -= len(value) // _FLAT
            return list(value)
        return [self.write(item) for item in value]

    def _tuple(self, value: tuple[Any, ...]) -> Any:
        return {"$tuple": [self.write(item) for item in value]}

    def _dict(self, value: dict[Any, Any]) -> Any:
        if all(type(key) is str and key[:1] != "$" and key.isascii() for key in value):
            keys = sorted(value) if self._canonical else value
            return {key: self.write(value[key]) for key in keys}
        pairs = [[self.write(key), self.write(item)] for key, item in value.items()]
        return {"$dict": sorted(pairs, key=lambda pair: _text_of(pair[0])) if self._canonical else pairs}

    def _set(self, value: set[Any] | frozenset[Any]) -> Any:
        return {f"${type(value).__name__}": sorted([self.write(item) for item in value], key=_text_of)}

    def _decimal(self, value: decimal.Decimal) -> Any:
        return {"$decimal": str(value)}

    def _datetime(self, value: datetime.datetime) -> Any:
        return {"$datetime": [value.replace(tzinfo=None, fold=0).isoformat(), value.fold, self._zone(value.tzinfo)]}

    def _time(self, value: datetime.time) -> Any:
        return {"$time": [value.replace(tzinfo=None, fold=0).isoformat(), value.fold, self._zone(value.tzinfo)]}

    def _zone(self, zone: datetime.tzinfo | None) -> Any:
        if zone is None:
            return None
        if type(zone) is datetime.timezone:
            # (offset,) or (offset, name)
            return [self.write(part) for part in zone.__getinitargs__()]  # type: ignore[attr-defined]
        if type(zone) is zoneinfo.ZoneInfo and zone.key:
            return zone.key
        raise Inexact

    def _date(self, value: datetime.date) -> Any:
        return {"$date": value.isoformat()}

    def _timedelta(self, value: datetime.timedelta) -> Any:
        return {"$timedelta": [value.days, value.seconds, value.microseconds]}

    def _other(self, value: Any) -> Any:
        if is_image(value):
            return self._image(value)
        numpy = sys.modules.get("numpy")
        if numpy is not None and type(value) is numpy.ndarray:
            return self._array(numpy, value)
        if numpy is not None and isinstance(value, numpy.generic):
            return self._scalar(value)
        if isinstance(value, PurePath) and type(value).__module__ == "pathlib":
            if self._canonical:
                raise Inexact  # a path says where something is, not what
            return {"$path": [type(value).__name__, str(value)]}
        kind, cls, values = take_apart(value)
        if kind == "model" and self._canonical:
            values = {**values, "__pydantic_fields_set__": None}  # models are equal whoever set their fields
        return {f"${kind}": cls, "values": {name: self.write(part) for name, part in values.items()}}

    def _image(self, image: Any) -> Any:
        file = None if self._canonical else encode_image(image)
        if file is not None:
            return {f"${file.codec}": self._part(file.data)}
        raw = to_raw(image)
        pixels = raw.pixels if self._canonical else zlib.compress(raw.pixels, 1)
        return {"$image": [raw.mode, *raw.size], "pixels": self._part(pixels), "facts": self.write(raw.facts)}

    def _array(self, numpy: Any, array: Any) -> Any:
        described = numpy.lib.format.dtype_to_descr(array.dtype)
        if array.dtype.hasobject or numpy.lib.format.descr_to_dtype(described) != array.dtype:
            raise Inexact
        content = self._part(array.tobytes())
        return {"$array": content, "type": self.write(described), "shape": list(array.shape)}

    def _scalar(self, value: Any) -> Any:
        if value.dtype.kind not in "biufcmMSU" or type(value) is not value.dtype.type:
            raise Inexact
        return {"$scalar": value.dtype.str, "bytes": value.tobytes().hex()}


def _is_flat(items: list[Any]) -> bool:
    """True for a list of numbers or texts of one kind that JSON holds as they are."""
    kinds = set(map(type, items))
    if kinds == {float}:
        return all(map(math.isfinite, items))
    if kinds == {int}:
        return bool(min(items) > -_LARGE and max(items) < _LARGE)
    return kinds == {str} and all(map(str.isascii, items))


def _text_of(tree: Any) -> str:
    """By what keys and elements are sorted: any order will do, if it is always the same."""
    return json.dumps(tree)


_WRITERS: dict[type, Callable[[TreeWriter, Any], Any]] = {
    type(None): TreeWriter._itself,
    bool: TreeWriter._itself,
    int: TreeWriter._int,
    float: TreeWriter._float,
    str: TreeWriter._text,
    bytes: TreeWriter._bytes,
    list: TreeWriter._list,
    tuple: TreeWriter._tuple,
    dict: TreeWriter._dict,
    set: TreeWriter._set,
    frozenset: TreeWriter._set,
    decimal.Decimal: TreeWriter._decimal,
    datetime.datetime: TreeWriter._datetime,
    datetime.date: TreeWriter._date,
    datetime.time: TreeWriter._time,
    datetime.timedelta: TreeWriter._timedelta,
}
