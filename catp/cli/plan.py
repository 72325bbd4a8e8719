"""`catp plan`: check, format, show and convert plan files; anything else after `catp plan` is a task to plan.

Nothing here calls a tool. Data goes to stdout, diagnostics to stderr; an invalid plan ends with exit code 3.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from catp.cli.lazy import DefaultCommandGroup
from catp.cli.options import JsonOption
from catp.cli.output import (
    EXIT_FAILED,
    EXIT_INVALID_PLAN,
    EXIT_USAGE,
    emit_error,
    emit_json,
    emit_text,
    fail,
    milliseconds,
    printable,
    read_source,
    write_atomic,
)
from catp.cli.plan_task import task
from catp.cli.quotes import estimate_json, latency_text, price_text
from catp.planlang.errors import Diagnostic, PlanError

if TYPE_CHECKING:
    from catp.planlang.compiled import CompiledPlan
    from catp.planlang.nodes import Plan
    from catp.planlang.passes.admit import Verdict
    from catp.planlang.registry_view import Estimator, RegistryView

__all__ = ["app", "refuse"]

app = typer.Typer(cls=DefaultCommandGroup, no_args_is_help=True, rich_markup_mode=None)
app.command("task")(task)

TARGETS = ("text", "json", "tokens", "mermaid", "svg")

_Tools = Annotated[
    str | None,
    typer.Option("--tools", metavar="SPEC", help="zoo, package.module:catalogue, or a catp.registry/1 JSON file."),
]
_File = Annotated[str, typer.Argument(metavar="FILE", help="A plan file; - reads stdin.")]


@app.command()
def check(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Plan files; - reads stdin.")],
    tools: _Tools = None,
    syntax_only: Annotated[bool, typer.Option("--syntax-only", help="Do not look at tools and types.")] = False,
    json_: JsonOption = False,
) -> None:
    """Check plans and print every problem with its place and fix. Exit code 3 if a plan is invalid."""
    sources = [(name, read_source(name)) for name in files]
    registry = None if syntax_only else _registry(tools)[0]
    rows, valid = [], True
    for name, data in sources:
        diagnostics, source = _check(data, registry)
        errors = sum(d.severity == "error" for d in diagnostics)
        valid = valid and not errors
        rows.append({"file": name, "ok": not errors, "diagnostics": [d.to_json() for d in diagnostics]})
        if not json_:
            _print_diagnostics(name, diagnostics, source)
            emit_text(f"{printable(name)}: {_verdict(errors, len(diagnostics) - errors)}")
    if json_:
        emit_json("catp.check/1", {"ok": valid, "files": rows})
    if not valid:
        raise typer.Exit(EXIT_INVALID_PLAN)


@app.command()
def fmt(
    file: _File,
    check_only: Annotated[
        bool, typer.Option("--check", help="Only say whether it is formatted; exit 1 if not.")
    ] = False,
    write: Annotated[bool, typer.Option("--write", "-w", help="Replace the file instead of printing.")] = False,
) -> None:
    """Print a plan in canonical form; comments stay where they belong."""
    if write and file == "-":
        fail("stdin cannot be written back", EXIT_USAGE, help="leave out --write")
    data = read_source(file)
    formatted = _formatted(file, data)
    changed = formatted.encode() != data
    if check_only:
        if changed:
            emit_text(f"{printable(file)}: would be reformatted")
            raise typer.Exit(EXIT_FAILED)
    elif not write:
        emit_text(formatted)
    elif changed:
        write_atomic(file, formatted)


@app.command()
def show(
    file: _File,
    tools: _Tools = None,
    tree: Annotated[bool, typer.Option("--tree", help="Print the plan as a tree (the default).")] = False,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print a Mermaid diagram.")] = False,
    svg: Annotated[str | None, typer.Option("--svg", metavar="PATH", help="Write a drawing; - prints it.")] = None,
    json_: JsonOption = False,
    ascii_only: Annotated[bool, typer.Option("--ascii", help="Draw the tree in plain ASCII.")] = False,
) -> None:
    """Show what a plan does, what it will cost and how long it will take, without running it."""
    if sum((tree, mermaid, svg is not None, json_)) > 1:
        fail("choose one of --tree, --mermaid, --svg and --json", EXIT_USAGE)
    compiled, verdict = _compiled(file, tools)
    if mermaid:
        from catp.planlang.render.mermaid import to_mermaid

        emit_text(to_mermaid(compiled))
    elif svg is not None:
        from catp.planlang.render.svg import to_svg

        _deliver(to_svg(compiled), svg)
    elif json_:
        emit_json("catp.plan/1", _plan_json(compiled, verdict))
    else:
        from catp.planlang.render.tree import to_tree

        emit_text("\n".join([to_tree(compiled, ascii_only=ascii_only), "", *_quote_lines(compiled, verdict)]))


@app.command()
def convert(
    file: _File,
    from_: Annotated[str, typer.Option("--from", metavar="FORMAT", help="auto, or the format of the file.")] = "auto",
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help=f"One of {', '.join(TARGETS)}.")] = "text",
    output: Annotated[str, typer.Option("--output", "-o", metavar="PATH", help="Write here; - prints it.")] = "-",
    tools: Annotated[
        str | None, typer.Option("--tools", metavar="SPEC", help="Name tools and parameters as these do.")
    ] = None,
) -> None:
    """Convert between forms of a plan, and from other systems' plans (llmcompiler, toolcalls, opencatp, ...)."""
    from catp.planlang.importers import FORMATS

    if to not in TARGETS:
        fail(f"cannot convert to {to!r}", EXIT_USAGE, help=f"one of {', '.join(TARGETS)}")
    if from_ not in ("auto", *FORMATS):
        fail(f"unknown format {from_!r}", EXIT_USAGE, help=f"one of auto, {', '.join(FORMATS)}")
    plan = _read_plan(file, read_source(file), from_, _registry(tools)[0] if tools is not None else None)
    try:
        text = _written(plan, to)
    except PlanError as error:
        refuse(file, error)
    _deliver(text, output)


