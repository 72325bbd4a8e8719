"""The command's front door: global options, the list of commands, and what to do with an interrupt."""

import os
import sys
from typing import Annotated

import typer

from catp.cli.config import app as config_app
from catp.cli.doctor import doctor
from catp.cli.lazy import LazyGroup
from catp.cli.options import JsonOption
from catp.cli.output import EXIT_FAILED, EXIT_INTERRUPTED, OutputError, emit_json, emit_text, set_quiet
from catp.cli.run import run

__all__ = ["app", "main"]

app = typer.Typer(
    name="catp",
    cls=LazyGroup,
    help="Plan paid tool calls as one typed, priced plan; run it concurrently; account for every cent.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run)
app.command()(doctor)
app.add_typer(config_app, name="config", help="Show settings and where each one comes from.")


def _print_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def options(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notes on stderr.")] = False,
    show_version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options that come before the command."""
    set_quiet(quiet)


@app.command()
def version(json_: JsonOption = False) -> None:
    """Print the version."""
    from catp import __version__

    if json_:
        emit_json("catp.version/1", {"version": __version__})
    else:
        emit_text(f"catp {__version__}")


def main() -> None:
    """Run the command; an interrupt ends it with exit code 130, an unwritable standard output with 1."""
    try:
        app()
    except OutputError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python would try to write the rest once more at its end
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(EXIT_FAILED) from None
    except KeyboardInterrupt:
        raise SystemExit(EXIT_INTERRUPTED) from None
