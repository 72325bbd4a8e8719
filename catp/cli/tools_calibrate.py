"""`catp tools calibrate`: how far predicted prices and times can be trusted."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from catp.cli.catalogues import load_catalogue
from catp.cli.config import settings_or_fail
from catp.cli.options import JsonOption
from catp.cli.output import EXIT_UNREACHABLE, EXIT_USAGE, console_err, dollars, emit_json, emit_text, fail, milliseconds
from catp.cli.report import columns
from catp.planlang.errors import nearest
from catp.planlang.money import Money
from catp.tools.calibration import TARGET
from catp.tools.coverage import CheckedCall, Coverage, Figures, coverage, from_fact
from catp.tools.errors import ToolUnavailable

if TYPE_CHECKING:
    from catp.config import Settings
    from catp.tools.bench.calibrate import Calibrated
    from catp.tools.catalogue import Catalogue

__all__ = ["calibrate"]


def calibrate(
    names: Annotated[list[str] | None, typer.Argument(metavar="[TOOL]...", help="Only these tools.")] = None,
    calls: Annotated[int, typer.Option(min=1, help="Measured calls; as many are made before, to learn from.")] = 1000,
    seed: Annotated[int, typer.Option(help="Another seed makes other inputs.")] = 0,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.svg|png", help="Draw predicted against actual.")] = None,
    runs: Annotated[bool, typer.Option("--runs", help="Judge the calls of saved runs; make none.")] = False,
    tools: Annotated[str | None, typer.Option("--tools", help="zoo, or package.module:attribute.")] = None,
    json_: JsonOption = False,
) -> None:
    """Compare predicted with actual price and time: a p95 should cover 95 % of the calls.

    Calls built-in tools on inputs of every size, or, with --runs, judges the calls of saved runs.
    """
    if plot is not None:
        _check_plot(plot)
    settings = settings_or_fail(tools=tools)
    data: dict[str, Any] = {"source": "runs" if runs else "calls"}
    if runs:
        checked = _saved_calls(settings, names or [])
    else:
        done = _measured_calls(load_catalogue(settings.tools, settings.profiles), names or [], calls, seed)
        checked = list(done.calls)
        data.update(seed=seed, learned_from=done.learned, seconds=round(done.seconds, 1))
        data["frozen"] = coverage(done.frozen)[0].to_json()
        console_err().print(f"{done.learned} calls to learn from and {len(checked)} measured in {done.seconds:.0f} s")
    overall, by_tool = coverage(checked)
    if json_:
        tools_json = [one.to_json() for one in by_tool]
        emit_json("catp.calibration/1", {**data, "overall": overall.to_json(), "tools": tools_json})
    else:
        emit_text("\n".join([*_table(overall, by_tool), "", *_verdict(overall)]))
    if plot is not None:
        _draw(plot, checked)


def _measured_calls(catalogue: "Catalogue", names: list[str], calls: int, seed: int) -> "Calibrated":
    from catp.tools.bench.calibrate import can_be_calibrated

    known = [spec.name for spec in catalogue if can_be_calibrated(spec)]
    for name in names:
        if name not in known:
            reason = catalogue.get(name).unavailable() if name in catalogue else "unknown tool"
            why = reason or "there are no inputs to call it on"
            fail(f"cannot calibrate {name!r}: {why}", EXIT_USAGE, help=nearest(name, sorted(known)) or _OTHERS)
    if not known:
        fail("none of these tools has inputs to call it on", EXIT_USAGE, help=_OTHERS)
    return asyncio.run(_measure(catalogue, list(dict.fromkeys(names)) or list(known), calls, seed))


_OTHERS = "--runs judges the calls of saved runs, whatever their tools"


async def _measure(catalogue: "Catalogue", names: list[str], calls: int, seed: int) -> "Calibrated":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from catp.tools.bench.calibrate import calibrate as measure

    parts = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*parts, console=console_err()) as shown:
        task = shown.add_task("preparing", total=2 * calls)

        def progress(done: int, total: int, tool: str) -> None:
            what = "learning" if done <= total // 2 else "measuring"
            shown.update(task, completed=done, total=total, description=f"{what} {tool}")

        try:
            return await measure(catalogue, names, calls=calls, seed=seed, progress=progress)
        finally:
            await catalogue.close()


def _saved_calls(settings: "Settings", names: list[str]) -> list[CheckedCall]:
    from catp.store.store import RunStore, StoreError

    store = RunStore(settings.store)
    try:
        found = [from_fact(fact) for fact in store.calls() if not names or fact.tool in names]
    except StoreError as error:
        fail(str(error), EXIT_UNREACHABLE)
    finally:
        store.close()
    if not found:
        which = f" of {', '.join(names)}" if names else ""
        fail(f"no saved run has metered calls{which}", EXIT_USAGE, help="without --runs, built-in tools are called")
    return found


def _check_plot(path: Path) -> None:
    """Find out before minutes of calls whether the picture can be drawn."""
    from catp.tools.bench.calibration_plot import FORMATS, new_figure

    if path.suffix.lower().removeprefix(".") not in FORMATS:
        fail(f"--plot {path} is neither .svg nor .png", EXIT_USAGE)
    try:
        new_figure()
    except ToolUnavailable as error:
        fail(error.message, EXIT_USAGE)


def _draw(path: Path, calls: list[CheckedCall]) -> None:
    from catp.tools.bench.calibration_plot import calibration_picture

    try:
        path.write_bytes(calibration_picture(calls, path.suffix.lower().removeprefix(".")))
    except OSError as error:
        fail(f"cannot write {path}: {error.strerror or error}", EXIT_USAGE)


def _table(overall: Coverage, by_tool: tuple[Coverage, ...]) -> list[str]:
    """Medians of what calls came to and of what was predicted, and the share (%) that each quantile covered."""
    heads = ("actual", "p50", "p95", "covered")
    rows = [("tool", "calls", "failed", *heads, *heads), *(_row(one) for one in by_tool), _row(overall)]
    levels = sorted({level for one in (overall.price, overall.latency) if one is not None for level in one.covered})
    named = ", ".join(f"p{level * 100:.0f}" for level in levels)
    lines = columns(rows, right=tuple(range(1, len(rows[0]))))
    return [f"price, then time: median actual, predicted p50 and p95, and % of calls covered by {named}", *lines]


def _row(one: Coverage) -> tuple[str, ...]:
    low, high = one.failing.interval
    failed = f"{low:.0%}-{high:.0%}"
    price = _cells(one.price, lambda nano: dollars(Money(round(nano))))
    return one.tool or "all", str(one.calls), failed, *price, *_cells(one.latency, milliseconds)


def _cells(figures: Figures | None, shown: Callable[[float], str]) -> tuple[str, ...]:
    if figures is None:
        return ("-",) * 4
    predicted = [shown(figures.predicted[level]) if level in figures.predicted else "-" for level in (0.5, TARGET)]
    covered = " ".join(f"{share * 100:.0f}" for _, share in sorted(figures.covered.items()))
    return shown(figures.actual), *predicted, covered


def _verdict(overall: Coverage) -> list[str]:
    """Say in words what the p95 covered."""
    lines = []
    for name, figures in (("price", overall.price), ("time", overall.latency)):
        if figures is not None and TARGET in figures.covered:
            lines.append(f"{name}: the p95 covered {figures.covered[TARGET]:.1%} of {figures.calls} calls")
    return lines or ["nothing was predicted before these calls"]
