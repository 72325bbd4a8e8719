"""What every request passes before the API sees it: Host, role, Origin, read-only, size; and what every answer carries.

Plain ASGI. The Host is checked on every request (DNS rebinding), the Origin on every state change (cross-site posts),
and the body of one is counted as it comes in.
"""

import ipaddress
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from catp.dashboard.access import COOKIE, Access, Role, allows
from catp.dashboard.door import asks_for_page, door
from catp.dashboard.problems import MEDIA_TYPE, Problem, of_error

__all__ = ["LOCAL_HOSTS", "MOST_BODY", "Guard"]

_Scope: TypeAlias = MutableMapping[str, Any]
_Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
_App: TypeAlias = Callable[[_Scope, _Receive, _Send], Awaitable[None]]

_log = logging.getLogger("catp.dashboard")

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})

MOST_BODY = 32 * 1024 * 1024
"""Bytes of a body: the inputs of one run (`catp.dashboard.given.MOST_BYTES`) in base64, and what goes with them."""

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_OPEN = frozenset({"/healthz", "/readyz"})
_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; object-src 'none'; "
        "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
"""Set where the answer does not set them itself."""
_TOO_LARGE = f"a request may have {MOST_BODY // 2**20} MB; use `catp run` for more"


class Guard:
    """Wraps an ASGI application; the role of the caller is in `scope["catp_role"]`.

    Args:
        app: What is guarded.
        access: The tokens.
        hosts: Names under which the server may be addressed, without port.
        read_only: Refuse every state change, whoever asks.
        root_path: Prefix under which a proxy serves it.
    """

    def __init__(
        self, app: _App, access: Access, *, hosts: Iterable[str], read_only: bool = False, root_path: str = ""
    ) -> None:
        self._app = app
        self._access = access
        self._hosts = frozenset(host.lower() for host in hosts)
        self._read_only = read_only
        self._root = root_path

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Serve one connection. What fails is told here: outside of it, an answer would not get the headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._serve(scope, receive, sending)
        except Exception as error:
            if begun:  # all that is left is to cut it off, which the server does
                raise
            _log.error("the dashboard failed at %s", scope["path"], exc_info=error)
            await _refuse(send, of_error(error))

    async def _serve(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        try:
            self._check_host(headers)
            if (redirect := self._exchange(scope)) is not None:
                await _answer(send, 303, b"", redirect)
                return
            role = self._role(scope, headers)
            if scope["method"] not in _SAFE:
                self._check_change(role, headers)
        except Problem as problem:
            if problem.status == 401 and asks_for_page(scope["method"], headers):
                told = {"content-type": "text/html; charset=utf-8", **problem.headers()}
                await _answer(send, problem.status, door(problem), told)
            else:
                await _refuse(send, problem)
            return
        scope["catp_role"] = role
        if self._root:  # routers take it off, and the OpenAPI page names it
            scope["root_path"] = self._root
        await self._app(scope, _counted(receive), _with_headers(send))

    def _check_host(self, headers: MutableMapping[str, str]) -> None:
        host = headers.get("host", "")
        if _name(host) not in self._hosts:
            raise Problem(421, "host", f"this server does not answer as {host[:100]!r}; name the host when starting it")

    def _check_change(self, role: Role, headers: MutableMapping[str, str]) -> None:
        if self._read_only:
            raise Problem(403, "read-only", "the dashboard was started read-only; nothing can be changed through it")
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "same-origin")
        own = origin is None or origin.lower().partition("://")[2] == headers["host"].lower()
        if not own or site not in ("same-origin", "none"):
            raise Problem(403, "origin", f"a page of {str(origin)[:100]!r} may not change anything here")
        if not allows(role, "operator"):
            raise Problem(403, "role", "a viewer changes nothing; use the token of an operator")
        told = headers.get("content-length", "0")
        if told.isascii() and told.isdigit() and (len(told) > 12 or int(told) > MOST_BODY):
            raise Problem(413, "too-large", _TOO_LARGE)

    def _role(self, scope: _Scope, headers: MutableMapping[str, str]) -> Role:
        path = scope["path"].removeprefix(self._root)
        if not self._access.tokens:
            if not _local(scope.get("client")):
                raise Problem(403, "no-token", "without a token only this machine is served; start it with a token")
            return "admin"
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and (found := self._access.of_token(given.strip())) is not None:
            return found[1]
        # a proxy with its own password sends `Basic` along: that is not for us
        cookie = "" if kind.lower() == "bearer" else _cookie(headers.get("cookie", ""))
        if (role := self._access.of_session(cookie)) is not None:
            return role
        if path in _OPEN:
            return "viewer"
        raise Problem(401, "token", "open the address with ?token=… once, or send Authorization: Bearer")

    def _exchange(self, scope: _Scope) -> dict[str, str] | None:
        """The headers that turn `?token=` into a cookie, None if there is none."""
        if scope["method"] != "GET" or b"token=" not in scope["query_string"] or not self._access.tokens:
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = next((value for key, value in query if key == "token"), None)
        if given is None:
            return None
        found = self._access.of_token(given)
        if found is None:
            raise Problem(401, "token", "this is not a token of this server")
        rest = urlencode([(key, value) for key, value in query if key != "token"])
        # relative to the page, and only its last part: a path such as //elsewhere.org cannot lead away
        last = quote(scope["path"].rpartition("/")[2])  # decoded, it may hold line breaks
        secure = "; Secure" if scope.get("scheme") == "https" else ""
        cookie = f"{COOKIE}={self._access.session(*found)}; HttpOnly; SameSite=Strict; Path={self._root or '/'}{secure}"
        return {"location": f"./{last}{'?' + rest if rest else ''}", "set-cookie": cookie}


def _name(host: str) -> str:
    """`host` without its port, `::1` of `[::1]:80`."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _local(client: Any) -> bool:
    try:
        return client is None or ipaddress.ip_address(client[0]).is_loopback  # None: a Unix socket
    except ValueError:
        return False


def _cookie(header: str) -> str:
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value


def _counted(receive: _Receive) -> _Receive:
    """The body, up to what is allowed; one that came in chunks has told no length before."""
    room = MOST_BODY

    async def receiving() -> MutableMapping[str, Any]:
        nonlocal room
        message = await receive()
        room -= len(message.get("body", b""))
        if room < 0:
            from starlette.exceptions import HTTPException

            raise HTTPException(413, _TOO_LARGE)
        return message

    return receiving


def _with_headers(send: _Send) -> _Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            there = {key.lower() for key, _ in message.get("headers", ())}
            more = [(k.encode(), v.encode()) for k, v in _HEADERS.items() if k.encode() not in there]
            message = {**message, "headers": [*message.get("headers", ()), *more]}
        await send(message)

    return sending


async def _refuse(send: _Send, problem: Problem) -> None:
    body = json.dumps(problem.body()).encode()
    await _answer(send, problem.status, body, {"content-type": MEDIA_TYPE, **problem.headers()})


async def _answer(send: _Send, status: int, body: bytes, headers: dict[str, str]) -> None:
    told = {**headers, "content-length": str(len(body))}
    lines = [(key.lower().encode(), value.encode()) for key, value in told.items()]
    sending = _with_headers(send)
    await sending({"type": "http.response.start", "status": status, "headers": lines})
    await sending({"type": "http.response.body", "body": body})