def _check(data: bytes, registry: "RegistryView | None") -> tuple[Sequence[Diagnostic], str | None]:
    """Return the problems of a plan and the text they point into."""
    from catp.planlang.check import check as check_plan
    from catp.planlang.importers import import_plan

    try:
        plan = import_plan(data)
    except PlanError as error:
        return error.diagnostics, error.source
    source = data.decode("utf-8").removeprefix("\ufeff")
    return (check_plan(plan, registry).diagnostics if registry is not None else ()), source


def _registry(tools: str | None) -> "tuple[RegistryView, Estimator | None]":
    """Return the tools to check against (those of the settings if None), and what predicts their price and time."""
    if tools is not None and tools.endswith(".json"):
        from catp.cli.registry_file import read_registry

        return read_registry(tools), None
    from catp.cli.catalogues import load_catalogue
    from catp.cli.config import settings_or_fail

    settings = settings_or_fail(tools=tools)
    catalogue = load_catalogue(settings.tools, settings.profiles)
    return catalogue.view(), catalogue.estimator()


def _read_plan(file: str, data: bytes, format: str, registry: "RegistryView | None") -> "Plan":
    from catp.planlang.importers import import_plan

    try:
        return import_plan(data, format, registry=registry)
    except PlanError as error:
        refuse(file, error)


def _formatted(file: str, data: bytes) -> str:
    from catp.planlang.format import format_source
    from catp.planlang.importers import detect, import_plan
    from catp.planlang.jsonform import to_json

    try:
        found = detect(data)
        if found not in ("text", "json"):
            hint = "catp plan convert reads other formats"
            fail(f"{file!r} looks like {found}, not like a plan file", EXIT_USAGE, help=hint)
        if found == "text":
            return format_source(data.decode("utf-8"))
        return json.dumps(to_json(import_plan(data, "json")), ensure_ascii=False, indent=2) + "\n"
    except PlanError as error:
        refuse(file, error)


def _compiled(file: str, tools: str | None) -> "tuple[CompiledPlan, Verdict]":
    from catp.planlang.compile import compile_plan
    from catp.planlang.passes.admit import admit

    data = read_source(file)
    registry, estimator = _registry(tools)
    plan = _read_plan(file, data, "auto", registry)
    source = data.decode("utf-8").removeprefix("\ufeff")
    try:
        compiled = compile_plan(plan, registry, estimator=estimator, source=source)
    except PlanError as error:
        refuse(file, error)
    return compiled, admit(compiled)


def _written(plan: "Plan", to: str) -> str:
    if to == "json":
        from catp.planlang.jsonform import to_json

        return json.dumps(to_json(plan), ensure_ascii=False, indent=2) + "\n"
    if to == "tokens":
        from catp.planlang.tokens import encode

        return "".join(f"{token}\n" for token in encode(plan))
    if to == "mermaid":
        from catp.planlang.render.mermaid import to_mermaid

        return to_mermaid(plan)
    if to == "svg":
        from catp.planlang.render.svg import to_svg

        return to_svg(plan)
    from catp.planlang.printer import to_text

    return to_text(plan)


def _deliver(text: str, path: str) -> None:
    if path == "-":
        emit_text(text)
    else:
        write_atomic(Path(path), text)


def refuse(file: str, error: PlanError) -> NoReturn:
    """Print every problem of a plan with its place, and end the command with exit code 3."""
    _print_diagnostics(file, error.diagnostics, error.source)
    emit_error(f"{file} is no valid plan", EXIT_INVALID_PLAN, diagnostics=[d.render() for d in error.diagnostics])
    raise typer.Exit(EXIT_INVALID_PLAN)


def _print_diagnostics(file: str, diagnostics: Sequence[Diagnostic], source: str | None) -> None:
    name = "<stdin>" if file == "-" else file
    for diagnostic in diagnostics:
        place = ":" if diagnostic.span else ": "
        typer.echo(printable(f"{name}{place}{diagnostic.render(source)}"), err=True)


def _verdict(errors: int, warnings: int) -> str:
    counts = [f"{n} {what}{'' if n == 1 else 's'}" for n, what in ((errors, "error"), (warnings, "warning")) if n]
    return ", ".join(counts if errors else ["ok", *counts])


def _quote_lines(compiled: "CompiledPlan", verdict: "Verdict") -> list[str]:
    estimate = compiled.estimate
    rows = [
        ("price", price_text(estimate)),
        ("latency", latency_text(estimate)),
        ("work", f"{milliseconds(estimate.serial_ms)} in all, up to {estimate.width} at once"),
        ("calls", f"{estimate.calls:g} expected, {estimate.max_calls} at most"),
        ("critical", " > ".join(estimate.critical_path) or "-"),
        ("digest", compiled.digest[:16]),
    ]
    rows += [("limit", diagnostic.message) for diagnostic in verdict.diagnostics]
    return [f"{name:<10}{printable(text)}" for name, text in rows]


def _plan_json(compiled: "CompiledPlan", verdict: "Verdict") -> dict[str, Any]:
    return {
        "name": compiled.plan.name,
        **estimate_json(compiled, verdict),
        "edges": [
            {"from": source, "to": target, "slots": list(data["slots"])}
            for source, target, data in compiled.graph.edges(data=True)
        ],
        "rewrites": [{"rule": r.rule, "step": r.step, "reason": r.reason} for r in compiled.rewrites],
    }
