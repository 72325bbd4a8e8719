"""A description of a value that has no exact encoding, for people: bounded in size, whatever the value is."""

import contextlib
import dataclasses
import io
import json
import math
from collections.abc import Mapping
from typing import Any

from catp.runtime.codec_images import is_image

__all__ = ["shown"]

_MOST_ITEMS = 10_000
_DEEPEST = 20
_LONGEST = 20_000


def shown(value: Any) -> tuple[str, bytes]:
    """Return a media type and bytes of it: a picture for an image, JSON for everything else. Never raises."""
    with contextlib.suppress(Exception):  # an object may raise when it is asked for its class
        if is_image(value):
            return _picture(value)
    return "application/json", json.dumps(_Describer().describe(value, 0)).encode()


def _picture(image: Any) -> tuple[str, bytes]:
    try:
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, format="PNG", compress_level=1)
        return "image/png", buffer.getvalue()
    except Exception as error:  # no pixels, or nothing Pillow can convert
        text = f"an image that cannot be written: {_words(error)}"
        return "text/plain; charset=utf-8", text.encode("utf-8", "replace")


class _Describer:
    def __init__(self) -> None:
        self.left = _MOST_ITEMS

    def describe(self, value: Any, depth: int) -> Any:
        self.left -= 1
        if self.left < 0 or depth > _DEEPEST:
            return "..."
        try:
            return self._plain(value, depth)
        except Exception:  # somebody else's iterator, property or __repr__
            return f"<{type(value).__name__}>"

    def _plain(self, value: Any, depth: int) -> Any:
        if value is None or type(value) in (bool, int):
            return value if not isinstance(value, int) or abs(value) < 1 << 63 else _words(value)
        if type(value) is float:
            return value if math.isfinite(value) else str(value)
        if isinstance(value, str):
            return str.__str__(value)[:_LONGEST]
        if isinstance(value, bytes | bytearray | memoryview):
            return f"<{type(value).__name__} of {len(value):,} bytes>"
        if isinstance(value, Mapping):
            return {self._key(key): self.describe(item, depth + 1) for key, item in value.items() if self.left > 0}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.describe(item, depth + 1) for item in value if self.left > 0]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {f.name: self.describe(getattr(value, f.name), depth + 1) for f in dataclasses.fields(value)}
        return _words(value)

    def _key(self, key: Any) -> str:
        return str.__str__(key)[:_LONGEST] if isinstance(key, str) else _words(key)


def _words(value: Any) -> str:
    try:
        return repr(value)[:_LONGEST]
    except Exception:  # somebody else's __repr__, or a number too long for text
        return f"<{type(value).__name__}>"
