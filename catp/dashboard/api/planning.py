"""Looking at plans before they run: previews, what-if, alternatives, and how a plan differs from another."""

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from catp.dashboard.context import Context
from catp.dashboard.problems import Problem
from catp.dashboard.read.graph import plan_json, plan_layout
from catp.dashboard.read.plan_diff import plan_diff
from catp.dashboard.read.plans_of_runs import plan_in_force, previous_plan
from catp.dashboard.wishes import PreviewWish, WhatIf, amount
from catp.planlang.nodes import Plan
from catp.planlang.parser import parse
from catp.planlang.printer import to_text

if TYPE_CHECKING:
    from fastapi import APIRouter
    from starlette.requests import Request

    from catp.dashboard.planning import PlanDesk

__all__ = ["add"]

T = TypeVar("T")


def add(api: "APIRouter", context: Context) -> None:
    """Add the paths."""
    from fastapi import Query, Request

    store = context.store

    @api.post("/plans:preview")
    async def preview(body: PreviewWish, request: Request) -> dict[str, Any]:
        return await _while_there(request, (await _desk(context)).preview(body.asked(), body.candidates))

    @api.get("/previews/{id}/{rank}")
    def previewed(id: str, rank: int) -> dict[str, Any]:
        found = context.desk().previewed(id, rank).compiled
        return plan_json(found.digest, to_text(found.source))

    @api.get("/previews/{id}/{rank}/layout")
    def drawn(id: str, rank: int, dir: Literal["LR", "TB"] = "LR", open: str = "") -> dict[str, Any]:
        found = context.desk().previewed(id, rank).compiled
        return plan_layout(found.digest, to_text(found.source), dir, tuple(filter(None, open.split(",")[:20])))

    @api.post("/plans:whatif")
    async def if_so(body: WhatIf) -> dict[str, Any]:
        if sum(one is not None for one in (body.run, body.plan_hash, body.plan)) != 1:
            raise Problem(422, "query", "give one of run, plan_hash and plan")
        return await (await _desk(context)).paper.whatif(
            body.swap, body.drop, run=body.run, plan_hash=body.plan_hash, plan=body.plan, preview=body.preview,
            budget=amount("budget", body.budget), deadline_s=body.deadline_s,
        )  # fmt: skip

    @api.get("/previews/{id}/{rank}/alternatives")
    async def others(id: str, rank: int, step: str | None = None) -> dict[str, Any]:
        desk = await _desk(context)
        plan = to_text(desk.previewed(id, rank).compiled.source)
        return await desk.paper.alternatives(step, plan=plan, preview=id)

    @api.get("/runs/{id}/alternatives")
    async def others_of(id: str, step: str | None = None) -> dict[str, Any]:
        return await (await _desk(context)).paper.alternatives(step, run=id)

    @api.get("/runs/{id}/quote")
    async def quoted(id: str) -> dict[str, Any]:
        return await (await _desk(context)).paper.quote(id)

    @api.get("/runs/{id}/previous")
    def previous(id: str) -> dict[str, Any]:
        run = store.find(id)
        found = context.read(lambda c: previous_plan(c, run.task, run.id))
        if found is None:
            return {"run": None, "plan_hash": None, "diff": None}
        now = context.read(lambda c: plan_in_force(c, run.id))
        return {"run": found[0], "plan_hash": found[1], "diff": plan_diff(parse(now), parse(found[2]))}

    @api.get("/plans/{digest}/diff")
    def differ(digest: str, other: str = Query(alias="with")) -> dict[str, Any]:
        return {"hash": digest, "with": other, **plan_diff(_plan(context, digest), _plan(context, other))}


async def _desk(context: Context) -> "PlanDesk":
    return await asyncio.to_thread(context.desk)  # it may have to be loaded first


def _plan(context: Context, digest: str) -> Plan:
    try:
        return parse(context.store.plan_source(digest))
    except IndexError:
        raise Problem(404, "not-found", f"there is no plan {digest[:70]!r} in {context.store.name}") from None


async def _while_there(request: "Request", work: Awaitable[T]) -> T:
    """Await it; whoever leaves before it is done stops it (a search that runs in a thread ends there by itself)."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=0.25))[0]:
            if await request.is_disconnected():
                raise Problem(408, "left", "nobody waits for the plan any more")
        return task.result()
    finally:
        task.cancel()
