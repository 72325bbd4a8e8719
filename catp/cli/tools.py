"""`catp tools list|show|price|bench|calibrate`: what tools there are, what they cost, and how good they are."""

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from catp.cli.catalogues import all_tools, load_catalogue
from catp.cli.config import settings_or_fail
from catp.cli.options import JsonOption
from catp.cli.output import EXIT_USAGE, console_err, dollars, emit_json, emit_text, fail, milliseconds, write_atomic
from catp.cli.quotes import money_json
from catp.cli.report import columns
from catp.cli.tools_calibrate import calibrate
from catp.cli.tools_shown import (
    details_json,
    estimate_of,
    latency_json,
    life_shown,
    measured_lines,
    quantiles_json,
    rival_cells,
    summary_json,
    times_shown,
)
from catp.planlang.errors import nearest
from catp.tools.bench.report import typical_facts
from catp.tools.calibration import TARGET
from catp.tools.catalogue import Catalogue
from catp.tools.profile import ProfileBook, ProfileError
from catp.tools.profile_file import changed_profiles

if TYPE_CHECKING:
    from catp.tools.bench import BenchReport
    from catp.tools.spec import ToolSpec

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

ToolsOption = Annotated[str | None, typer.Option("--tools", help="zoo, or package.module:attribute.")]

_SIZE = re.compile(r"(\d{1,6})x(\d{1,6})|(\d{1,9})", re.ASCII)


@app.callback()
def group() -> None:
    """List, show, price and measure tools."""


@app.command("list")
def list_tools(
    capability: Annotated[str | None, typer.Option(help="Only tools for this.")] = None,
    tools: ToolsOption = None,
    json_: JsonOption = False,
) -> None:
    """List tools with price, time and accuracy at a typical size (512x512 pixels, 600 characters)."""
    catalogue = _known(tools)
    specs = [spec for spec in catalogue if capability in (None, spec.capability)]
    if not specs:
        _unknown(capability or "", {spec.capability for spec in catalogue}, "capability")
    if json_:
        emit_json("catp.tools/1", {"tools": [summary_json(spec, catalogue) for spec in specs]})
        return
    table = [("capability", "tool", "price", "latency", "accuracy", "measured", "available")]
    for spec in sorted(specs, key=lambda spec: spec.capability):
        estimate = estimate_of(spec, catalogue)
        accuracy = "-" if estimate.accuracy is None else f"{estimate.accuracy:.2f}"
        reason = spec.unavailable()
        table.append(
            (
                spec.capability, spec.name, dollars(estimate.price.expected), times_shown(estimate)[0], accuracy,
                f"{estimate.count} calls", "yes" if reason is None else f"no: {reason}",
            )
        )  # fmt: skip
    emit_text("\n".join(columns(table, right=(2, 3, 4, 5))))


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="The tool's name.")], tools: ToolsOption = None, json_: JsonOption = False
) -> None:
    """Show one tool: signature, price rule, limits, what was measured, and its rivals."""
    catalogue = _known(tools)
    spec = _tool(catalogue, name)
    data = details_json(spec, catalogue)
    if json_:
        emit_json("catp.tool/1", data)
        return
    limits = spec.limits
    lines = [str(spec.signature), f"  {spec.signature.description}", ""]
    facts = [
        ("capability", spec.capability or "-"),
        ("available", spec.unavailable() or "yes"),
        ("effects", spec.signature.effects),
        ("version", spec.version),
        ("price rule", spec.price.describe()),
        ("timeout", f"{limits.timeout_s:g} s"),
        ("calls at once", str(limits.concurrency or "no limit")),
        ("calls a second", str(limits.rate_per_s or "no limit")),
        ("results hold", life_shown(spec.cache_ttl_s)),
    ]
    lines += columns(facts)
    lines += ["", "Parameters", *columns([(p["name"], p["type"], p["note"]) for p in data["params"]])]
    profile = catalogue.profiles.get(spec.name, spec.version)
    lines += ["", "Measured", *(measured_lines(profile) if profile else ["  never: catp tools bench"])]
    rivals = [rival for rival in catalogue if rival.capability == spec.capability and rival is not spec]
    if spec.capability and rivals:
        lines += ["", "Rivals", *columns([rival_cells(rival, catalogue) for rival in rivals], right=(1, 2))]
    emit_text("\n".join(lines))


