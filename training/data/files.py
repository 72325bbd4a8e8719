"""Reading and writing files of trajectories: `.jsonl`, `.jsonl.gz` and `.parquet`, by suffix.

A folder stands for all such files in it, in name order. Writing is atomic and reproducible: readers see the old file
or the whole new one, and equal records make equal bytes (of gzip, no time and no name in the header).
"""

import gzip
import io
import json
import math
import os
import re
import stat
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NoReturn

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from catp.training.data.parquet import read_rows, write_rows
from catp.training.data.problems import DataError, Problem, explain, shown
from catp.training.data.trajectory import Trajectory

__all__ = ["SUFFIXES", "data_files", "decode", "lines", "read", "replacing", "write"]

SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
"""What a file of trajectories may be called."""

_BOM = b"\xef\xbb\xbf"
_GZIP_LEVEL = 9
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


def read(path: str | Path) -> Iterator[Trajectory]:
    """Yield the records of a file, or of all files of a folder in name order.

    Raises:
        DataError: the file is missing, has another suffix, or is damaged, or a line is no record. The first bad line
            ends the reading; `catp.training.data.validate` finds all of them.
    """
    files = data_files(path)  # here, so that a wrong name is an error before the first record is asked for
    return (record for file in files for record in _records(file))


def write(path: str | Path, records: Iterable[Trajectory]) -> int:
    """Write records to a file of the format its suffix names, all or nothing; return how many.

    Raises:
        DataError: the suffix is unknown, or a record cannot be written in this format.
        OSError: the disk is full, the folder is missing, and the like. A file that was there is untouched.
    """
    target = Path(path)
    kind = _kind(target)
    with replacing(target) as file:
        if kind == ".parquet":
            return _write_parquet(target, file, records)
        if kind == ".jsonl":
            return _write_lines(target, file, records)
        with gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) as packed, io.BufferedWriter(packed) as text:
            return _write_lines(target, text, records)


def data_files(path: str | Path) -> list[Path]:
    """Return the file itself, or the files of trajectories in a folder; raise `DataError` if there is none."""
    path = Path(path)
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.name.endswith(SUFFIXES) and not p.name.startswith("."))
        if not found:
            raise DataError(path, None, Problem("file", "", "", "no file of trajectories in here", _suffix_help()))
        return found
    _kind(path)
    if not path.exists():
        raise DataError(path, None, Problem("file", "", "", "there is no such file", "check the name"))
    return [path]


def lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield each line's number, from 1, and its JSON object, or the `Problem` that there is none.

    Blank lines are passed over. A damaged file ends with a `Problem` where the damage begins.
    """
    if _kind(path) == ".parquet":
        yield from _rows(path)
        return
    number = 0
    try:
        with gzip.open(path, "rb") if path.name.endswith(".gz") else open(path, "rb") as file:
            for number, raw in enumerate(file, start=1):
                if raw.strip():
                    yield number, decode(raw, first=number == 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        yield number + 1, Problem("file", "", "", f"damaged gzip: {error}", "make the file anew, or copy it again")
    except OSError as error:
        yield number + 1, Problem("file", "", "", f"cannot be read: {error.strerror or error}", "check the file")


def decode(raw: bytes, *, first: bool = False) -> Any:
    """Return the JSON object of one line, or the `Problem` that it is none; `first` lines may not have a BOM."""
    if first and raw.startswith(_BOM):
        return Problem("encoding", "", "EF BB BF", "a byte order mark before the first record", "save without BOM")
    try:
        value = json.loads(
            raw.decode("utf-8"), parse_constant=_no_number, parse_float=_number, object_pairs_hook=_object
        )
    except UnicodeDecodeError as error:
        found = raw[error.start : error.start + 4].hex(" ").upper()
        why = f"not UTF-8 at byte {error.start + 1} of the line"
        return Problem("encoding", "", found, why, "save the file as UTF-8")
    except _BadValue as error:
        return Problem("json", "", error.found, error.why, error.fix)
    except json.JSONDecodeError as error:
        near = shown(error.doc[max(0, error.pos - 10) : error.pos + 20])
        return Problem("json", "", near, f"not JSON: {error.msg} at column {error.colno}", "write one object a line")
    except (ValueError, RecursionError) as error:
        return Problem("json", "", "", f"not JSON that can be read: {error}", "write one flat object a line")
    if half := _SURROGATE.search(raw):
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            found = half[0].decode()
            return Problem("encoding", "", found, "half of a surrogate pair, which is no character", "leave it out")
    if not isinstance(value, dict):
        return Problem("json", "", shown(value), "not an object", "write one object a line")
    return value


def _records(path: Path) -> Iterator[Trajectory]:
    for number, item in lines(path):
        if isinstance(item, Problem):
            raise DataError(path, number, item)
        try:
            yield Trajectory.from_json(item)
        except ValidationError as error:
            raise DataError(path, number, next(explain(error))) from error


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    number = 0
    try:
        for number, row in enumerate(read_rows(path), start=1):
            yield number, row
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        why = f"damaged Parquet: {str(error).splitlines()[0]}"
        yield number + 1, Problem("file", "", "", why, "make the file anew, or copy it again")


def _write_lines(path: Path, file: IO[bytes] | io.BufferedWriter, records: Iterable[Trajectory]) -> int:
    number = 0
    for number, record in enumerate(records, start=1):
        try:
            file.write(record.to_line().encode("utf-8") + b"\n")
        except (PydanticSerializationError, UnicodeEncodeError) as error:
            raise DataError(path, number, Problem("schema", "", record.trajectory_id, str(error), "mend it")) from error
    return number


def _write_parquet(path: Path, file: IO[bytes], records: Iterable[Trajectory]) -> int:
    try:
        return write_rows(file, records)
    except (PydanticSerializationError, OverflowError, ValueError) as error:  # ArrowInvalid is a ValueError
        if isinstance(error, DataError):
            raise
        fix = "whole numbers have 64 bits in Parquet, text is Unicode"
        raise DataError(path, None, Problem("schema", "", "", str(error), fix)) from error


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` when all is written and on the disk, and vanishes if anything fails."""
    target = path.resolve()
    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o666 & ~_umask()
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:40]}.", suffix=".part")
    try:
        with os.fdopen(handle, "w+b") as file:  # HDF5 reads what it wrote
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        os.replace(name, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _kind(path: Path) -> str:
    kind = next((suffix for suffix in sorted(SUFFIXES, key=len, reverse=True) if path.name.endswith(suffix)), None)
    if kind is None:
        raise DataError(path, None, Problem("file", "", path.suffix, "not a kind of file known here", _suffix_help()))
    return kind


def _suffix_help() -> str:
    return f"files of trajectories end in {', '.join(SUFFIXES)}"


class _BadValue(Exception):
    """What JSON cannot hold, though Python's parser takes it."""

    def __init__(self, found: str, why: str, fix: str) -> None:
        self.found, self.why, self.fix = found, why, fix


def _no_number(text: str) -> NoReturn:
    raise _BadValue(text, f"{text} is not JSON", "leave the field out where a number is unknown")


def _number(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _BadValue(shown(text), "a number too large to keep", "write a number below 1e308")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(key for n, (key, _) in enumerate(pairs) if key in (k for k, _ in pairs[:n]))
        raise _BadValue(shown(twice), f"the field {twice!r} is there twice", "keep one of them")
    return found
