"""Reads the trees that `codec_write.py` writes. Nothing in a tree is believed: what does not fit is a `DecodeError`."""

import datetime
import decimal
import pathlib
import struct
import zlib
import zoneinfo
from collections.abc import Callable, Sequence, Sized
from typing import Any, TypeVar, get_args

from catp.runtime.codec_classes import Content, DecodeError, Kind, put_together
from catp.runtime.codec_images import RawImage, decode_image, from_raw

__all__ = ["TreeReader"]

_Sized = TypeVar("_Sized", bound=Sized)


class TreeReader:
    """Reads trees with these binary parts. Raises `DecodeError`, or what damaged data raises in the library at hand."""

    def __init__(self, parts: Sequence[bytes]) -> None:
        self._parts = parts

    def read(self, tree: Any) -> Any:
        """Return the value of a tree."""
        if type(tree) is list:
            return [self.read(item) for item in tree]
        if type(tree) is not dict:
            return tree
        tag = next(iter(tree), "")
        if tag[:1] != "$":
            return {key: self.read(item) for key, item in tree.items()}
        read = _READERS.get(tag)
        if read is None:
            raise DecodeError(f"there is no kind of value {tag!r}; it was written by another version of catp")
        return read(self, tree)

    def _part(self, number: Any) -> bytes:
        if type(number) is not int or number < 0:
            raise DecodeError(f"{number!r} is not the number of a binary part")
        return self._parts[number]

    def _all(self, items: Any) -> list[Any]:
        if type(items) is not list:
            raise DecodeError("a list is expected where there is none")
        return [self.read(item) for item in items]

    def _text(self, tree: Any) -> str:
        return bytes.fromhex(tree["$text"]).decode("utf-8", "surrogatepass")

    def _int(self, tree: Any) -> int:
        return int(tree["$int"], 16)

    def _float(self, tree: Any) -> Any:
        return struct.unpack("<d", bytes.fromhex(tree["$float"]))[0]

    def _bytes(self, tree: Any) -> bytes:
        return self._part(tree["$bytes"])

    def _tuple(self, tree: Any) -> tuple[Any, ...]:
        return tuple(self._all(tree["$tuple"]))

    def _dict(self, tree: Any) -> dict[Any, Any]:
        pairs = [(self.read(key), self.read(value)) for key, value in tree["$dict"]]
        return _whole(dict(pairs), len(pairs))

    def _set(self, tree: Any) -> set[Any]:
        items = self._all(tree["$set"])
        return _whole(set(items), len(items))

    def _frozenset(self, tree: Any) -> frozenset[Any]:
        items = self._all(tree["$frozenset"])
        return _whole(frozenset(items), len(items))

    def _decimal(self, tree: Any) -> decimal.Decimal:
        return decimal.Decimal(tree["$decimal"])

    def _datetime(self, tree: Any) -> datetime.datetime:
        text, fold, zone = tree["$datetime"]
        return datetime.datetime.fromisoformat(text).replace(fold=fold, tzinfo=self._zone(zone))

    def _time(self, tree: Any) -> datetime.time:
        text, fold, zone = tree["$time"]
        return datetime.time.fromisoformat(text).replace(fold=fold, tzinfo=self._zone(zone))

    def _zone(self, zone: Any) -> datetime.tzinfo | None:
        if zone is None:
            return None
        return zoneinfo.ZoneInfo(zone) if isinstance(zone, str) else datetime.timezone(*self._all(zone))

    def _date(self, tree: Any) -> datetime.date:
        return datetime.date.fromisoformat(tree["$date"])

    def _timedelta(self, tree: Any) -> datetime.timedelta:
        return datetime.timedelta(*tree["$timedelta"])

    def _path(self, tree: Any) -> pathlib.PurePath:
        name, text = tree["$path"]
        if name not in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"):
            raise DecodeError(f"{name!r} is not a class of paths")
        made: pathlib.PurePath = getattr(pathlib, name)(text)
        return made

    def _file(self, tree: Any) -> Any:
        (tag, number), *_ = tree.items()
        return decode_image(tag[1:], self._part(number))

    def _image(self, tree: Any) -> Any:
        mode, width, height = tree["$image"]
        pixels = zlib.decompress(self._part(tree["pixels"]))
        return from_raw(RawImage(mode, (width, height), pixels, self.read(tree["facts"])))

    def _array(self, tree: Any) -> Any:
        import numpy

        content = bytearray(self._part(tree["$array"]))  # an array in it can be written to
        made = self._in(numpy.lib.format.descr_to_dtype(self.read(tree["type"])), tuple(tree["shape"]), content)
        if made.nbytes != len(content):
            raise DecodeError(f"an array of {made.nbytes:,} bytes has {len(content):,}")
        return made

    def _scalar(self, tree: Any) -> Any:
        import numpy

        return self._in(numpy.dtype(tree["$scalar"]), (), bytearray.fromhex(tree["bytes"]))[()]

    def _in(self, dtype: Any, shape: tuple[int, ...], content: bytearray) -> Any:
        import numpy

        if dtype.hasobject:  # its content would be addresses
            raise DecodeError("an array of objects is never read")
        return numpy.ndarray(shape, dtype, content)

    def _object(self, tree: Any) -> Any:
        (tag, cls), *_ = tree.items()
        values = {name: self.read(part) for name, part in tree["values"].items()}
        return put_together(Content(tag[1:], cls, values))


def _whole(made: _Sized, count: int) -> _Sized:
    if len(made) != count:
        raise DecodeError(f"{count} keys or elements have become {len(made)}")
    return made


_READERS: dict[str, Callable[[TreeReader, Any], Any]] = {
    "$text": TreeReader._text,
    "$int": TreeReader._int,
    "$float": TreeReader._float,
    "$bytes": TreeReader._bytes,
    "$tuple": TreeReader._tuple,
    "$dict": TreeReader._dict,
    "$set": TreeReader._set,
    "$frozenset": TreeReader._frozenset,
    "$decimal": TreeReader._decimal,
    "$datetime": TreeReader._datetime,
    "$date": TreeReader._date,
    "$time": TreeReader._time,
    "$timedelta": TreeReader._timedelta,
    "$path": TreeReader._path,
    "$png": TreeReader._file,
    "$tiff": TreeReader._file,
    "$image": TreeReader._image,
    "$array": TreeReader._array,
    "$scalar": TreeReader._scalar,
    **{f"${kind}": TreeReader._object for kind in get_args(Kind)},
}
