"""What can be read at one moment: runs, nodes, values, plans, sums. Heavy imports are inside functions."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from catp.dashboard.forms import nano_of, ns_of
from catp.dashboard.graph import plan_json, plan_layout
from catp.dashboard.node_page import ledger_rows, node_io, node_page
from catp.dashboard.problems import Problem
from catp.dashboard.run_page import run_page
from catp.dashboard.runs import RunFilter, facets, page
from catp.dashboard.totals import Group, overview, spend, tools
from catp.store.statements import query
from catp.store.store import RunStore

if TYPE_CHECKING:
    from fastapi import APIRouter, FastAPI

__all__ = ["add_routes"]

_SHOWN = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""Media that a browser may show in place; everything else is handed over as a file of bytes."""

_FOREVER = {"cache-control": "private, max-age=31536000, immutable"}
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


def add_routes(app: "FastAPI", store: RunStore, *, read_only: bool, missing: Callable[[], None]) -> None:
    """Add the paths to the application."""
    from fastapi import APIRouter, Depends

    api = APIRouter(prefix="/api/v1", dependencies=[Depends(missing)])
    _add_meta(app, store, read_only, missing)
    _add_lists(api, store)
    _add_run(api, store)
    _add_values(api, store)
    _add_sums(api, store)
    app.include_router(api)


def _add_meta(app: "FastAPI", store: RunStore, read_only: bool, missing: Callable[[], None]) -> None:
    from fastapi import Request

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        """200 if the store answers, else a problem with 503."""
        missing()
        store.database.read(lambda connection: query(connection, "SELECT 1"))
        return {"status": "ok"}

    @app.get("/api/v1/meta")
    def meta(request: Request) -> dict[str, Any]:
        return {
            "version": app.version, "role": request.scope["catp_role"], "read_only": read_only, "currency": "USD",
            "features": ["events", "layout", "export", "spend", "tools", "approvals", "cancel"],
        }  # fmt: skip


def _add_lists(api: "APIRouter", store: RunStore) -> None:
    from fastapi import Depends, Query

    def wanted(
        status: str | None = None, policy: str | None = None, project: str | None = None, tool: str | None = None,
        q: str | None = Query(None, max_length=200), cost_min: str | None = None, cost_max: str | None = None,
        from_: str | None = Query(None, alias="from"), to: str | None = None,
    ) -> RunFilter:  # fmt: skip
        statuses = tuple(name for name in (status or "").split(",") if name)
        return RunFilter(
            statuses, policy, project, tool, q, nano_of("cost_min", cost_min), nano_of("cost_max", cost_max),
            ns_of("from", from_), ns_of("to", to),
        )  # fmt: skip

    @api.get("/runs")
    def runs(
        which: RunFilter = Depends(wanted),  # noqa: B008
        cursor: str | None = Query(None, max_length=26),
        limit: int = Query(50, ge=1, le=500),
    ) -> dict[str, Any]:
        found = partial(page, wanted=which, limit=limit, before=cursor, store=store.name)
        return store.database.read(found)

    @api.get("/runs/facets")
    def counts(which: RunFilter = Depends(wanted)) -> dict[str, list[list[Any]]]:  # noqa: B008
        return store.database.read(partial(facets, wanted=which))


def _add_run(api: "APIRouter", store: RunStore) -> None:
    from fastapi import Query
    from starlette.responses import JSONResponse, Response

    @api.get("/runs/{id}")
    def run(id: str) -> dict[str, Any]:
        return store.database.read(partial(run_page, run_id=id, store=store.name))

    @api.get("/runs/{id}/events")
    def events(id: str, after: int = Query(0, ge=0), limit: int = Query(1000, ge=1, le=5000)) -> dict[str, Any]:
        full = store.find(id).id
        found = store.events(full, after)[:limit]
        return {"items": [event.to_json() for event in found], "last_seq": found[-1].seq if found else after}

    @api.get("/runs/{id}/nodes/{n}")
    def node(id: str, n: str) -> dict[str, Any]:
        return store.database.read(partial(node_page, run_id=id, step=n, store=store.name))

    @api.get("/runs/{id}/nodes/{n}/io")
    def values(id: str, n: str) -> dict[str, Any]:
        return node_io(store, id, n)

    @api.get("/runs/{id}/export")
    def export(id: str, format: Literal["json", "csv"] = "json") -> Response:
        found = store.get(id)
        rows = ledger_rows([dict(row) for row in found.costs])
        name = f"{found.summary.id}.{format}"
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        if format == "csv":
            return Response(_csv(rows), media_type="text/csv; charset=utf-8", headers=headers)
        shown = store.database.read(partial(run_page, run_id=found.summary.id, store=store.name))
        whole = {"schema": "catp.run-export/1", "run": shown, "plan": found.plan_source, "ledger": rows}
        return JSONResponse({**whole, "events": [event.to_json() for event in found.events]}, headers=headers)

    @api.get("/plans/{digest}")
    def plan(digest: str) -> JSONResponse:
        return JSONResponse(plan_json(digest, _source(store, digest)), headers=_FOREVER)

    @api.get("/plans/{digest}/layout")
    def drawn(digest: str, dir: Literal["LR", "TB"] = "LR") -> JSONResponse:
        return JSONResponse(plan_layout(digest, _source(store, digest), dir), headers=_FOREVER)


