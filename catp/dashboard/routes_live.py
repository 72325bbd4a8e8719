"""What goes on: the stream of events, and the state changes of operators."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from catp.approvals import user
from catp.dashboard.actions import AgentFor, approval_json, cancel, decide
from catp.dashboard.feed import Feed, Message, Topics
from catp.dashboard.problems import Problem
from catp.store.store import RunStore

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["add_live_routes"]

_KEEP_ALIVE_S = 15.0


class Decision(BaseModel):
    """The body of an action. `node` None means the whole plan; cancelling has no use for it."""

    model_config = ConfigDict(extra="forbid")

    node: str | None = None
    reason: str = Field("", max_length=2000)


def add_live_routes(
    app: "FastAPI", store: RunStore, feed: Feed, agent_for: AgentFor, *, missing: Callable[[], None]
) -> None:
    """Add the paths to the application."""
    from fastapi import APIRouter, Depends, Header, Query, Request
    from starlette.responses import StreamingResponse

    api = APIRouter(prefix="/api/v1", dependencies=[Depends(missing)])

    class Stream(StreamingResponse):
        """Stops listening when the client is gone, also if it never took anything."""

        def __init__(
            self, wire: AsyncGenerator[bytes, None], messages: AsyncGenerator[Message, None], headers: Any
        ) -> None:
            super().__init__(wire, media_type="text/event-stream", headers=headers)
            self._open = (wire, messages)

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            try:
                await super().__call__(scope, receive, send)
            finally:
                for generator in self._open:
                    await generator.aclose()

    @api.get("/events")
    async def events(
        topics: str = Query("runs", max_length=2000),
        last_event_id: str | None = Header(None),
        after: int | None = Query(None, ge=0),
    ) -> StreamingResponse:
        try:
            wanted = Topics.parse(topics)
        except ValueError as error:
            raise Problem(422, "query", str(error)) from None
        messages = feed.listen(wanted, _number(last_event_id, after))
        first = await anext(messages)  # a store that cannot be read is a problem, not an empty stream
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return Stream(_wire(first, messages), messages, headers)

    @api.get("/runs/{id}/approvals")
    def asked(id: str) -> dict[str, Any]:
        from catp.store.approvals import get

        run = store.find(id)
        return {"items": [approval_json(one) for one in store.database.read(lambda c: get(c, run.id))]}

    @api.post("/runs/{id}/cancel", status_code=202)
    async def end(id: str, body: Decision, request: Request) -> dict[str, Any]:
        return await cancel(store, agent_for, id, by=_who(request), reason=body.reason)

    @api.post("/runs/{id}/approve", status_code=202)
    async def approve(id: str, body: Decision, request: Request) -> dict[str, Any]:
        return await decide(store, id, body.node, granted=True, by=_who(request), reason=body.reason)

    @api.post("/runs/{id}/reject", status_code=202)
    async def reject(id: str, body: Decision, request: Request) -> dict[str, Any]:
        return await decide(store, id, body.node, granted=False, by=_who(request), reason=body.reason)

    app.include_router(api)


def _who(request: Any) -> str:
    """Tokens name no people: who started the server, and which role was used."""
    return f"{user()} (dashboard {request.scope['catp_role']})"


def _number(header: str | None, after: int | None) -> int | None:
    if header is None or header == "":
        return after
    if not (header.isascii() and header.isdigit()) or len(header) > 18:
        raise Problem(422, "query", f"Last-Event-ID {header[:60]!r} is not a number that this server sent")
    return int(header)


async def _wire(first: Message, messages: AsyncGenerator[Message, None]) -> AsyncGenerator[bytes, None]:
    """The stream as bytes, with a comment now and then so that proxies keep it open."""
    async with aclosing(messages) as open_:
        yield b"retry: 1000\n\n" + first.encode()
        coming = asyncio.ensure_future(anext(open_))
        try:
            while True:
                done, _ = await asyncio.wait({coming}, timeout=_KEEP_ALIVE_S)
                if not done:
                    yield b": still here\n\n"
                    continue
                message = coming.result()
                coming = asyncio.ensure_future(anext(open_))
                yield message.encode()
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
