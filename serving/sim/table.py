"""Results of a sweep as rows for JSON and as the table that is printed."""

from collections.abc import Mapping
from io import StringIO
from textwrap import dedent
from typing import Any

from catp.serving.sim.report import Report
from catp.serving.sim.sweep import Cell, mean

__all__ = ["rows", "table"]


def rows(results: Mapping[Cell, Report]) -> list[dict[str, Any]]:
    """Return one row per policy, load, error, predictor and budget: its name and the means over its seeds."""
    groups: dict[tuple[Any, ...], list[Report]] = {}
    for cell, result in results.items():
        key = (cell.policy, cell.load, cell.error, cell.predictor, cell.budget, cell.shed)
        groups.setdefault(key, []).append(result)
    names = ("policy", "load", "error", "predictor", "budget", "shed")
    return [
        {**dict(zip(names, key, strict=True)), "seeds": len(reports), **mean(reports)}
        for key, reports in groups.items()
    ]


def table(found: list[dict[str, Any]]) -> str:
    """Return the table: a line per policy; by load the attainment at each error and, at the least error, the rest.

    `good` is the goodput in requests per second, `p99` of end-to-end seconds, and the last column the attainment of
    each class, in percent.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    loads = sorted({row["load"] for row in found})
    classes = "/".join(name[:1] for name in sorted({name for row in found for name in row["by_class"]}))
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
    drawn.add_column("policy", no_wrap=True)
    for load in loads:
        for title in (f"load {load:g}: SLO %", "good", "p99 s", f"{classes} %"):
            drawn.add_column(title, justify="right", no_wrap=True)
    for policy in dict.fromkeys(row["policy"] for row in found):
        cells = [_cells([row for row in found if row["policy"] == policy and row["load"] == load]) for load in loads]
        drawn.add_row(policy, *(cell for group in cells for cell in group))
    written = StringIO()
    Console(file=written, width=24 + 48 * len(loads), color_system=None).print(drawn)
    return dedent("\n".join(line.rstrip() for line in written.getvalue().splitlines())).strip("\n")


def _cells(group: list[dict[str, Any]]) -> tuple[str, str, str, str]:
    if not group:
        return ("", "", "", "")
    group = sorted(group, key=lambda row: row["error"])
    first = group[0]
    classes = "/".join(f"{100 * first['by_class'][name]:.0f}" for name in sorted(first["by_class"]))
    attained = "/".join(f"{100 * row['attainment']:.1f}" for row in group)
    return (attained, f"{first['goodput']:.2f}", f"{first['e2e'][2]:.0f}", classes)
