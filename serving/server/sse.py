"""Server-sent events from an exchange: written as they come, with a sign of life while nothing comes.

Until the first event is there (or a few seconds are over) no status is sent, so that what fails at once is an ordinary
error. A client that does not take a write within `write_seconds` is a slow reader: its request is cancelled, and the
connection ends without a last chunk, so that nobody mistakes what came for all of it.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from catp.serving.server.backend import Finished
from catp.serving.server.events import Event
from catp.serving.server.exchange import Exchange
from catp.serving.server.problems import HttpProblem, of_end

__all__ = ["EventStream", "comment", "event_data"]

_FIRST_SECONDS = 5.0
_ALIVE_SECONDS = 15.0
_DONE = b"data: [DONE]\n\n"


def event_data(data: object, name: str | None = None) -> bytes:
    """Return one event."""
    head = "" if name is None else f"event: {name}\n"
    return f"{head}data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


def comment(text: str) -> bytes:
    """Return a comment, which clients skip."""
    return f": {text}\n\n".encode()


class EventStream:
    """An ASGI application that gives one answer.

    Args:
        exchange: with its tickets submitted; it is closed here.
        spell: turns an event of a ticket (number, event) into what is written; told of every event once.
        closing: what is written after the last event, before `[DONE]`.
        headers: more headers.
        write_seconds: most seconds for one write.
        name: of error events; None: unnamed, as OpenAI's clients expect.
    """

    def __init__(
        self, exchange: Exchange, spell: Callable[[int, Event], Iterable[bytes]],
        closing: Callable[[], Iterable[bytes]], *, headers: Mapping[str, str], write_seconds: float,
        name: str | None = None,
    ) -> None:  # fmt: skip
        self._exchange, self._spell, self._closing = exchange, spell, closing
        self._headers, self._write_seconds, self._name = headers, write_seconds, name
        self._failed: HttpProblem | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Give the answer."""
        try:
            await self._answer(send)
        finally:
            await asyncio.shield(self._exchange.close())

    async def first(self) -> HttpProblem | None:
        """Wait a little for the first event; return the problem if it is a bad end, and close the exchange."""
        self._head = await self._exchange.next(_FIRST_SECONDS)
        problem = None if self._head is None else _problem(self._head[1])
        if problem is not None:
            await self._exchange.close()
        return problem

    async def _answer(self, send: Any) -> None:
        headers = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache",
                   "x-accel-buffering": "no", **self._headers}  # fmt: skip
        start = {"type": "http.response.start", "status": 200,
                 "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()]}  # fmt: skip
        if not await self._write(send, start):
            return
        item = self._head
        while True:
            chunks = [comment("alive")]
            if item is not None:  # whatever has come meanwhile is one write
                chunks = [chunk for one in (item, *self._exchange.more()) for chunk in self._chunks(*one)]
            body = b"".join(chunks)
            if body and not await self._write(send, {"type": "http.response.body", "body": body, "more_body": True}):
                return
            try:
                item = await self._exchange.next(_ALIVE_SECONDS)
            except StopAsyncIteration:
                break
        last = b"".join([*(() if self._failed else self._closing()), _DONE])
        await self._write(send, {"type": "http.response.body", "body": last, "more_body": False})

    def _chunks(self, number: int, event: Event) -> Iterable[bytes]:
        problem = _problem(event)
        if problem is None:
            return self._spell(number, event)
        if self._failed is not None:
            return ()
        self._failed = problem
        self._exchange.cancel("another prompt of the same request failed", "cancelled")
        return [event_data(problem.body(), self._name)]

    async def _write(self, send: Any, message: Mapping[str, Any]) -> bool:
        """Write, unless nobody reads; False: give up."""
        if self._exchange.gone:
            return False
        try:
            await asyncio.wait_for(send(message), self._write_seconds)
        except TimeoutError:
            self._exchange.cancel(f"the client took nothing for {self._write_seconds:g} s", "slow_reader")
            return False
        return True


def _problem(event: Event) -> HttpProblem | None:
    if isinstance(event, Finished) and event.reason not in ("stop", "length"):
        return of_end(event)
    return None
