"""The SHA-256 of a file: how weights, states of training and data are told apart from changed ones."""

import hashlib
from pathlib import Path

__all__ = ["file_digest"]


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as hexadecimal digits; reads it in pieces.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
