"""HTTP services as tools.

    http_tool("geo.locate", "GET", "https://geo.example/v1/{place}", params={"place": str}, returns=Position,
              headers={"Authorization": "Bearer {env:GEO_TOKEN}"}, price=PerCall("0.002"))

Secrets are written `{env:NAME}` and looked up at the time of the call, so they appear in no object, log or error.
Failures are reported as they are; repeating calls is the runtime's decision. A request that could not be sent costs
nothing; whether one that was sent and not answered is billed only the provider knows.
"""

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from catp.planlang.money import Money, usd
from catp.planlang.nodes import ToolName
from catp.planlang.registry_view import Effect
from catp.tools.adapters.declare import declare, fill, fill_secrets, missing_secrets, placeholders, told_lifetime
from catp.tools.contract import Contract
from catp.tools.errors import ResultTooLarge, ToolDefinitionError, ToolFailed, ToolTimeout, WrongResult
from catp.tools.lifetime import Lifetime, definition_of
from catp.tools.price import Unpriced
from catp.tools.spec import BackendResult, ToolLimits, ToolSpec
from catp.tools.usage import PriceModel, Usage

if TYPE_CHECKING:
    import httpx

__all__ = ["HttpExchange", "HttpSender", "Method", "http_tool"]

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
_MAX_BYTES = 64 << 20


