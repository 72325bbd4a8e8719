"""Taking policies in from elsewhere: a folder, an archive, or an archive behind an https address.

Nothing of a stranger's archive is trusted: names that lead out of the folder, links, devices, pickles and archives that
unpack to more than the limit are refused, and what was unpacked is checked as a checkpoint before it gets its name.
"""

import gzip
import re
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import urlsplit

import httpx

from catp.training.digest import file_digest
from catp.training.policy.errors import CheckpointError
from catp.training.policy.manifest import MANIFEST, read_manifest
from catp.training.policy.models import models_dir
from catp.training.policy.weights import check_weights, refuse_pickles, replaced_folder

__all__ = ["MAX_BYTES", "pull"]

MAX_BYTES = 4 << 30
"""Most bytes a policy may have, packed or unpacked."""

_MAX_FILES = 1000
_CHUNK = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Member = tuple[str, Callable[[], IO[bytes]]]


def pull(
    source: str, name: str, *, sha256: str | None = None, replace: bool = False, limit: int = MAX_BYTES,
    client: httpx.Client | None = None, progress: Callable[[int, int | None], None] | None = None,
) -> Path:  # fmt: skip
    """Install a policy under a name among the user's, and return its folder.

    Args:
        source: a folder, a .tar.gz, .tgz or .zip file, or the https address of such a file.
        name: what it will be called.
        sha256: SHA-256 of the archive; an address needs one.
        replace: whether a policy of that name may be replaced.
        limit: most bytes, packed or unpacked.
        client: makes the request; by default one of its own.
        progress: told the bytes that came in, and how many there will be if that is known.

    Raises:
        CheckpointError: it cannot be had, is not what the digest says, is not safe to unpack, or is no sound policy.
        FileExistsError: there is one of that name.
    """
    if _NAME.fullmatch(name) is None:
        raise CheckpointError(f"{name!r} is no name for a policy; use letters, digits, `.`, `_` and `-`, up to 64")
    target = models_dir() / name
    if target.exists() and not replace:
        raise FileExistsError(f"{target} is there already; remove it, choose another name, or replace it")
    with _members(source, sha256, limit, client, progress) as members, replaced_folder(target) as filling:
        _write(members, filling, source, limit)
        _check(filling, source)
    return target


def _check(folder: Path, source: str) -> None:
    """Check what was unpacked; errors name the source, since the folder they would name is about to vanish."""
    try:
        manifest = read_manifest(folder)
        refuse_pickles(folder)
        if not manifest.weights:
            raise CheckpointError(f"{folder / MANIFEST} names no weights")
        for file, digest in manifest.weights.items():
            check_weights(folder / file)
            if file_digest(folder / file) != digest:
                raise CheckpointError(f"{folder / file} is damaged: not what {MANIFEST} says")
    except CheckpointError as error:
        text = str(error).replace(str(folder), source)
        raise CheckpointError(f"{text} (nothing was installed)") from error


def _write(members: Iterator[Member], folder: Path, source: str, limit: int) -> None:
    """Write the files of a policy flat into a folder; one folder around all of them is taken off."""
    total = 0
    tops: set[str] = set()
    for count, (name, opened) in enumerate(members, 1):
        path = PurePosixPath(name)
        if not path.name or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
            raise CheckpointError(f"{source}: {name!r} leads out of the folder: not safe to unpack")
        tops.add(path.parts[0] if len(path.parts) > 1 else "")
        if len(path.parts) > 2 or len(tops) > 1 or count > _MAX_FILES or (folder / path.name).exists():
            raise CheckpointError(f"{source}: {name!r}: a policy is the files of one folder; pack that folder alone")
        with opened() as incoming, (folder / path.name).open("xb") as outgoing:
            while chunk := incoming.read(_CHUNK):
                total += len(chunk)
                if total > limit:
                    raise CheckpointError(f"{source} unpacks to more than {limit} bytes; it is no policy for this name")
                outgoing.write(chunk)


