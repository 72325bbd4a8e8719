"""What operators decide about a run: approve, reject, cancel."""

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from catp.dashboard.actions import approval_json, cancel, decide
from catp.dashboard.context import Context
from catp.store.approvals import get

if TYPE_CHECKING:
    from fastapi import APIRouter

__all__ = ["add"]


class Decision(BaseModel):
    """The body of an action. `node` None means the whole plan; cancelling has no use for it."""

    model_config = ConfigDict(extra="forbid")

    node: str | None = None
    reason: str = Field("", max_length=2000)


def add(api: "APIRouter", context: Context) -> None:
    """Add the paths."""
    from fastapi import Request

    store = context.store

    @api.get("/runs/{id}/approvals")
    def asked(id: str) -> dict[str, Any]:
        run = store.find(id)
        return {"items": [approval_json(one) for one in store.database.read(lambda c: get(c, run.id))]}

    @api.post("/runs/{id}/cancel", status_code=202)
    async def end(id: str, body: Decision, request: Request) -> dict[str, Any]:
        return await cancel(store, context.agent_for, id, by=context.who(request), reason=body.reason)

    @api.post("/runs/{id}/approve", status_code=202)
    async def approve(id: str, body: Decision, request: Request) -> dict[str, Any]:
        return await decide(store, id, body.node, granted=True, by=context.who(request), reason=body.reason)

    @api.post("/runs/{id}/reject", status_code=202)
    async def reject(id: str, body: Decision, request: Request) -> dict[str, Any]:
        return await decide(store, id, body.node, granted=False, by=context.who(request), reason=body.reason)
