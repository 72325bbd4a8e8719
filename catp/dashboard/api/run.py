"""One run: `/runs/{id}`, its events, nodes and values."""

from functools import partial
from typing import TYPE_CHECKING, Any

from catp.dashboard.context import Context
from catp.dashboard.read.node_page import node_io, node_page
from catp.dashboard.read.run_page import run_page

if TYPE_CHECKING:
    from fastapi import APIRouter

__all__ = ["add"]


def add(api: "APIRouter", context: Context) -> None:
    """Add the paths."""
    from fastapi import Query

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