@contextmanager
def _members(
    source: str, sha256: str | None, limit: int, client: httpx.Client | None,
    progress: Callable[[int, int | None], None] | None,
) -> Iterator[Iterator[Member]]:  # fmt: skip
    """Open a source of any kind as a sequence of named files."""
    if "://" in source:
        with tempfile.TemporaryDirectory(prefix="catp-pull-") as place:
            path = Path(place) / (Path(urlsplit(source).path).name or "archive")
            _download(source, path, sha256, limit, client, progress)
            with _members(str(path), sha256, limit, client, progress) as found:
                yield found
        return
    path = Path(source).expanduser()
    if path.is_dir():
        yield _of_folder(path)
        return
    if not path.is_file():
        raise CheckpointError(f"there is no folder or archive {path}; name one, or an https address")
    if sha256 is not None and file_digest(path) != sha256.lower():
        raise CheckpointError(f"{source} has another SHA-256 than {sha256}: damaged or not the same; fetch it again")
    try:
        if path.name.endswith((".tar.gz", ".tgz")):
            with tarfile.open(path, "r:gz") as tar:
                yield _of_tar(tar, source)
        elif path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                yield _of_zip(archive, source)
        else:
            raise CheckpointError(f"{path} is neither a folder nor a .tar.gz, .tgz or .zip file")
    except (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise CheckpointError(f"{source} is a damaged archive ({error}); fetch it again") from error


def _of_folder(folder: Path) -> Iterator[Member]:
    for path in sorted(folder.iterdir()):
        if path.is_symlink() and not path.resolve().is_file():
            raise CheckpointError(f"{path} is a link to nothing that can be copied; remove it")
        if path.is_file():  # run logs and step folders beside the checkpoint stay where they are
            yield path.name, lambda path=path: path.open("rb")  # type: ignore[misc]  # bound in each turn


def _of_tar(tar: tarfile.TarFile, source: str) -> Iterator[Member]:
    for member in tar:
        if member.isdir():
            continue
        if not member.isreg():
            raise CheckpointError(f"{source}: {member.name!r} is a link or a device: not safe to unpack")
        opened = tar.extractfile(member)
        assert opened is not None  # it is a regular file
        yield member.name, lambda opened=opened: opened  # type: ignore[misc]


def _of_zip(archive: zipfile.ZipFile, source: str) -> Iterator[Member]:
    for member in archive.infolist():
        if member.is_dir():
            continue
        if (member.external_attr >> 16) & 0o170000 == 0o120000:
            raise CheckpointError(f"{source}: {member.filename!r} is a link: not safe to unpack")
        yield member.filename, lambda member=member: archive.open(member)  # type: ignore[misc]


def _download(
    url: str, path: Path, sha256: str | None, limit: int, client: httpx.Client | None,
    progress: Callable[[int, int | None], None] | None,
) -> None:  # fmt: skip
    if not url.startswith("https://"):
        raise CheckpointError(f"{url} is no https address; fetch the archive yourself and name the file")
    if sha256 is None:
        raise CheckpointError(f"{url} needs the SHA-256 of the archive, so that what comes is what was meant")
    own = client if client is not None else httpx.Client(timeout=60.0)
    try:
        with own.stream("GET", url, follow_redirects=True) as answer, path.open("wb") as file:
            answer.raise_for_status()
            for hop in (*answer.history, answer):
                if hop.url.scheme != "https":
                    raise CheckpointError(f"{url} leads to {hop.url}, which is not https")
            length = answer.headers.get("content-length", "")
            got = 0
            for chunk in answer.iter_bytes(_CHUNK):
                got += len(chunk)
                if got > limit:
                    raise CheckpointError(f"{url} sends more than {limit} bytes; it is no policy for this name")
                file.write(chunk)
                if progress is not None:
                    progress(got, int(length) if length.isdigit() else None)
    except httpx.HTTPError as error:
        raise CheckpointError(f"{url} cannot be fetched: {error}") from error
    finally:
        if client is None:
            own.close()
