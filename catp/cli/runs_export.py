"""`catp runs export`: one run as a file that needs no store."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from catp.cli.config import settings_or_fail
from catp.cli.options import ToolsOption
from catp.cli.output import EXIT_FAILED, EXIT_UNREACHABLE, EXIT_USAGE, emit_text, fail
from catp.cli.runs_resume import RunArgument, StoreOption

if TYPE_CHECKING:
    from catp.dashboard.read.export import Export, Format
    from catp.tools.catalogue import Catalogue

__all__ = ["export"]


def export(
    run_id: RunArgument,
    format_: Annotated[
        str,
        typer.Option("--format", metavar="json|csv|otlp|html", help="Record, ledger, spans or page."),
    ] = "json",
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Where to; standard output if not given.")
    ] = None,
    tools: ToolsOption = None,
    store: StoreOption = None,
) -> None:
    """Write one run to a file: JSON, CSV, OpenTelemetry spans, or a page to read and to send."""
    file = _export(store, tools, run_id, format_)
    if output is None:
        sys.stdout.buffer.write(file.data)
        sys.stdout.flush()
        return
    try:
        Path(output).write_bytes(file.data)
    except OSError as error:
        fail(f"cannot write {output!r}: {error.strerror}", EXIT_FAILED)
    emit_text(f"{output}: {len(file.data):,} bytes")


def _export(target: str | None, tools: str | None, run_id: str, format_: str) -> "Export":
    from catp.dashboard.read.export import Format, NoTelemetry
    from catp.dashboard.read.export import export as made
    from catp.store.store import RunStore, StoreError

    if format_ not in get_args(Format):
        fail(f"there is no format {format_!r}; formats are {', '.join(get_args(Format))}", EXIT_USAGE)
    settings = settings_or_fail(store=target, tools=tools)
    store = RunStore(settings.store)
    try:
        return made(store, run_id, cast("Format", format_), lambda: _tools(settings.tools))
    except NoTelemetry as error:
        fail(str(error), EXIT_FAILED)
    except StoreError as error:
        fail(str(error), EXIT_UNREACHABLE)
    except KeyError as error:
        fail(str(error.args[0]), EXIT_USAGE)
    finally:
        store.close()


def _tools(spec: str) -> "Catalogue":
    """The tools that spans are named after; the built-in ones only as far as they can be loaded here."""
    from catp.cli.catalogues import load_catalogue
    from catp.tools.builtin import default_catalogue
    from catp.tools.catalogue import Catalogue
    from catp.tools.errors import ToolUnavailable

    if spec != "zoo":
        return load_catalogue(spec)
    try:
        return default_catalogue()
    except ToolUnavailable:
        return Catalogue([])
