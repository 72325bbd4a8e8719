"""Large values by content: the SHA-256 of the bytes is the name, so that equal values are kept once.

Beside a SQLite file they are files in a folder, written once and never half; in PostgreSQL they are rows, since the
machines that share a server share no folder.
"""

import contextlib
import hashlib
import io
import os
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from catp.store.database import Database
from catp.store.statements import query

__all__ = ["INLINE_LIMIT", "Artifact", "ArtifactStore", "Artifacts", "TableArtifacts", "thumbnail"]

INLINE_LIMIT = 4096
"""Texts up to this many bytes are kept in the database row itself."""

_THUMB_PIXELS = 256
_LATELY_S = 3600.0


@dataclass(frozen=True)
class Artifact:
    """Bytes, what they are, and for pictures how large in pixels."""

    data: bytes
    mime: str
    width: int | None = None
    height: int | None = None

    @cached_property
    def sha256(self) -> str:
        """The hex digest that names the artifact."""
        return hashlib.sha256(self.data).hexdigest()


class Artifacts(Protocol):
    """Where the bytes of artefacts are. `put` comes before the rows that name them."""

    in_rows: bool
    """True if the bytes belong into the row itself (`artifacts.content`)."""

    def put(self, artifact: Artifact) -> str:
        """Keep the bytes; return their digest. Raises `OSError` on a full disk."""
        ...

    def get(self, sha256: str) -> bytes:
        """Return the bytes; raise `FileNotFoundError` if they are gone, `ValueError` if they were changed."""
        ...

    def sync(self, digests: Iterable[str]) -> None:
        """Make sure that artefacts put earlier are on the disk."""
        ...

    def drop(self, digests: Iterable[str]) -> None:
        """Delete artefacts that no row names any more."""
        ...


class ArtifactStore:
    """A folder of files named by their digest, two characters of it per sub-folder."""

    in_rows = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, sha256: str) -> Path:
        """Where the artifact lies, whether or not it exists."""
        return self.folder / sha256[:2] / sha256

    def put(self, artifact: Artifact) -> str:
        """Write the artifact unless it is there, atomically; see `Artifacts.put`."""
        digest = artifact.sha256
        target = self.path(digest)
        with contextlib.suppress(FileNotFoundError):
            if target.stat().st_size == len(artifact.data):
                os.utime(target)  # wanted again: `drop` must not take it for old
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
        """See `Artifacts.get`."""
        data = self.path(sha256).read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ValueError(f"artifact {sha256} is corrupt: its content has another digest")
        return data

    def sync(self, digests: Iterable[str]) -> None:
        """See `Artifacts.sync`."""
        paths = [self.path(digest) for digest in digests]
        for path in dict.fromkeys([*paths, *(path.parent for path in paths)]):
            try:
                handle = os.open(path, os.O_RDONLY)
            except FileNotFoundError:  # dropped meanwhile: nobody wants it
                continue
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def drop(self, digests: Iterable[str]) -> None:
        """Delete files, except those that were put lately: the rows that name them may not be written yet."""
        for digest in digests:
            path = self.path(digest)
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _LATELY_S:
                    path.unlink()


class TableArtifacts:
    """Artefacts in the rows of the database itself."""

    in_rows = True

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, artifact: Artifact) -> str:
        """Only name the artifact: its row will hold the bytes."""
        return artifact.sha256

    def get(self, sha256: str) -> bytes:
        """See `Artifacts.get`."""
        rows = self._database.read(
            lambda connection: query(connection, "SELECT content FROM artifacts WHERE sha256 = ?", sha256)
        )
        if not rows or rows[0].content is None:
            raise FileNotFoundError(f"artifact {sha256} is not in {self._database.name}")
        return bytes(rows[0].content)

    def sync(self, digests: Iterable[str]) -> None:
        """Nothing to do: the commit writes them."""

    def drop(self, digests: Iterable[str]) -> None:
        """Nothing to do: they went with their rows."""


def thumbnail(picture: Artifact) -> Artifact | None:
    """Return a small copy of a picture (at most 256 pixels each way), itself if it is small, None if there is none."""
    if not picture.mime.startswith("image/") or not picture.width or not picture.height:
        return None
    if max(picture.width, picture.height) <= _THUMB_PIXELS and picture.mime == "image/png":
        return picture
    from PIL import Image

    try:
        with Image.open(io.BytesIO(picture.data)) as image:
            small = image.convert("RGBA" if "A" in image.getbands() else "RGB")
        small.thumbnail((_THUMB_PIXELS, _THUMB_PIXELS))
        buffer = io.BytesIO()
        small.save(buffer, format="PNG")
    except Exception:  # a picture that cannot be shown small is still kept whole
        return None
    return Artifact(buffer.getvalue(), "image/png", *small.size)
