"""Tools of MCP servers: their schemas become signatures, their hints effects, and the caller says what they cost.

    specs = await import_mcp(["python", "server.py"], namespace="docs", price=PerCall("0.001"))

Hints of a server are not proof: only `readOnlyHint` is believed, and everything else counts as `write`. Needs the
official SDK (`pip install 'catp[mcp]'`).
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from catp.planlang.registry_view import Effect, ToolSig
from catp.planlang.types import Type
from catp.tools.adapters.declare import told_lifetime
from catp.tools.adapters.schema import params_of, type_of
from catp.tools.contract import Contract
from catp.tools.decorator import full_name
from catp.tools.errors import ToolFailed, ToolTimeout, ToolUnavailable, WrongResult
from catp.tools.lifetime import Lifetime
from catp.tools.price import Unpriced
from catp.tools.spec import BackendResult, ToolLimits, ToolSpec, check_price
from catp.tools.usage import PriceModel, Usage

if TYPE_CHECKING:
    from mcp import Client

__all__ = ["import_mcp"]

_log = logging.getLogger("catp.tools")


async def import_mcp(
    server: Sequence[str] | str,
    *,
    namespace: str = "",
    env: Mapping[str, str] | None = None,
    price: PriceModel | Mapping[str, PriceModel] | None = None,
    cache: Lifetime | Mapping[str, Lifetime] = False,
    timeout: float = 60.0,
    connect_timeout: float = 30.0,
) -> list[ToolSpec]:
    """Connect to an MCP server and return its tools.

    Args:
        server: A command with its arguments (stdio), or a URL (streamable HTTP).
        namespace: Prefix of the tools' names.
        env: Environment variables for a command, beside the SDK's safe defaults.
        price: One price for all tools, or prices by the server's tool names; others are unpriced.
        cache: How long results may be used again (`"10m"`): of every tool that only reads, or by the server's names.
        timeout: Seconds per call.
        connect_timeout: Seconds to start the server and list its tools.

    Raises:
        ToolUnavailable: The SDK is not installed, or the server cannot be reached.
        ToolDefinitionError: A price is no price model, or results would live longer than their tool allows.
    """
    for name, one in price.items() if isinstance(price, Mapping) else [(namespace or "mcp", price)]:
        if one is not None:
            check_price(name, one)
    connection = _Connection(namespace or "mcp", server, dict(env or {}), connect_timeout)
    try:
        listed = await connection.tools()
    except BaseException:
        await connection.close()
        raise
    prices = price if isinstance(price, Mapping) else {tool.name: price for tool in listed if price is not None}
    specs = []
    for tool in listed:
        try:
            signature = _signature(tool, namespace)
        except (ValueError, TypeError) as error:
            _log.warning("MCP tool %r is left out: %s", tool.name, error)
            continue
        backend = _McpBackend(connection, tool.name, Contract(signature), _unwrap(tool))
        limits = ToolLimits(timeout_s=timeout)
        spec = ToolSpec(signature, backend, prices.get(tool.name, Unpriced()), limits)
        specs.append(replace(spec, cache_ttl_s=_lifetime(tool.name, signature.effects, cache)))
    return specs


def _lifetime(name: str, effects: Effect, cache: Lifetime | Mapping[str, Lifetime]) -> float | None:
    if isinstance(cache, Mapping):
        return told_lifetime(name, cache.get(name, False))
    return None if effects == "write" else told_lifetime(name, cache)


def _signature(tool: Any, namespace: str) -> ToolSig:
    name = full_name(tool.name.replace("-", "_"), namespace)
    read_only = tool.annotations is not None and tool.annotations.read_only_hint
    effects: Effect = "read" if read_only else "write"
    words = " ".join((tool.description or "").partition("\n\n")[0].split())
    return ToolSig(name, params_of(tool.input_schema), _returns(tool), effects, words)


def _unwrap(tool: Any) -> bool:
    """True if the structured result wraps the value in an object with the one field `result`, as SDKs do."""
    schema = tool.output_schema or {}
    return list(schema.get("properties") or ()) == ["result"]


def _returns(tool: Any) -> Type:
    if tool.output_schema is None:
        return Type("text")
    return type_of(tool.output_schema["properties"]["result"]) if _unwrap(tool) else type_of(tool.output_schema)


class _Connection:
    """One session with one server, kept by a task of its own and opened again when the event loop is another."""

    def __init__(self, name: str, server: Sequence[str] | str, env: dict[str, str], connect_timeout: float) -> None:
        self._name, self._server, self._env, self._connect_timeout = name, server, env, connect_timeout
        self._task: asyncio.Task[None] | None = None
        self._client: asyncio.Future[Client] | None = None
        self._stop = asyncio.Event()

    async def tools(self) -> list[Any]:
        client, found, cursor = await self.client(), [], None
        while True:
            page = await client.list_tools(cursor=cursor)
            found += page.tools
            cursor = page.next_cursor
            if not cursor:
                return found

    async def client(self) -> "Client":
        loop = asyncio.get_running_loop()
        if self._task is None or self._task.done() or self._task.get_loop() is not loop:
            self._client, self._stop = loop.create_future(), asyncio.Event()
            self._task = loop.create_task(self._hold(self._client, self._stop), name=f"catp-mcp-{self._name}")
        assert self._client is not None
        try:
            async with asyncio.timeout(self._connect_timeout):
                return await asyncio.shield(self._client)
        except TimeoutError:
            message = f"the MCP server did not answer within {self._connect_timeout:g} s"
            raise ToolUnavailable(self._name, message) from None

    async def _hold(self, ready: "asyncio.Future[Client]", stop: asyncio.Event) -> None:
        try:
            from mcp import Client, StdioServerParameters

            target: Any = self._server
            if not isinstance(self._server, str):
                command, *args = self._server
                target = StdioServerParameters(command=command, args=args, env=self._env or None)
            async with Client(target) as client:
                ready.set_result(client)
                await stop.wait()
        except ImportError:
            ready.set_exception(ToolUnavailable(self._name, "needs the MCP SDK: pip install 'catp[mcp]'"))
        except Exception as error:
            if ready.done():
                _log.warning("the connection to MCP server %s ended: %s", self._name, error)
            else:
                message = f"the MCP server cannot be reached: {_first(error)}"
                ready.set_exception(ToolUnavailable(self._name, message))

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None and task.get_loop() is asyncio.get_running_loop():
            assert self._client is not None
            self._stop.set()
            if self._client.done():
                self._client.exception()  # seen: nobody else waits for it
                await asyncio.wait({task}, timeout=5)
            task.cancel()
            await asyncio.wait({task})


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class _McpBackend:
    def __init__(self, connection: _Connection, remote: str, contract: Contract, unwrap: bool) -> None:
        self._connection, self._remote, self._contract, self._unwrap = connection, remote, contract, unwrap

    async def call(self, args: Mapping[str, Any], *, timeout: float) -> BackendResult:
        self._contract.check_args(args)
        name = self._contract.signature.name
        started = time.perf_counter()

        def used() -> Usage:
            return Usage(wall_ms=(time.perf_counter() - started) * 1e3)

        try:
            async with asyncio.timeout(timeout):
                client = await self._connection.client()
                given = {key: value for key, value in args.items() if value is not None}
                result = await client.call_tool(self._remote, given)
        except TimeoutError:
            raise ToolTimeout(name, f"stopped after {timeout:g} s", usage=used(), billing="unknown") from None
        except ToolUnavailable as error:
            raise ToolUnavailable(name, error.message, usage=used(), billing="nothing") from error
        except Exception as error:
            raise ToolFailed(
                name, str(_first(error)), usage=used(), error_type=type(error).__name__, billing="unknown"
            ) from error
        usage = used()
        if result.is_error:
            message = _text(result.content) or "the server reported an error without a message"
            raise ToolFailed(name, message, usage=usage, error_type="MCPToolError", billing="unknown")
        value = self._value(result, usage)
        usage = replace(usage, bytes_out=len(value) if isinstance(value, str) else 0)
        return BackendResult(self._contract.check_result(value, usage), usage)

    def _value(self, result: Any, usage: Usage) -> Any:
        if self._contract.signature.returns.name == "text" and result.structured_content is None:
            return _text(result.content)
        if result.structured_content is None:
            raise WrongResult(self._contract.signature.name, "the structured result is missing", usage=usage)
        return result.structured_content["result"] if self._unwrap else result.structured_content

    async def close(self) -> None:
        await self._connection.close()


def _text(content: Sequence[Any]) -> str:
    return "\n".join(block.text for block in content if block.type == "text")
