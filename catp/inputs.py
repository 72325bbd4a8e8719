"""Reading a run's inputs from the command line: files become images, texts or bytes, the rest stays text.

name=@path     always a file; with * or ? in it, the list of all files that match
name:=json     a JSON value; name:=@path reads it from a file
name=value     a file if it exists or its ending says so, otherwise text

A name given several times becomes a list.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["MAX_INPUT_BYTES", "InputError", "decode_image", "read_file", "read_inputs"]

MAX_INPUT_BYTES = 256 * 1024 * 1024

_IMAGES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif"}
_TEXTS = {".txt", ".md", ".csv", ".json", ".html", ".xml"}


class InputError(ValueError):
    """An input that cannot be used; the message names the input, what was found and the fix."""


def read_inputs(options: Iterable[str]) -> dict[str, Any]:
    """Turn `--input` options into values; raise `InputError` for malformed, missing, huge or corrupt ones."""
    values: dict[str, list[Any]] = {}
    for option in options:
        name, separator, raw = option.partition("=")
        as_json = name.endswith(":")
        name = name.removesuffix(":")
        if not separator or not name.isidentifier():
            raise InputError(f"--input {option!r}: write name=value, name=@file or name:=json, with a name like `page`")
        values.setdefault(name, []).append(_json_value(name, raw) if as_json else _value(name, raw))
    return {name: given[0] if len(given) == 1 else given for name, given in values.items()}


def read_file(path: Path, name: str) -> Any:
    """Read one file: an image by its ending, otherwise UTF-8 text, otherwise bytes."""
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise InputError(f"input {name}: {path} is a folder, not a file")
        if size > MAX_INPUT_BYTES:
            raise InputError(f"input {name}: {path} has {size:,} bytes, the limit is {MAX_INPUT_BYTES:,}")
        if size == 0:
            raise InputError(f"input {name}: {path} is empty")
        if path.suffix.lower() in _IMAGES:
            return decode_image(path, name, str(path))
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"input {name}: there is no file {path}") from error
    except OSError as error:
        raise InputError(f"input {name}: {path} cannot be read: {error.strerror or error}") from error
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        if path.suffix.lower() in _TEXTS:
            raise InputError(f"input {name}: {path} is not UTF-8 text") from None
        return data


def _value(name: str, raw: str) -> Any:
    if raw.startswith("@"):
        path = Path(raw[1:]).expanduser()
        if not _exists(path) and any(sign in raw for sign in "*?"):
            return _matching(path, name)
        return read_file(path, name)
    path = Path(raw)
    looks_like_file = len(raw) < 4096 and "\n" not in raw and "\0" not in raw
    if looks_like_file and (path.suffix.lower() in _IMAGES | _TEXTS or _exists(path)):
        return read_file(path.expanduser(), name)
    return raw


def _exists(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _matching(pattern: Path, name: str) -> list[Any]:
    found = sorted(pattern.parent.glob(pattern.name))
    if not found:
        raise InputError(f"input {name}: no file matches {pattern}")
    return [read_file(path, name) for path in found]


def _json_value(name: str, raw: str) -> Any:
    if raw.startswith("@"):
        raw = str(read_file(Path(raw[1:]).expanduser(), name))
    try:
        return json.loads(raw)
    except ValueError as error:
        raise InputError(f"input {name}: {raw[:80]!r} is not JSON: {error}") from error


def decode_image(file: Path | BinaryIO, name: str, shown: str) -> Any:
    """Read an image as RGB; raise `InputError`, which calls the file what is `shown`."""
    import warnings

    from PIL import Image

    try:
        with warnings.catch_warnings():
            # Pillow only warns between one and two times its pixel limit; a decompression bomb must not get through.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as opened:
                return opened.convert("RGB")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"input {name}: {shown} has too many pixels: {error}") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"input {name}: {shown} is not an image Pillow can read: {error}") from error
