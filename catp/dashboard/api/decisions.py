"""What operators decide about a run: approve, reject, cancel, score. Every change is noted in the audit trail."""

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from catp.dashboard.actions import approval_json, cancel, decide
from catp.dashboard.context import Context
from catp.dashboard.forms import iso
from catp.dashboard.wishes import amount
from catp.store import scores
from catp.store.approvals import get

if TYPE_CHECKING:
    from fastapi import APIRouter

    from catp.agent import Agent

__all__ = ["add"]


class Decision(BaseModel):
    """The body of an action. `node` None means the whole plan; cancelling has no use for it.

    `cap` approves a whole plan that may spend no more than that.
    """

    model_config = ConfigDict(extra="forbid")

    node: str | None = None
    reason: str = Field("", max_length=2000)
    cap: str | None = None


class Judgement(BaseModel):
    """The body of a score: from 0 (useless) to 1 (perfect)."""

    model_config = ConfigDict(extra="forbid")

    value: float = Field(ge=0, le=1, allow_inf_nan=False)
    note: str = Field("", max_length=2000)


def add(api: "APIRouter", context: Context) -> None:
    """Add the paths."""
    from fastapi import Request

    store = context.store

    @api.get("/runs/{id}/approvals")
    def asked(id: str) -> dict[str, Any]:
        run = store.find(id)
        return {"items": [approval_json(one) for one in store.database.read(lambda c: get(c, run.id))]}

    async def agent(run: str) -> "Agent":
        return await (await asyncio.to_thread(context.desk)).agent(run)

    @api.post("/runs/{id}/cancel", status_code=202)
    async def end(id: str, body: Decision, request: Request) -> dict[str, Any]:
        done = await cancel(store, agent, id, by=context.who(request), reason=body.reason)
        await asyncio.to_thread(context.audit, request, "run.cancel", done["run"], reason=body.reason)
        return done

    async def answer(id: str, body: Decision, request: Request, *, granted: bool) -> dict[str, Any]:
        cap, by = amount("cap", body.cap), context.who(request)
        done = await decide(store, id, body.node, granted=granted, by=by, reason=body.reason, cap=cap)
        action, detail = "run.approve" if granted else "run.reject", {"node": body.node, "cap": body.cap}
        await asyncio.to_thread(context.audit, request, action, done["run"], reason=body.reason, **detail)
        return done

    @api.post("/runs/{id}/approve", status_code=202)
    async def approve(id: str, body: Decision, request: Request) -> dict[str, Any]:
        return await answer(id, body, request, granted=True)

    @api.post("/runs/{id}/reject", status_code=202)
    async def reject(id: str, body: Decision, request: Request) -> dict[str, Any]:
        return await answer(id, body, request, granted=False)

    @api.post("/runs/{id}/score")
    def score(id: str, body: Judgement, request: Request) -> dict[str, Any]:
        run = store.find(id)
        putting = partial(
            scores.put, run_id=run.id, value=body.value, by=context.who(request), note=body.note,
            now_ns=time.time_ns(),
        )  # fmt: skip
        kept = store.database.write(putting)
        context.audit(request, "run.score", run.id, value=body.value, before=run.quality, note=body.note)
        return {"run": run.id, "value": kept.value, "by": kept.by, "note": kept.note, "at": iso(kept.at_ns)}
