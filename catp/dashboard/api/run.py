"""One run: `/runs/{id}`, its figures while it goes on, its spending, events, nodes and values."""

from functools import partial
from typing import TYPE_CHECKING, Any

from catp.dashboard.context import Context
from catp.dashboard.demo_names import DEMO_PROJECTS
from catp.dashboard.read.declared import Declared
from catp.dashboard.read.node_calls import MOST, calls_page, ledger_page
from catp.dashboard.read.node_page import node_io, node_page, node_part
from catp.dashboard.read.run_page import run_figures, run_page
from catp.dashboard.read.spend_curve import spend_curve

if TYPE_CHECKING:
    from fastapi import APIRouter

    from catp.tools.catalogue import Catalogue

__all__ = ["add"]


def add(api: "APIRouter", context: Context) -> None:
    """Add the paths."""
    from fastapi import Query

    store = context.store

    def demo_tools() -> "Catalogue":
        from catp.dashboard.demo import demo_agent

        return demo_agent(store).catalogue

    demo = Declared(demo_tools)

    def catalogue(id: str) -> "Catalogue | None":
        """The tools that a run had, as far as this server knows them; None if it cannot make its agent."""
        return (demo if store.find(id).project in DEMO_PROJECTS else context.declared).catalogue()

    @api.get("/runs/{id}")
    def run(id: str) -> dict[str, Any]:
        return context.read(partial(run_page, run_id=id, store=store.name))

    @api.get("/runs/{id}/figures")
    def figures(id: str, since: int = Query(0, ge=0)) -> dict[str, Any]:
        return context.read(partial(run_figures, run_id=id, store=store.name, since=since))

    @api.get("/runs/{id}/spend")
    def spend(id: str) -> dict[str, Any]:
        return context.read(partial(spend_curve, run_id=id, store=store.name))

    @api.get("/runs/{id}/events")
    def events(
        id: str, after: int = Query(0, ge=0), before: int | None = Query(None, ge=1),
        limit: int = Query(1000, ge=1, le=5000),
    ) -> dict[str, Any]:  # fmt: skip
        """With `before`, the latest events before that one; else the first ones after `after`."""
        full = store.find(id).id
        after = after if before is None else max(after, before - 1 - limit)
        found = [event for event in store.events(full, after, limit) if before is None or event.seq < before]
        return {"items": [event.to_json() for event in found], "last_seq": found[-1].seq if found else after}

    @api.get("/runs/{id}/nodes/{n}")
    def node(id: str, n: str) -> dict[str, Any]:
        return context.read(partial(node_page, run_id=id, step=n, store=store.name, catalogue=catalogue(id)))

    @api.get("/runs/{id}/nodes/{n}/calls")
    def calls(
        id: str, n: str, cursor: str | None = Query(None, max_length=30), limit: int = Query(MOST, ge=1, le=10_000)
    ) -> dict[str, Any]:
        page = partial(calls_page, cursor=cursor, limit=limit)
        return context.read(partial(node_part, run_id=id, step=n, store=store.name, page=page))

    @api.get("/runs/{id}/nodes/{n}/ledger")
    def ledger(
        id: str, n: str, cursor: int = Query(0, ge=0, le=2**62), limit: int = Query(MOST, ge=1, le=10_000)
    ) -> dict[str, Any]:
        page = partial(ledger_page, cursor=cursor, limit=limit)
        return context.read(partial(node_part, run_id=id, step=n, store=store.name, page=page))

    @api.get("/runs/{id}/nodes/{n}/io")
    def values(id: str, n: str) -> dict[str, Any]:
        return node_io(store, id, n)