@app.command()
def price(
    name: Annotated[str, typer.Argument(help="The tool's name.")],
    size: Annotated[str | None, typer.Option(help="512x512 pixels, or a number of characters or bytes.")] = None,
    tools: ToolsOption = None,
    json_: JsonOption = False,
) -> None:
    """Price one call at a given input size: low, expected and 95th percentile."""
    catalogue = _known(tools)
    spec = _tool(catalogue, name)
    units = _units(size)
    estimate = estimate_of(spec, catalogue, units)
    forecast = catalogue.estimator().forecast(spec.name, typical_facts(spec, units))
    if json_:
        emit_json(
            "catp.tool-price/1",
            {
                "tool": spec.name,
                "size": units,
                "price_usd": money_json(estimate.price),
                "latency_ms": latency_json(estimate),
                "count": estimate.count,
                "quantiles": quantiles_json(forecast),
            },
        )
        return
    expected, p95 = times_shown(estimate)
    rows = [
        ("low", dollars(estimate.price.low), ""),
        ("expected", dollars(estimate.price.expected), expected),
        ("p95", dollars(estimate.price.p95), p95),
    ]
    for level, price_then in (forecast.price or {}).items():
        time = milliseconds(forecast.latency_ms[level]) if forecast.latency_ms else "unknown"
        if level != TARGET:
            rows.append((f"p{level * 100:.0f}", dollars(price_then), time))
    basis = f"{spec.price.describe()}; {estimate.count} measured calls"
    emit_text("\n".join([*columns(rows, right=(1, 2)), f"  {basis}"]))


@app.command()
def bench(
    capability: Annotated[list[str] | None, typer.Option(help="Only this; may be repeated.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of the cases, in under a minute.")] = False,
    save: Annotated[Path | None, typer.Option(help="Write the profiles here instead of adding to your own.")] = None,
    svg: Annotated[Path | None, typer.Option(help="Write a picture of price against accuracy.")] = None,
    tools: ToolsOption = None,
    json_: JsonOption = False,
) -> None:
    """Measure price, time and accuracy on packaged examples, and add the figures to your profiles."""
    settings = settings_or_fail(tools=tools)
    catalogue = load_catalogue(settings.tools)
    known = {spec.capability for spec in catalogue}
    for wanted in capability or ():
        if wanted not in known:
            _unknown(wanted, known, "capability")
    report = asyncio.run(_measure(catalogue, capability, quick))
    if not report.rows:
        fail("no packaged examples fit these tools", EXIT_USAGE, help=f"known: {', '.join(sorted(known))}")
    target = save or settings.profiles
    try:
        if save is None:
            with changed_profiles(target) as book:
                book.absorb(report.profiles)
        else:
            report.profiles.save(target)
    except ProfileError as error:
        fail(str(error), EXIT_USAGE)
    if svg is not None:
        write_atomic(svg, report.svg())
    if json_:
        emit_json("catp.bench/1", report.to_json())
    else:
        emit_text(report.table())
    console_err().print(f"measured in {report.seconds:.0f} s; profiles in {target}")


app.command("calibrate")(calibrate)


async def _measure(catalogue: Catalogue, capabilities: list[str] | None, quick: bool) -> "BenchReport":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from catp.tools.bench import run

    parts = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*parts, console=console_err()) as shown:
        task = shown.add_task("preparing", total=None)

        def progress(done: int, total: int, what: str) -> None:
            shown.update(task, completed=done, total=total, description=what)

        try:
            return await run(catalogue, capabilities, quick=quick, progress=progress)
        finally:
            await catalogue.close()


def _known(tools: str | None) -> Catalogue:
    """Every tool, also those that cannot run here, with shipped and learned profiles."""
    settings = settings_or_fail(tools=tools)
    book = ProfileBook()
    if settings.tools == "zoo":
        from catp.tools.builtin import shipped_profiles

        book = shipped_profiles()
    try:
        if settings.profiles.exists():
            book = book.merge(ProfileBook.load(settings.profiles))
    except ProfileError as error:
        fail(str(error), EXIT_USAGE, help=f"move {settings.profiles} away to start afresh")
    return Catalogue(all_tools(settings.tools), book)


def _tool(catalogue: Catalogue, name: str) -> "ToolSpec":
    if name not in catalogue:
        _unknown(name, {str(spec.name) for spec in catalogue}, "tool")
    return catalogue.get(name)


def _unknown(name: str, known: set[str], what: str) -> NoReturn:
    listed = f"known: {', '.join(sorted(known))}" if what == "capability" else "catp tools list shows all"
    fail(f"unknown {what} {name!r}", EXIT_USAGE, help=nearest(name, sorted(known)) or listed)


def _units(size: str | None) -> int | None:
    if size is None:
        return None
    match = _SIZE.fullmatch(size.strip())
    units = 0 if match is None else int(match[1]) * int(match[2]) if match[1] else int(match[3])
    if units < 1:
        fail(f"--size {size!r} is not a size", EXIT_USAGE, help="write 512x512 for pixels, or 600 for characters")
    return units
