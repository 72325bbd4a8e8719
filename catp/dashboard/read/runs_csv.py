"""The list of runs as a table for spreadsheets, line by line, so that a hundred thousand runs need no memory."""

import csv
import io
from collections.abc import Iterator
from functools import partial
from typing import Any

from catp.dashboard.forms import run_row
from catp.dashboard.read.runs import Cursor, RunFilter, Sort, selected
from catp.dashboard.sheet import tame
from catp.store.database import Database

__all__ = ["COLUMNS", "csv_lines"]

COLUMNS = (
    "id", "created", "ended", "status", "project", "agent", "policy", "task", "plan_hash", "cost_usd", "unpriced_rows",
    "saved_usd", "est_cost_usd", "budget_usd", "latency_ms", "est_latency_ms", "alpha", "quality", "predicted_quality",
    "parent",
)  # fmt: skip
_PAGE = 1_000


def csv_lines(database: Database, wanted: RunFilter, sort: Sort) -> Iterator[str]:
    """Yield the header, then pages of lines; runs that are added meanwhile may be among them, none comes twice."""
    yield _lines([COLUMNS])
    after: Cursor | None = None
    while True:
        found = database.read(partial(selected, wanted=wanted, sort=sort, after=after, limit=_PAGE))
        if found:
            yield _lines([_line(run_row(run)) for run in found])
            last = found[-1]
            figure = {"cost": last.cost, "latency": last.latency_ms}.get(sort.lstrip("-"))
            after = Cursor(figure, last.id)
        if len(found) < _PAGE:
            return


def _line(run: dict[str, Any]) -> list[Any]:
    cost = run["cost"]
    money = {
        "cost_usd": cost["amount"], "unpriced_rows": cost["unpriced"], "saved_usd": cost["saved"],
        "est_cost_usd": cost["est"], "budget_usd": run["budget"],
    }  # fmt: skip
    return [tame(money[name] if name in money else run[name]) for name in COLUMNS]


def _lines(rows: list[Any]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue()
