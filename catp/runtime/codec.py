"""Values as bytes and back, exactly: what the journal keeps of a run and the cache keeps of a call.

| value | codec | bytes |
|---|---|---|
| text | `text` | UTF-8 |
| bytes | `bytes` | as they are |
| a Pillow image | `png`, `tiff` | a file any viewer opens; modes that neither can hold go into a tree |
| everything else that plans carry | `value/1` | one line of JSON, then the binary parts it refers to |
| what has no exact encoding | None | a description to look at |

`decode(codec, data)` returns a value of the same type with the same content. Classes (dataclasses, named tuples, enums,
pydantic models) are kept by name and fields, never as code: only classes of modules that are imported already, or of
catp itself, are brought back, and only if they still have the same fields. Nothing is ever unpickled.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from catp.runtime.codec_classes import DecodeError
from catp.runtime.codec_images import decode_image, encode_image, is_image
from catp.runtime.codec_read import TreeReader
from catp.runtime.codec_shown import shown
from catp.runtime.codec_write import TreeWriter

__all__ = ["DecodeError", "Encoded", "decode", "digest_arguments", "encode"]

_TEXT = "text/plain; charset=utf-8"
_BYTES = "application/octet-stream"
_TREE = "value/1"
_spell = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class Encoded(NamedTuple):
    """A value as bytes. `codec` says how to read it back, None that it can only be shown; sizes are in pixels."""

    codec: str | None
    mime: str
    data: bytes
    width: int | None = None
    height: int | None = None


def encode(value: Any) -> Encoded:
    """Encode any value; never raises. What has no exact encoding is described instead, with `codec` None."""
    try:
        return _exact(value)
    except Exception:  # not only Inexact: objects may raise anything at all when they are looked at
        return Encoded(None, *shown(value))


def _exact(value: Any) -> Encoded:
    kind = type(value)
    if kind is str:
        return Encoded("text", _TEXT, value.encode("utf-8", "surrogatepass"))
    if kind is bytes:
        return Encoded("bytes", _BYTES, value)
    if is_image(value):
        image = encode_image(value)
        if image is not None:
            return Encoded(image.codec, f"image/{image.codec}", image.data, *value.size)
    writer = TreeWriter()
    tree = writer.write(value)
    head = {"catp": _TREE, "value": tree}
    if not writer.parts:
        return Encoded(_TREE, "application/json", _json(head))
    line = _json({**head, "parts": [len(part) for part in writer.parts]})
    return Encoded(_TREE, "application/vnd.catp.value", b"".join((line, b"\n", *writer.parts)))


def _json(tree: Any) -> bytes:
    return _spell(tree).encode()


def decode(codec: str, data: bytes) -> Any:
    """Return the value that `encode` made `data` of.

    Raises:
        DecodeError: The data is damaged, the codec is unknown, or a class is gone or has other fields now.
    """
    try:
        if codec == "text":
            return data.decode("utf-8", "surrogatepass")
        if codec == "bytes":
            return bytes(data)
        if codec in ("png", "tiff"):
            return decode_image(codec, data)
        if codec == _TREE:
            return _read(data)
    except DecodeError:
        raise
    except Exception as error:  # a decoder given damaged bytes may raise whatever it likes
        raise DecodeError(f"{len(data)} bytes of {codec!r} cannot be read: {type(error).__name__}: {error}") from error
    raise DecodeError(f"there is no codec {codec!r}; the value was written by another version of catp")


def _read(data: bytes) -> Any:
    line, _, rest = data.partition(b"\n")
    head = json.loads(line)
    if not isinstance(head, dict) or head.get("catp") != _TREE:
        raise DecodeError(f"{len(data)} bytes of {_TREE!r} do not begin with its header")
    parts, at = [], 0
    for size in head.get("parts", ()):
        parts.append(rest[at : at + size])
        at += size
    if at != len(rest):
        raise DecodeError(f"{len(data)} bytes of {_TREE!r} are damaged: {at:,} bytes should follow the first line")
    return TreeReader(parts).read(head["value"])


def digest_arguments(tool: str, version: str, args: Mapping[str, Any]) -> str | None:
    """Return the SHA-256 (hex) of a call by content; None if an argument has no exact encoding or is a path.

    Equal arguments have equal digests in any order of arguments, dict keys and set elements, and whatever object holds
    the pixels of an image or the numbers of an array. Values of different types differ: `1`, `1.0` and `True`. A path
    has none because the file behind it may change.
    """
    try:
        writer = TreeWriter(canonical=True)
        tree = writer.write([tool, version, {str(name): value for name, value in args.items()}])
        return hashlib.sha256(_json(tree)).hexdigest()
    except Exception:  # Inexact, or an object that raises when it is looked at
        return None
