"""Listening, and ending in order: refuse, let end, cancel, go.

    stop asked ── 503 `draining` for new requests (the socket stays open, so that clients are told and not cut off)
               ── the backend's requests end, or are cancelled with a reason after `drain_seconds`
               ── their answers are written; connections close; the engine and the request log close

No signal handler is set here: whoever calls decides when to stop.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator

from catp.serving.server.app import ServeExtraMissing, create_app
from catp.serving.server.service import Service

__all__ = ["CannotListen", "listen", "raise_file_limit", "serve"]

_log = logging.getLogger(__name__)

_KEEP_ALIVE_SECONDS = 75
_BACKLOG = 4096
_LAST_WRITES_SECONDS = 5


class CannotListen(OSError):
    """The address cannot be listened on; the message says why."""


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one.

    Raises:
        CannotListen: it is taken, or no address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off (40 ms an answer) only where TCP is named
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        found.close()
        reason = getattr(error, "strerror", None) or error
        raise CannotListen(f"cannot listen on {host}:{port}: {reason}; choose another --host or --port") from error
    return found


def raise_file_limit() -> int:
    """Let this process open as many files as it may, since each connection is one; return how many."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = max(soft, 1 << 20)
    with contextlib.suppress(ValueError, OSError):  # some systems have a lower limit than they say
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


async def serve(
    service: Service, sock: socket.socket, stop: asyncio.Event, *, hurry: asyncio.Event | None = None,
    started: Callable[[], None] = lambda: None,
) -> None:  # fmt: skip
    """Serve until `stop` is set, then end in order.

    Args:
        service: what is served; its backend and meter are closed at the end.
        sock: that listens.
        stop: asked to stop.
        hurry: asked to stop at once: what still runs is cancelled.
        started: called when requests are answered.

    Raises:
        ServeExtraMissing: uvicorn or FastAPI is not installed.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise ServeExtraMissing("the server needs fastapi and uvicorn; run: pip install 'catp[serve]'") from error

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            started()

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    config = uvicorn.Config(
        create_app(service), lifespan="off", log_level="warning", access_log=False, server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS, timeout_graceful_shutdown=_LAST_WRITES_SECONDS, backlog=_BACKLOG,
    )  # fmt: skip
    server = Server(config)
    running = asyncio.create_task(server.serve([sock]))
    try:
        asked = asyncio.create_task(stop.wait())
        await asyncio.wait({running, asked}, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        service.draining = True
        await _drain(service, hurry)
        server.should_exit = True
        await running
    finally:
        server.should_exit = True
        await service.backend.close()
        service.meter.close()


async def _drain(service: Service, hurry: asyncio.Event | None) -> None:
    drain = asyncio.create_task(service.backend.drain(service.options.drain_seconds))
    haste = asyncio.create_task((hurry or asyncio.Event()).wait())
    await asyncio.wait({drain, haste}, return_when=asyncio.FIRST_COMPLETED)
    haste.cancel()
    if not drain.done():
        await service.backend.drain(0.0)
    try:
        await drain
    except Exception:
        _log.exception("the engine did not drain")
