"""One run: `/runs/{id}`, its events, nodes, values and export."""

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from catp.dashboard.context import Context
from catp.dashboard.read.node_page import ledger_rows, node_io, node_page
from catp.dashboard.read.run_page import run_page

if TYPE_CHECKING:
    from fastapi import APIRouter

__all__ = ["add"]


def add(api: "APIRouter", context: Context) -> None:
    """Add the paths."""
    from fastapi import Query
    from starlette.responses import JSONResponse, Response

    store = context.store

    @api.get("/runs/{id}")
    def run(id: str) -> dict[str, Any]:
        return context.read(partial(run_page, run_id=id, store=store.name))

    @api.get("/runs/{id}/events")
    def events(id: str, after: int = Query(0, ge=0), limit: int = Query(1000, ge=1, le=5000)) -> dict[str, Any]:
        full = store.find(id).id
        found = store.events(full, after)[:limit]
        return {"items": [event.to_json() for event in found], "last_seq": found[-1].seq if found else after}

    @api.get("/runs/{id}/nodes/{n}")
    def node(id: str, n: str) -> dict[str, Any]:
        return context.read(partial(node_page, run_id=id, step=n, store=store.name))

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
        shown = context.read(partial(run_page, run_id=found.summary.id, store=store.name))
        whole = {"schema": "catp.run-export/1", "run": shown, "plan": found.plan_source, "ledger": rows}
        return JSONResponse({**whole, "events": [event.to_json() for event in found.events]}, headers=headers)


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
