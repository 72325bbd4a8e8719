"""Stored plans and their drawings: `/plans/{digest}`, `/plans/{digest}/layout`. Both follow from the digest."""

from typing import TYPE_CHECKING, Annotated, Literal

from catp.dashboard.context import Context
from catp.dashboard.forms import FOREVER
from catp.dashboard.problems import Problem
from catp.dashboard.read.graph import plan_json, plan_layout
from catp.store.store import RunStore

if TYPE_CHECKING:
    from fastapi import APIRouter

__all__ = ["add"]


def add(api: "APIRouter", context: Context) -> None:
    """Add the paths."""
    from fastapi import Query
    from starlette.responses import JSONResponse

    store = context.store

    @api.get("/plans/{digest}")
    def plan(digest: str) -> JSONResponse:
        return JSONResponse(plan_json(digest, _source(store, digest)), headers=FOREVER)

    @api.get("/plans/{digest}/layout")
    def drawn(
        digest: str, dir: Literal["LR", "TB"] = "LR", open: Annotated[str, Query(max_length=4_000)] = ""
    ) -> JSONResponse:
        opened = tuple(dict.fromkeys(filter(None, open.split(","))))
        return JSONResponse(plan_layout(digest, _source(store, digest), dir, opened), headers=FOREVER)


def _source(store: RunStore, digest: str) -> str:
    try:
        return store.plan_source(digest)
    except IndexError:
        raise Problem(404, "not-found", f"there is no plan {digest[:70]!r} in {store.name}") from None
