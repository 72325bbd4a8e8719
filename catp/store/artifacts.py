"""Values as files: content-addressed, written once, never half."""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["INLINE_LIMIT", "Artifact", "ArtifactStore", "encode_value"]

INLINE_LIMIT = 4096
"""Texts up to this many bytes are kept in the database row itself."""


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
    """Encode a plan value: text as UTF-8, images as PNG, bytes as they are, everything else as JSON."""
    if isinstance(value, str):
        return Artifact(value.encode("utf-8", "surrogatepass"), "text/plain; charset=utf-8")
    if isinstance(value, bytes):
        return Artifact(value, "application/octet-stream")
    if hasattr(value, "save") and hasattr(value, "size"):  # a Pillow image, without importing Pillow
        buffer = io.BytesIO()
        value.save(buffer, format="PNG")
        return Artifact(buffer.getvalue(), "image/png", value.size[0], value.size[1])
    return Artifact(json.dumps(value, default=_plain, ensure_ascii=False).encode(), "application/json")


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
    return repr(value)
