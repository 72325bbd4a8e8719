"""Values as other programs read them: text as UTF-8, images as files, bytes as they are, everything else as JSON."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from catp.runtime.codec import encode
from catp.runtime.codec_images import is_image

__all__ = ["Readable", "readable"]


@dataclass(frozen=True, slots=True)
class Readable:
    """A value as bytes: what they are, and for pictures how large in pixels."""

    data: bytes
    mime: str
    width: int | None = None
    height: int | None = None

    @property
    def sha256(self) -> str:
        """The hex digest under which the store keeps pictures and bytes."""
        return hashlib.sha256(self.data).hexdigest()


def readable(value: Any) -> Readable:
    """Encode a plan value; never raises. What JSON cannot hold is written as text in it."""
    if isinstance(value, str | bytes) or is_image(value):
        encoded = encode(value)
        return Readable(encoded.data, encoded.mime, encoded.width, encoded.height)
    try:
        text = json.dumps(value, default=_plain, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        text = _odd(value)
    return Readable(text, "application/json")


def _odd(value: Any) -> bytes:
    try:
        return json.dumps(_spelled(value), default=_plain).encode()
    except (TypeError, ValueError, RecursionError) as error:
        return json.dumps(f"a {type(value).__name__} that JSON cannot hold: {error}").encode()


def _spelled(value: Any) -> Any:
    """Write keys that are no text, infinities and NaN as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else str(key): _spelled(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_spelled(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _spelled(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return value


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, bytes) or is_image(value):
        found = readable(value)
        return {"artifact": found.sha256, "mime": found.mime, "bytes": len(found.data)}
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    try:
        return repr(value)
    except Exception:  # somebody else's __repr__
        return f"<{type(value).__name__}>"
