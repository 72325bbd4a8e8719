"""Smaller answers for clients that take gzip: whole texts only, so a stream of events is never held back.

A run of 1,000 steps is 500 kB of JSON and 100 kB on the wire. Media are left as they are: they are compressed already,
or bytes that a tool made, of which a client may want a part.
"""

import asyncio
import gzip
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

__all__ = ["LEAST_BYTES", "Squeeze"]

_Message: TypeAlias = MutableMapping[str, Any]
_Scope: TypeAlias = MutableMapping[str, Any]
_Send: TypeAlias = Callable[[_Message], Awaitable[None]]
_Receive: TypeAlias = Callable[[], Awaitable[_Message]]
_App: TypeAlias = Callable[[_Scope, _Receive, _Send], Awaitable[None]]

LEAST_BYTES: Final = 1_000
"""Shorter answers fit into one packet as they are."""
_LARGE: Final = 64_000
"""Longer ones take more than a millisecond, which other answers should not wait for."""
_LEVEL: Final = 3
"""On the JSON of a run, level 9 takes eight times as long to save another twelfth."""

_TEXTS: Final = frozenset({
    "application/json", "application/problem+json", "text/html", "text/css", "text/javascript", "text/plain",
    "text/csv", "image/svg+xml",
})  # fmt: skip


class Squeeze:
    """Wraps an ASGI application; see the module."""

    def __init__(self, app: _App) -> None:
        self._app = app

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await self._app(scope, receive, _Answer(send, taken=_takes_gzip(scope["headers"])).send)


class _Answer:
    """One answer on its way out: its head waits until it is known whether all of its body comes at once."""

    def __init__(self, send: _Send, *, taken: bool) -> None:
        self._send = send
        self._taken = taken
        self._head: _Message | None = None

    async def send(self, message: _Message) -> None:
        if message["type"] == "http.response.start" and _is_text(message):
            self._head = {**message, "headers": [*message["headers"], (b"vary", b"accept-encoding")]}
            return
        head, self._head = self._head, None
        if head is None:
            await self._send(message)
            return
        body = message.get("body", b"")
        if self._taken and len(body) >= LEAST_BYTES and not message.get("more_body", False):
            small = await asyncio.to_thread(_small, body) if len(body) > _LARGE else _small(body)
            head["headers"] = _headers(head["headers"], len(small))
            message = {**message, "body": small}
        await self._send(head)
        await self._send(message)


def _takes_gzip(headers: list[tuple[bytes, bytes]]) -> bool:
    """True if `Accept-Encoding` names gzip, and not with a weight of 0."""
    told = b",".join(value for key, value in headers if key == b"accept-encoding").decode("latin-1").lower()
    for part in told.split(","):
        name, _, weight = part.partition(";")
        if name.strip() == "gzip":
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _is_text(head: _Message) -> bool:
    """True if the answer is a text of which no part was asked for, and which nobody has encoded yet."""
    headers = dict(head.get("headers", ()))
    kind = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    return head["status"] not in (204, 206, 304) and kind in _TEXTS and b"content-encoding" not in headers


def _headers(headers: list[tuple[bytes, bytes]], length: int) -> list[tuple[bytes, bytes]]:
    """The headers of the squeezed answer: it has the same meaning in other bytes, so a tag of it is a weak one."""
    kept = [(key, b"W/" + value if key == b"etag" else value) for key, value in headers if key != b"content-length"]
    return [*kept, (b"content-length", str(length).encode()), (b"content-encoding", b"gzip")]


def _small(body: bytes) -> bytes:
    return gzip.compress(body, _LEVEL, mtime=0)
