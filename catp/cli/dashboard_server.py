"""The server behind `catp dashboard`: where it listens, by which names it may be addressed, how it stops."""

import asyncio
import contextlib
import errno
import ipaddress
import json
import logging
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catp.cli.output import EXIT_USAGE, fail

if TYPE_CHECKING:
    from catp.dashboard.access import Role

__all__ = ["address_of", "is_local", "listen", "own_names", "read_tokens", "serve"]

_LAST_ANSWERS_S = 0.5
"""How long open answers get to end when the server stops; then their connections are cut."""
_LAST_WORK_S = 1
"""How long it is waited for what makes answers; streams and whoever waits for a client have ended by then."""


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one. Ends the command if it cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(512)
    except OSError as error:
        found.close()
        taken = error.errno == errno.EADDRINUSE
        help_ = "is a dashboard running there already? --port 0 takes a free one" if taken else "see --host"
        fail(f"cannot listen on {host}:{port}: {error.strerror or error}", EXIT_USAGE, help=help_)
    return found


def is_local(host: str) -> bool:
    """True if only this machine can reach the address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def own_names(host: str) -> list[str]:
    """Return the names by which others reach an address to listen on; of `0.0.0.0` and `::` those of this machine."""
    if host not in ("0.0.0.0", "::"):
        return [host]
    names = [socket.gethostname(), socket.getfqdn()]
    with contextlib.suppress(OSError):
        names += [str(found[4][0]) for found in socket.getaddrinfo(socket.gethostname(), None)]
    return sorted({name for name in names if name}, key=lambda name: not name[0].isdigit())


def address_of(sock: socket.socket, names: Sequence[str]) -> str:
    """Return the address to open: with a name of the machine where the socket listens on all of its addresses."""
    host, port = sock.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = next((name for name in names if not is_local(name)), socket.gethostname())
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def read_tokens(path: Path | None) -> "dict[str, Role]":
    """Read a JSON object of tokens and roles; ends the command if it cannot be used."""
    if path is None:
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        fail(f"cannot read tokens from {path}: {getattr(error, 'strerror', None) or error}", EXIT_USAGE)
    if not isinstance(found, dict) or not all(isinstance(role, str) for role in found.values()):
        fail(f"{path} must hold a JSON object", EXIT_USAGE, help='write {"TOKEN": "viewer", "OTHER": "admin"}')
    return found


async def serve(application: Any, sock: socket.socket, *, started: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM; `started` is called when requests are answered."""
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                started()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            loop.call_later(_LAST_ANSWERS_S, self.cut_off)
            await super().shutdown(sockets)

        def cut_off(self) -> None:
            """Clients that take nothing hold nobody up: to those who write to them, they have gone."""
            for connection in list(self.server_state.connections):
                connection.transport.abort()

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    loop = asyncio.get_running_loop()
    server = Server(uvicorn.Config(
        application, log_level="warning", access_log=False, server_header=False, lifespan="on",
        timeout_graceful_shutdown=_LAST_WORK_S,
    ))  # fmt: skip

    def stop() -> None:
        server.force_exit = server.should_exit
        server.should_exit = True
        application.state.feed.hang_up()

    logging.getLogger("uvicorn.error").addFilter(_not_cut_off)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    await server.serve([sock])


def _not_cut_off(record: logging.LogRecord) -> bool:
    """False for what uvicorn says of work that a stop cut off: whoever stops the server expects that."""
    cut = record.exc_info is not None and isinstance(record.exc_info[1], asyncio.CancelledError)
    return not cut and not str(record.msg).startswith("Cancel %s running task(s)")
