"""What goes on, as server-sent events: `/events?topics=runs,run:ID,engine`."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeAlias

from catp.dashboard.context import Context
from catp.dashboard.feed import Message, Topics
from catp.dashboard.problems import Problem

if TYPE_CHECKING:
    from fastapi import APIRouter

__all__ = ["add"]

Batches: TypeAlias = AsyncGenerator[list[Message], None]

_KEEP_ALIVE_S = 15.0


def add(api: "APIRouter", context: Context) -> None:
    """Add the path."""
    from fastapi import Header, Query
    from starlette.responses import StreamingResponse

    feed = context.feed

    class Stream(StreamingResponse):
        """Stops listening when the client is gone, also if it never took anything."""

        def __init__(self, wire: AsyncGenerator[bytes, None], batches: Batches, headers: Any) -> None:
            super().__init__(wire, media_type="text/event-stream", headers=headers)
            self._open = (wire, batches)

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
        batches = feed.batches(wanted, _number(last_event_id, after))
        if wanted.engine:
            batches = context.engine.heard(batches)
        first = await anext(batches)  # a store that cannot be read is a problem, not an empty stream
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return Stream(_wire(first, batches), batches, headers)


def _number(header: str | None, after: int | None) -> int | None:
    if header is None or header == "":
        return after
    if not (header.isascii() and header.isdigit()) or len(header) > 18:
        raise Problem(422, "query", f"Last-Event-ID {header[:60]!r} is not a number that this server sent")
    return int(header)


async def _wire(first: list[Message], batches: Batches) -> AsyncGenerator[bytes, None]:
    """The stream as bytes, with a comment now and then so that proxies keep it open."""
    async with aclosing(batches) as open_:
        yield b"retry: 1000\n\n" + _encoded(first)
        coming = asyncio.ensure_future(anext(open_))
        try:
            while True:
                done, _ = await asyncio.wait({coming}, timeout=_KEEP_ALIVE_S)
                if not done:
                    yield b": still here\n\n"
                    continue
                try:
                    batch = coming.result()
                except StopAsyncIteration:  # the server stops
                    return
                coming = asyncio.ensure_future(anext(open_))
                yield _encoded(batch)
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)


def _encoded(batch: list[Message]) -> bytes:
    return b"".join(message.encode() for message in batch)
