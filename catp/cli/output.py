"""What every command shares: exit codes, one way to print data, one way to fail, one way to read a file.

    stdout   data only, never coloured: text, or one JSON document with a `"schema"` field
    stderr   progress, diagnostics and errors; coloured only on a terminal and without NO_COLOR

Exit codes are part of the interface, so scripts can tell a broken plan from a refused one.
"""

import dataclasses
import json
import os
import stat
import sys
import tempfile
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from catp.planlang.money import Money, format_usd
from catp.planlang.render.labels import time_text, visible

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "EXIT_BUDGET",
    "EXIT_FAILED",
    "EXIT_INTERRUPTED",
    "EXIT_INVALID_PLAN",
    "EXIT_OK",
    "EXIT_SLO_MISSED",
    "EXIT_UNREACHABLE",
    "EXIT_USAGE",
    "EXIT_WAITING",
    "MAX_SOURCE_BYTES",
    "OutputError",
    "console_err",
    "dollars",
    "emit_error",
    "emit_json",
    "emit_jsonl",
    "emit_text",
    "fail",
    "milliseconds",
    "printable",
    "read_source",
    "say_errors_in_json",
    "set_quiet",
    "write_atomic",
]

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INVALID_PLAN = 3
EXIT_BUDGET = 4
EXIT_SLO_MISSED = 5
EXIT_UNREACHABLE = 6
EXIT_WAITING = 7
EXIT_INTERRUPTED = 130

MAX_SOURCE_BYTES = 8 * 1024 * 1024
"""Larger files are refused before they are read: no plan is this long, but a mistyped path may be."""

_JSON_ERRORS: ContextVar[bool] = ContextVar("catp_json_errors", default=False)
_QUIET: ContextVar[bool] = ContextVar("catp_quiet", default=False)


class OutputError(Exception):
    """Standard output cannot be written (a full disk); the main command turns it into a message."""


def set_quiet(quiet: bool) -> None:
    """Set by the main command's `--quiet`: `console_err` then prints nothing, `fail` still does."""
    _QUIET.set(quiet)


def say_errors_in_json(context: typer.Context, json: bool) -> bool:
    """The callback of every `--json`: whoever reads JSON reads errors as JSON, too."""
    if json:
        _JSON_ERRORS.set(True)
        context.call_on_close(lambda: _JSON_ERRORS.set(False))
    return json


def console_err() -> "Console":
    """Return a console on stderr for progress and notes; silent with `--quiet`, plain with `NO_COLOR`."""
    from rich.console import Console

    return Console(stderr=True, quiet=_QUIET.get(), highlight=False, soft_wrap=True)


def fail(message: str, code: int = EXIT_FAILED, help: str | None = None) -> NoReturn:
    """Print `error: message` and the help line on stderr and leave with exit code `code`.

    With `--json` the same goes to stdout as well, as one `catp.error/1` object.
    """
    emit_error(message, code, help=help)
    typer.secho("error: ", fg="red", bold=True, err=True, nl=False, color=_colour())
    typer.echo(printable(message), err=True)
    if help:
        typer.echo(f"  help: {printable(help)}", err=True)
    raise typer.Exit(code)


def emit_error(message: str, code: int, **more: Any) -> None:
    """Print an error as one `catp.error/1` object on stdout, if the command was asked for JSON."""
    if _JSON_ERRORS.get():
        emit_jsonl("catp.error/1", {"error": message, "exit_code": code, **more})


def emit_text(text: str) -> None:
    """Print data for people on stdout, ending in exactly one newline."""
    _write(text.rstrip("\n") + "\n")


def emit_json(schema: str, data: Mapping[str, Any]) -> None:
    """Print one JSON document on stdout: `data` with `"schema": schema` first.

    Dataclasses become objects, tuples and sets lists, paths strings. Money must already be a decimal string.
    """
    _write(json.dumps({"schema": schema, **data}, ensure_ascii=False, indent=2, default=_jsonable) + "\n")


def emit_jsonl(schema: str, data: Mapping[str, Any]) -> None:
    """Print one JSON object on one line of stdout, for `--jsonl`."""
    _write(json.dumps({"schema": schema, **data}, ensure_ascii=False, default=_jsonable) + "\n")


def dollars(amount: Money | None) -> str:
    """Return an amount as people read it (`"$0.0000084"`), or `"unpriced"` if nobody knows it."""
    if amount is None:
        return "unpriced"
    return f"-${format_usd(Money(-amount))}" if amount < 0 else f"${format_usd(amount)}"


def milliseconds(ms: float) -> str:
    """Return a time as people read it: `0.4 ms`, `85 ms`, `1.25 s`, `3 min 5 s`."""
    return time_text(ms)


def printable(text: str) -> str:
    """Return text that cannot steer a terminal: control, bidirectional and lone surrogate characters are escaped."""
    return visible(text)


def read_source(path: str) -> bytes:
    """Read a file, or stdin for `-`; whatever cannot be read ends the command with a usage error."""
    if path == "-":
        return _bounded(sys.stdin.buffer.read(MAX_SOURCE_BYTES + 1), "stdin")
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            fail(f"{path!r} is a directory", EXIT_USAGE, help="name the plan file inside it")
        with open(path, "rb") as file:
            return _bounded(file.read(MAX_SOURCE_BYTES + 1), repr(path))
    except FileNotFoundError:
        fail(f"file {path!r} does not exist", EXIT_USAGE, help="use - to read from stdin")
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL byte
        fail(f"cannot read {path!r}: {getattr(error, 'strerror', None) or error}", EXIT_USAGE)


def write_atomic(path: str | Path, text: str) -> None:
    """Write a file so that readers see the old or the new content, never half; keeps its mode and follows links."""
    target = Path(path).resolve()
    try:
        mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o666 & ~_umask()
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:40]}.")
        try:
            with open(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, mode)
            os.replace(name, target)
        except BaseException:
            os.unlink(name)
            raise
    except (OSError, ValueError) as error:
        fail(f"cannot write {str(path)!r}: {getattr(error, 'strerror', None) or error}", EXIT_USAGE)


def _bounded(data: bytes, name: str) -> bytes:
    if len(data) > MAX_SOURCE_BYTES:
        fail(f"{name} is larger than {MAX_SOURCE_BYTES // 1024 // 1024} MiB", EXIT_USAGE, help="is it really a plan?")
    return data


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _colour() -> bool | None:
    return False if "NO_COLOR" in os.environ else None


def _write(text: str) -> None:
    """Write to stdout in UTF-8 whatever the locale says, since data must not depend on it."""
    try:
        sys.stdout.flush()
        buffer = getattr(sys.stdout, "buffer", None)
        if buffer is None:
            sys.stdout.write(text)
        else:
            buffer.write(text.encode("utf-8", "backslashreplace"))
            buffer.flush()
    except BrokenPipeError:  # the reader has seen enough; the command ends quietly
        raise
    except OSError as error:
        raise OutputError(f"cannot write to standard output: {error.strerror or error}") from error


def _jsonable(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (tuple, set, frozenset)):
        return sorted(value, key=str) if isinstance(value, (set, frozenset)) else list(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be printed as JSON")
