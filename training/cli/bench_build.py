"""`catp bench build`: make CATP-Bench (measured) and catp-sim (simulated) again from their seeds."""

import importlib.resources
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from catp.cli.options import JsonOption
from catp.cli.output import EXIT_FAILED, EXIT_USAGE, console_err, emit_json, emit_text, fail
from catp.planlang.errors import nearest

__all__ = ["SHIPPED", "build"]

SHIPPED = Path(str(importlib.resources.files("catp"))) / "datasets"
"""The data sets that come with the product."""

WHOLE = Path("datasets")
"""Where a whole build goes if nothing is said: the folder of the repository."""


def build(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="Where to build.")] = WHOLE,
    share: Annotated[
        float, typer.Option(metavar="S", help="Build a part of the measured benchmark: 0.02 takes a minute or two.")
    ] = 1.0,
    track: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="tasks, measured (with tasks) or sim; repeat. All if not set."),
    ] = None,
    family: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only these task families; repeat."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of tasks, menus and draws; the shipped data have 0.")] = 0,
    workers: Annotated[int, typer.Option(min=1, metavar="N", help="Tool calls at once.")] = 2,
    json_: JsonOption = False,
) -> None:
    """Build the data sets from their seeds, really running every candidate plan; a stopped build goes on."""
    part = share != 1 or bool(family)
    tracks = set(track or (("measured",) if part else ("measured", "sim")))
    if unknown := tracks - {"tasks", "measured", "sim"}:
        fail(f"unknown track {sorted(unknown)[0]!r}", EXIT_USAGE, help="tasks, measured or sim")
    if not 0 < share <= 1:
        fail(f"--share {share} is not above 0 and at most 1", EXIT_USAGE)
    if part and out == WHOLE:
        fail("a part of the benchmark would take the place of the whole", EXIT_USAGE, help="name a folder with -o")
    found: dict[str, Any] = {}
    try:
        if tracks & {"tasks", "measured"}:
            found["catp-bench"] = _bench(out / "catp-bench", seed, share, family, workers, "measured" in tracks)
        if "sim" in tracks:
            fitting = "measured" in tracks and not part  # a part has too few calls to fit a simulator to
            measured = out / "catp-bench" / "measured" if fitting else None
            found["catp-sim"] = _sim(out / "catp-sim", measured)
    except OSError as error:
        fail(f"cannot write {error.filename or str(out)!r}: {error.strerror or error}", EXIT_FAILED,
             help="what was measured is kept; the same command goes on")  # fmt: skip
    except ValueError as error:
        fail(str(error), EXIT_FAILED)
    if json_:
        emit_json("catp.bench-build/1", {"out": out, **found})
    else:
        emit_text("\n".join(f"{name}: {_words(about)}" for name, about in found.items()))


def _bench(
    out: Path, seed: int, share: float, named: list[str] | None, workers: int, measuring: bool
) -> dict[str, Any]:
    from catp.tools.errors import ToolUnavailable
    from catp.training.bench.build import build as build_bench
    from catp.training.bench.families import FAMILIES
    from catp.training.bench.joins import bench_catalogue

    console = console_err()
    families = [family for family in FAMILIES if named is None or family.id in named]
    if unknown := set(named or ()) - {family.id for family in families}:
        hint = nearest(sorted(unknown)[0], [family.id for family in FAMILIES])
        fail(f"unknown task family {sorted(unknown)[0]!r}", EXIT_USAGE, help=hint)
    try:
        catalogue = bench_catalogue()
    except ToolUnavailable as error:
        fail(str(error), EXIT_FAILED)
    with _shown() as progress:
        done = build_bench(
            out, catalogue, seed=seed, share=share, families=families, workers=workers, measuring=measuring,
            progress=progress, stage=lambda text: console.print(text, markup=False),
        )  # fmt: skip
    if done.changed:
        console.print(f"other content than before: {', '.join(done.changed)}", markup=False)
    return {"folder": str(out), "tasks": done.tasks, "plans": done.plans, "tool_cpu_hours": round(done.cpu_hours, 2),
            "changed": list(done.changed)}  # fmt: skip


@contextmanager
def _shown() -> Iterator[Callable[[int, int, str], None]]:
    """A bar on a terminal, twenty lines elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = console_err()
    if not console.is_terminal:

        def say(done: int, total: int, family: str) -> None:
            if done == total or done % max(1, total // 20) == 0:
                console.print(f"measured {done:,} of {total:,} tasks", markup=False)

        yield say
        return
    parts = TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*parts, console=console) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda done, total, family: bar.update(task, completed=done, total=total, description=family)


def _sim(out: Path, measured: Path | None) -> dict[str, Any]:
    """Fit the simulator to the whole benchmark, measured just now, or use the figures that ship with the product."""
    from catp.training.sim.build import build as build_sim

    console = console_err()
    fitted = None if measured is not None else SHIPPED / "catp-sim" / "calibration.json"
    digests = build_sim(out, measured=measured, fitted=fitted, progress=lambda text: console.print(text, markup=False))
    return {"folder": str(out), "files": len(digests["sha256"])}


def _words(about: dict[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in about.items() if value != [])