def _source(store: RunStore, digest: str) -> str:
    try:
        return store.plan_source(digest)
    except IndexError:
        raise Problem(404, "not-found", f"there is no plan {digest[:70]!r} in {store.name}") from None


def _csv(rows: list[dict[str, Any]]) -> str:
    """Ledger rows; a text that a spreadsheet would compute is quoted with an apostrophe."""
    import csv
    import io

    def tame(value: Any) -> Any:
        return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value

    text = io.StringIO(newline="")
    names = [
        "seq", "at", "step", "attempt", "element", "tool", "kind", "quantity", "unit", "unit_price", "amount", "source",
        "priced", "estimate", "overrun", "saved", "note",
    ]  # fmt: skip
    table = csv.DictWriter(text, names)
    table.writeheader()
    table.writerows({key: tame(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def _add_values(api: "APIRouter", store: RunStore) -> None:
    from starlette.responses import Response

    @api.get("/artifacts/{sha256}")
    def artifact(sha256: str, thumb: int | None = None) -> Response:
        rows = store.database.read(
            lambda connection: query(connection, "SELECT mime, thumb_sha256 FROM artifacts WHERE sha256 = ?", sha256)
        )
        if not rows:
            raise Problem(404, "not-found", f"there is no artifact {sha256[:70]!r}")
        small = thumb is not None and rows[0].thumb_sha256 is not None
        try:
            data = store.artifact(rows[0].thumb_sha256 if small else sha256)
        except FileNotFoundError as error:
            raise Problem(404, "artifact-gone", str(error)) from error
        except ValueError as error:
            raise Problem(502, "artifact-corrupt", str(error)) from error
        # what a tool made is never a page of ours: a picture, or bytes to save
        mime = "image/png" if small and data.startswith(b"\x89PNG") else rows[0].mime
        shown = mime in _SHOWN
        headers = {
            "content-security-policy": "default-src 'none'; sandbox", **_FOREVER,
            "content-disposition": "inline" if shown else f'attachment; filename="{sha256[:12]}"',
        }  # fmt: skip
        return Response(data, media_type=mime if shown else "application/octet-stream", headers=headers)


def _add_sums(api: "APIRouter", store: RunStore) -> None:
    from fastapi import Query

    def days(from_: str | None, to: str | None) -> tuple[str, str]:
        today = datetime.now(UTC).date()
        since, until = from_ or str(today - timedelta(days=29)), to or str(today)
        for name, day in (("from", since), ("to", until)):
            if not _DAY.fullmatch(day) or ns_of(name, day) is None:
                raise Problem(422, "query", f"{name}={day[:60]!r} is not a day such as 2026-11-22")
        return since, until

    @api.get("/tools")
    def tool_table(from_: str | None = Query(None, alias="from"), to: str | None = None) -> dict[str, Any]:
        since, until = days(from_, to)
        return store.database.read(partial(tools, since=since, until=until))

    @api.get("/spend")
    def spent(
        group: Group = "tool", from_: str | None = Query(None, alias="from"), to: str | None = None
    ) -> dict[str, Any]:
        since, until = days(from_, to)
        return store.database.read(partial(spend, group=group, since=since, until=until))

    @api.get("/overview")
    def today(window: str = Query("24h", pattern=r"^\d{1,4}[hd]$")) -> dict[str, Any]:
        seconds = int(window[:-1]) * (3600 if window[-1] == "h" else 86400)
        return store.database.read(partial(overview, window_s=seconds))
