"""Folders that are replaced whole: whoever is killed, whenever, leaves the old one or the new one.

    .NAME.part   being written; worthless
    .NAME.new    whole and on the disk; about to take the place of NAME
    .NAME.old    what NAME was; about to be removed

A folder cannot be renamed over another one, so there is a moment in which only `.NAME.new` and `.NAME.old` exist;
`recover` ends what was begun.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from catp.training.caorl.errors import TrainError

__all__ = ["recover", "replacing_folder", "space_errors"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def replacing_folder(target: Path, needed: int) -> Iterator[Path]:
    """An empty folder that takes the place of `target` when all is written, and vanishes if anything fails.

    Args:
        target: The folder to replace, or to make.
        needed: Roughly how many bytes will be written.

    Raises:
        TrainError: The disk is full. `target` is as it was.
    """
    recover(target)
    part = _beside(target, "part")
    target.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise _full(target, needed, free)
    part.mkdir()
    try:
        with space_errors(target, needed):
            yield part
            _to_disk(part)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    part.rename(_beside(target, "new"))
    recover(target)


def recover(target: Path) -> None:
    """Finish or forget the replacement of a folder that a killed process has begun."""
    part, new, old = (_beside(target, kind) for kind in ("part", "new", "old"))
    if part.exists():
        shutil.rmtree(part)
    if new.exists():
        if target.exists():
            if old.exists():
                shutil.rmtree(old)
            target.rename(old)
        new.rename(target)
        _sync_folder(target.parent)
    if old.exists():
        shutil.rmtree(old)


@contextmanager
def space_errors(target: Path, needed: int) -> Iterator[None]:
    """Turn what a full disk makes of a write (by Python or by safetensors) into a `TrainError`."""
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        texts = [os.strerror(code) for code in _FULL] if number is None else []
        if number in _FULL or any(text in str(error) for text in texts):
            raise _full(target, needed, shutil.disk_usage(target.parent).free) from error
        raise


def _full(target: Path, needed: int, free: int) -> TrainError:
    kept = "the checkpoint that is there is untouched" if target.exists() else "nothing was written"
    return TrainError(
        f"no space left to write {target}: it needs about {needed:,} bytes and {free:,} are free in {target.parent}; "
        f"{kept}. Make room and go on with resume"
    )


def _beside(target: Path, kind: str) -> Path:
    return target.with_name(f".{target.name}.{kind}")


def _to_disk(folder: Path) -> None:
    for root, _, names in os.walk(folder):
        for name in names:
            handle = os.open(Path(root) / name, os.O_RDONLY)
            try:
                os.fchmod(handle, os.stat(folder).st_mode & 0o666)  # safetensors makes files that only we can read
                os.fsync(handle)
            finally:
                os.close(handle)
        _sync_folder(Path(root))


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
