"""The list of runs: `/runs`, `/runs.csv`, `/runs/facets`."""

from functools import partial
from typing import TYPE_CHECKING, Any

from catp.dashboard.context import Context
from catp.dashboard.forms import nano_of, ns_of
from catp.dashboard.read.runs import Cursor, RunFilter, Sort, facets, page
from catp.dashboard.read.runs_csv import csv_lines

if TYPE_CHECKING:
    from fastapi import APIRouter

__all__ = ["add"]


def add(api: "APIRouter", context: Context) -> None:
    """Add the paths."""
    from fastapi import Depends, Query
    from starlette.responses import StreamingResponse

    def wanted(
        status: str | None = None, policy: str | None = None, project: str | None = None, tool: str | None = None,
        q: str | None = Query(None, max_length=200), cost_min: str | None = None, cost_max: str | None = None,
        from_: str | None = Query(None, alias="from"), to: str | None = None, plan: str | None = None,
        quality_min: float | None = None, quality_max: float | None = None,
    ) -> RunFilter:  # fmt: skip
        statuses = tuple(name for name in (status or "").split(",") if name)
        return RunFilter(
            statuses, policy, project, tool, q, nano_of("cost_min", cost_min), nano_of("cost_max", cost_max),
            ns_of("from", from_), ns_of("to", to), plan, quality_min, quality_max,
        )  # fmt: skip

    @api.get("/runs")
    def runs(
        which: RunFilter = Depends(wanted),  # noqa: B008
        sort: Sort = "-created",
        cursor: str | None = Query(None, max_length=60),
        limit: int = Query(50, ge=1, le=500),
    ) -> dict[str, Any]:
        after = None if cursor is None else Cursor.read(cursor, sort)
        return context.read(partial(page, wanted=which, sort=sort, limit=limit, after=after))

    @api.get("/runs.csv", response_class=StreamingResponse)
    def table(which: RunFilter = Depends(wanted), sort: Sort = "-created") -> StreamingResponse:  # noqa: B008
        lines = csv_lines(context.store.database, which, sort)
        headers = {"content-disposition": 'attachment; filename="runs.csv"'}
        return StreamingResponse(lines, media_type="text/csv", headers=headers)

    @api.get("/runs/facets")
    def counts(which: RunFilter = Depends(wanted)) -> dict[str, Any]:  # noqa: B008
        return context.read(partial(facets, wanted=which))
