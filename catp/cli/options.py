"""Options that several commands take, declared once so that they read the same everywhere."""

from typing import Annotated, TypeAlias

import typer

from catp.cli.output import say_errors_in_json

__all__ = [
    "AlphaOption", "BudgetOption", "DeadlineOption", "InputsOption", "JsonOption", "PlannerOption", "ToolsOption",
    "WantOption",
]  # fmt: skip

InputsOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--input", "-i", metavar="NAME=VALUE", help="NAME=@file, NAME=text or NAME:=json; repeat for a list."),
]
WantOption: TypeAlias = Annotated[
    list[str] | None, typer.Option("--want", metavar="NAME=TYPE", help="An output, instead of reading the task.")
]
AlphaOption: TypeAlias = Annotated[
    float | None, typer.Option(help="Weight of quality against price, 0 to 1; 0.8 if not set.")
]
BudgetOption: TypeAlias = Annotated[str | None, typer.Option(metavar="USD", help="Most the run may cost.")]
DeadlineOption: TypeAlias = Annotated[
    str | None, typer.Option(metavar="TIME", help="Most the run may take: 20, 20s, 500ms, 2m.")
]
PlannerOption: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="search|policy|PATH|openai:MODEL@URL", help="Who plans; the shipped policy if not set."),
]
ToolsOption: TypeAlias = Annotated[str | None, typer.Option(help="zoo, or package.module:attribute.")]
JsonOption: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON document.", callback=say_errors_in_json, is_eager=True)
]
