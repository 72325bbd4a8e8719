"""A copy of a SQLite store that is whole at one moment, made while runs go on.

DIR/catp.db      the database, written by SQLite's own online backup
DIR/artifacts/   the files it refers to; those that are there already are not copied again

To restore, name DIR/catp.db with `--store`, or copy both back. PostgreSQL stores are backed up with `pg_dump`.
"""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from catp.store.artifacts import ArtifactStore
from catp.store.errors import StoreError

__all__ = ["Backup", "backup_sqlite"]


class Backup(NamedTuple):
    """What a backup holds; `missing` are digests of files that the store itself has lost."""

    database: Path
    files: int
    copied: int
    missing: tuple[str, ...]


def backup_sqlite(
    source: Path,
    artifacts: ArtifactStore,
    target: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Backup:
    """Copy a store into the folder `target`; an earlier backup there is replaced only once the new one is whole.

    `progress` is told how many files of how many are there.

    Raises:
        StoreError: The copy is damaged, or a file cannot be read or written; it says which.
    """
    database, temporary = target / "catp.db", target / ".catp.db.part"
    try:
        target.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        with (
            closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as old,
            closing(sqlite3.connect(temporary)) as new,
        ):
            old.backup(new, pages=4096)
            _check(new, temporary)
            digests = [row[0] for row in new.execute("SELECT sha256 FROM artifacts ORDER BY sha256")]
            new.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it
        copied, missing = _copy_files(artifacts, ArtifactStore(target / "artifacts"), digests, progress)
        os.replace(temporary, database)
    except sqlite3.Error as error:
        raise StoreError(f"cannot back up {source} to {target}: {error}") from error
    except OSError as error:
        raise StoreError(f"cannot back up {source} to {target}: {error.strerror or error}") from error
    return Backup(database, len(digests), copied, tuple(missing))


def _check(connection: sqlite3.Connection, path: Path) -> None:
    problem = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if problem != "ok":
        raise StoreError(f"the copy {path} is damaged ({problem}), and so is the store it was made of")


def _copy_files(
    old: ArtifactStore, new: ArtifactStore, digests: list[str], progress: Callable[[int, int], None]
) -> tuple[int, list[str]]:
    copied, missing = 0, []
    for place, digest in enumerate(digests, 1):
        source, target = old.path(digest), new.path(digest)
        if not target.exists():
            if source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                part = target.with_name(f".{target.name}.part")
                shutil.copyfile(source, part)
                os.replace(part, target)
                copied += 1
            else:
                missing.append(digest)
        progress(place, len(digests))
    return copied, missing