def http_tool(
    name: str,
    method: Method,
    url: str,
    *,
    params: Mapping[str, Any],
    returns: Any,
    headers: Mapping[str, str] | None = None,
    defaults: Mapping[str, Any] | None = None,
    extract: Callable[[Any], Any] | None = None,
    units: Callable[[Any], Mapping[str, float]] | None = None,
    cost_header: str | None = None,
    description: str = "",
    capability: str = "",
    effects: Effect | None = None,
    price: PriceModel | None = None,
    accuracy: float | None = None,
    timeout: float = 30.0,
    concurrency: int | None = None,
    rate: float | None = None,
    max_bytes: int = _MAX_BYTES,
    cache: Lifetime = False,
    version: str = "1",
) -> ToolSpec:
    """Make a tool of an HTTP endpoint.

    Args:
        name: Full name.
        method: The HTTP method.
        url: Where; `{name}` in it stands for a parameter, quoted. Parameters not in the URL go into the query of GET
            and DELETE, into a multipart form if one is an image or file, and into a JSON body otherwise.
        params: Annotation of each parameter.
        returns: Annotation of the result: `str` is the body's text, `bytes` the body, an image is decoded, anything
            else is read as JSON, records from its objects.
        headers: Sent with each call; `{env:NAME}` is the environment variable NAME.
        defaults: Values of parameters that may be left out.
        extract: Takes the decoded body to the result (`lambda body: body["hits"]`).
        units: Takes the decoded body to billed units (`lambda body: {"pages": body["pages"]}`).
        cost_header: Response header in which the service states its price in US dollars; for `Reported()`.
        description: What the tool does.
        capability: What it is for.
        effects: Default: `read` for GET, `write` for every other method.
        price: Default: unpriced.
        accuracy: Declared accuracy until one is measured.
        timeout: Seconds per call.
        concurrency: Calls at once, if limited.
        rate: Calls per second, if limited.
        max_bytes: Largest body accepted; a larger one is cut off while it arrives.
        cache: How long a result may be used again, such as `"10m"` (see `catp.tools.lifetime`).
        version: Version for profiles and cached results.
    """
    effects = effects or ("read" if method == "GET" else "write")
    signature, types = declare(
        name, params, returns, defaults=defaults or {}, effects=effects, description=description, capability=capability
    )
    unknown = [p for p in placeholders(url) if p not in params]
    if unknown:
        raise ToolDefinitionError(f"tool {name!r}: {{{unknown[0]}}} in the URL is no parameter")
    sender = HttpSender(signature.name, dict(headers or {}), max_bytes)
    backend = _HttpBackend(
        Contract(signature, types), sender, method, url, dict(defaults or {}), extract, units, cost_header
    )
    return ToolSpec(
        signature, backend, Unpriced() if price is None else price, ToolLimits(concurrency, rate, timeout), version,
        capability, accuracy, types, unavailable=missing_secrets({"url": url, **(headers or {})}),
        cache_ttl_s=told_lifetime(name, cache), definition=definition_of(method, url, defaults),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class HttpExchange:
    """One answered request: its status is below 400."""

    body: bytes
    headers: Mapping[str, str]
    encoding: str
    usage: Usage


@dataclass
class HttpSender:
    """Sends requests for one tool and turns everything that can go wrong into tool errors.

    Keeps one connection pool per event loop. Its `repr` shows header names only.
    """

    tool: ToolName
    headers: Mapping[str, str] = field(repr=False)
    max_bytes: int = _MAX_BYTES
    _client: "httpx.AsyncClient | None" = field(default=None, init=False, repr=False)
    _loop: asyncio.AbstractEventLoop | None = field(default=None, init=False, repr=False)

    async def send(
        self, method: str, url: str, *, timeout: float, extra: Mapping[str, str] | None = None, **content: Any
    ) -> HttpExchange:
        """Send a request with `extra` headers; raise `ToolTimeout`, `ToolFailed` (also by status), `ResultTooLarge`."""
        import httpx

        started = time.perf_counter()
        sent = received = 0

        def used() -> Usage:
            return Usage(wall_ms=(time.perf_counter() - started) * 1e3, bytes_in=sent, bytes_out=received)

        headers = {key: fill_secrets(value) for key, value in self.headers.items()} | dict(extra or {})
        try:
            async with asyncio.timeout(timeout), self._stream(method, fill_secrets(url), headers, content) as response:
                sent = int(response.request.headers.get("content-length", 0))
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    received = len(body)
                    if received > self.max_bytes:
                        raise ResultTooLarge(self.tool, f"the answer exceeds {self.max_bytes} bytes", usage=used())
        except (TimeoutError, httpx.TimeoutException):
            message = f"no complete answer within {timeout:g} s"
            raise ToolTimeout(self.tool, message, usage=used(), billing="unknown") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            unsent = isinstance(error, httpx.ConnectError | httpx.UnsupportedProtocol | httpx.InvalidURL)
            raise ToolFailed(
                self.tool, f"{method} {_host(url)}: {str(error) or 'connection failed'}", usage=used(),
                error_type=type(error).__name__, billing="nothing" if unsent else "unknown",
            ) from None  # fmt: skip
        if not response.is_success:
            excerpt = bytes(body[:300]).decode(errors="replace").strip()
            status = f"HTTP {response.status_code}"
            message = f"{method} {_host(url)}: {status} {response.reason_phrase}: {excerpt}"
            raise ToolFailed(self.tool, message, usage=used(), error_type=status, billing="unknown")
        return HttpExchange(bytes(body), response.headers, response.encoding or "utf-8", used())

    @asynccontextmanager
    async def _stream(
        self, method: str, url: str, headers: Mapping[str, str], content: Mapping[str, Any]
    ) -> "AsyncIterator[httpx.Response]":
        import httpx

        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._client, self._loop = httpx.AsyncClient(timeout=None), loop
        async with self._client.stream(method, url, headers=headers, **content) as response:
            yield response

    async def close(self) -> None:
        """Close the connections, if they belong to the running event loop."""
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.aclose()


def _host(url: str) -> str:
    """Return the URL without its query: the part that may be shown."""
    return url.partition("?")[0]


class _HttpBackend:
    def __init__(
        self, contract: Contract, sender: HttpSender, method: Method, url: str, defaults: Mapping[str, Any],
        extract: Callable[[Any], Any] | None, units: Callable[[Any], Mapping[str, float]] | None,
        cost_header: str | None,
    ) -> None:  # fmt: skip
        self._contract, self._sender = contract, sender
        self._method, self._url, self._defaults = method, url, defaults
        self._extract, self._units, self._cost_header = extract, units, cost_header

    async def call(self, args: Mapping[str, Any], *, timeout: float) -> BackendResult:
        return await self._call(args, timeout, {})

    async def call_with_key(self, args: Mapping[str, Any], *, timeout: float, key: str) -> BackendResult:
        """Send the idempotency key along, in the header services have agreed on."""
        return await self._call(args, timeout, {"Idempotency-Key": key})

    async def _call(self, args: Mapping[str, Any], timeout: float, extra: Mapping[str, str]) -> BackendResult:
        self._contract.check_args(args)
        url, content = self._request({k: v for k, v in {**self._defaults, **args}.items() if v is not None})
        answer = await self._sender.send(self._method, url, timeout=timeout, extra=extra, **content)
        usage = answer.usage
        try:
            body = self._decode(answer)
            usage = Usage(
                wall_ms=usage.wall_ms, bytes_in=usage.bytes_in, bytes_out=usage.bytes_out,
                units=dict(self._units(body)) if self._units else {}, reported=self._reported(answer.headers),
            )  # fmt: skip
            value = self._extract(body) if self._extract else body
        except Exception as error:
            message = f"the answer cannot be read: {type(error).__name__}: {error}"
            raise WrongResult(self._sender.tool, message, usage=usage) from error
        return BackendResult(self._contract.check_result(value, usage), usage)

    def _request(self, args: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        in_url = placeholders(self._url)
        url = fill(self._url, {name: quote(_text(args.get(name, "")), safe="") for name in in_url})
        rest = {key: value for key, value in args.items() if key not in in_url}
        if self._method in ("GET", "DELETE"):
            return url, {"params": {key: _text(value) for key, value in rest.items()}} if rest else {}
        files = {key: _upload(key, value) for key, value in rest.items() if _is_binary(value)}
        if files:
            return url, {"files": files, "data": {k: _text(v) for k, v in rest.items() if k not in files}}
        return url, {"json": rest}

    def _decode(self, answer: HttpExchange) -> Any:
        returns = self._contract.signature.returns.name
        if returns == "text" and self._extract is None:
            return answer.body.decode(answer.encoding, errors="replace")
        if returns == "file" and self._extract is None:
            return answer.body
        if returns == "image" and self._extract is None:
            from PIL import Image

            image = Image.open(io.BytesIO(answer.body))
            image.load()
            return image
        return json.loads(answer.body)

    def _reported(self, headers: Mapping[str, str]) -> Money | None:
        stated = headers.get(self._cost_header) if self._cost_header else None
        return usd(stated) if stated is not None else None

    async def close(self) -> None:
        await self._sender.close()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _is_binary(value: Any) -> bool:
    return isinstance(value, bytes) or hasattr(value, "__fspath__") or hasattr(value, "save")


def _upload(name: str, value: Any) -> tuple[str, bytes]:
    if isinstance(value, bytes):
        return name, value
    if hasattr(value, "__fspath__"):
        with open(value, "rb") as file:
            return name, file.read()
    buffer = io.BytesIO()
    value.save(buffer, "PNG")
    return f"{name}.png", buffer.getvalue()
