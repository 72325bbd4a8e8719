"""Is the database file still the one that was opened?

SQLite goes on writing into a file that was removed or replaced: every commit succeeds, and nothing of it is ever found.
"""

import os
from pathlib import Path
from typing import TypeAlias

from catp.store.errors import StoreError

__all__ = ["FileId", "file_id", "still_there"]

FileId: TypeAlias = tuple[int, int]
"""Device and number of a file: another file under the same name has another one."""


def file_id(path: Path) -> FileId | None:
    """Return which file lies there; None if there is none."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def still_there(path: Path, opened: FileId | None) -> None:
    """Raise `StoreError` if the file is not the one that was opened."""
    if file_id(path) != opened:
        raise StoreError(
            f"run store {path} was removed or replaced while this process used it; nothing more is written. Put the "
            "file back, or start again to use the one that is there now"
        )
