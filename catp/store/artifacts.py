"""Values as files: content-addressed, written once, never half."""

import contextlib
import dataclasses
import hashlib
import io
import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["INLINE_LIMIT", "Artifact", "ArtifactStore", "encode_value"]

INLINE_LIMIT = 4096
"""Texts up to this many bytes are kept in the database row itself."""

_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})
_TIFF_MODES = frozenset({"I", "F", "CMYK", "YCbCr", "LAB"})


@dataclass(frozen=True, slots=True)
class Artifact:
    """An encoded value: its bytes, what they are, and for pictures how large."""

    data: bytes
    mime: str
    width: int | None = None
    height: int | None = None

    @property
    def sha256(self) -> str:
        """The hex digest that names the artifact."""
        return hashlib.sha256(self.data).hexdigest()


def encode_value(value: Any) -> Artifact:
    """Encode a plan value: text as UTF-8, images as PNG, bytes as they are, everything else as JSON. Never raises.

    Images that PNG cannot hold become TIFF, or RGB; what JSON cannot hold is written as text in it.
    """
    if isinstance(value, str):
        return Artifact(value.encode("utf-8", "surrogatepass"), "text/plain; charset=utf-8")
    if isinstance(value, bytes):
        return Artifact(value, "application/octet-stream")
    if hasattr(value, "save") and hasattr(value, "size"):  # a Pillow image, without importing Pillow
        return _encode_image(value)
    try:
        text = json.dumps(value, default=_plain, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        text = _encode_odd(value)
    return Artifact(text, "application/json")


def _encode_image(image: Any) -> Artifact:
    kind = "TIFF" if image.mode in _TIFF_MODES else "PNG"
    buffer = io.BytesIO()
    try:
        (image if image.mode in _PNG_MODES | _TIFF_MODES else image.convert("RGB")).save(buffer, format=kind)
    except Exception as error:  # no pixels, or nothing Pillow can convert
        return Artifact(f"an image {image.size} that cannot be written: {error}".encode(), "text/plain; charset=utf-8")
    return Artifact(buffer.getvalue(), f"image/{kind.lower()}", image.size[0], image.size[1])


def _encode_odd(value: Any) -> bytes:
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


class ArtifactStore:
    """A folder of files named by their digest, two characters of it per sub-folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, sha256: str) -> Path:
        """Where the artifact lies, whether or not it exists."""
        return self.folder / sha256[:2] / sha256

    def put(self, artifact: Artifact) -> str:
        """Write the artifact unless it is there, atomically; return its digest. Raises `OSError` on a full disk."""
        digest = artifact.sha256
        target = self.path(digest)
        if target.exists():
            return digest
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(artifact.data)
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        return digest

    def get(self, sha256: str) -> bytes:
        """Read an artifact; raise `FileNotFoundError` if it is gone and `ValueError` if its bytes were changed."""
        data = self.path(sha256).read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ValueError(f"artifact {sha256} is corrupt: its content has another digest")
        return data


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    artifact = encode_value(value) if isinstance(value, bytes) or hasattr(value, "save") else None
    if artifact is not None:
        return {"artifact": artifact.sha256, "mime": artifact.mime, "bytes": len(artifact.data)}
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    try:
        return repr(value)
    except Exception:  # somebody else's __repr__
        return f"<{type(value).__name__}>"
