"""Changing a profile file that other processes change, too."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from catp.tools.errors import ProfileError
from catp.tools.profile import ProfileBook

__all__ = ["changed_profiles"]


@contextmanager
def changed_profiles(path: str | os.PathLike[str]) -> Iterator[ProfileBook]:
    """Yield the book of a file, empty if there is none, to be changed in place; write it on leaving without an error.

    Whoever changes the file waits for the others, so that two runs that end at once do not lose each other's calls.
    Raises `ProfileError` if the file is damaged or cannot be written; it is then as it was.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = open(target.with_name(f".{target.name}.lock"), "ab")  # noqa: SIM115  held by the `with` below
    except OSError as error:
        raise ProfileError(f"cannot save profiles to {path}: {error.strerror or error}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            raise ProfileError(f"cannot lock profiles at {path}: {error.strerror or error}") from error
        book = ProfileBook.load(target) if target.exists() else ProfileBook()
        yield book
        book.save(target)
