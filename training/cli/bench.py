"""`catp bench`: build CATP-Bench, and measure planners on it. Each command has a module of its own."""

import typer

from catp.training.cli.bench_build import build
from catp.training.cli.bench_eval import evaluate

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Build CATP-Bench, and measure planners on it.")
app.command("build")(build)
app.command("eval")(evaluate)


@app.callback()
def bench() -> None:
    """Commands of the benchmark."""
