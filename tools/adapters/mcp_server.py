"""A catalogue as an MCP server over standard input and output (official SDK, `pip install 'catp[mcp]'`).

    asyncio.run(serve(catalogue))

Images and files travel as base64 or as paths of local files. Every result carries what the call used and cost in its
`_meta`, under `catp/usage` and `catp/price_usd`.
"""

import base64
import dataclasses
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catp.planlang.money import format_usd
from catp.planlang.types import Type, TypeTable
from catp.tools.adapters.schema import input_schema, result_schema
from catp.tools.annotations import convert_value
from catp.tools.catalogue import Catalogue
from catp.tools.errors import PriceModelError, ToolError
from catp.tools.price import total
from catp.tools.spec import ToolSpec
from catp.tools.usage import Usage

if TYPE_CHECKING:
    from mcp.server import Server
    from mcp.types import CallToolResult, Tool

__all__ = ["build_server", "serve"]


async def serve(catalogue: Catalogue, *, name: str = "catp") -> None:
    """Serve the tools that can run here until standard input closes."""
    from mcp.server.stdio import stdio_server

    server = build_server(catalogue, name=name)
    try:
        async with stdio_server() as (read, write):
            await server.run(read, write, server.create_initialization_options())
    finally:
        await catalogue.close()


def build_server(catalogue: Catalogue, *, name: str = "catp") -> "Server[Any]":
    """Return the SDK's server object for a catalogue, to be run over any transport."""
    from mcp import MCPError
    from mcp.server import Server
    from mcp.types import INVALID_PARAMS, CallToolRequestParams, ListToolsResult

    offered = catalogue.available()
    types = offered.view().types

    async def list_tools(_context: Any, _params: Any) -> ListToolsResult:
        return ListToolsResult(tools=[_described(spec, types) for spec in offered])

    async def call_tool(_context: Any, params: CallToolRequestParams) -> "CallToolResult":
        try:
            spec = offered.get(params.name)
        except KeyError as error:
            raise MCPError(INVALID_PARAMS, str(error.args[0])) from None
        return await _call(spec, params.arguments or {}, types)

    return Server(name, on_list_tools=list_tools, on_call_tool=call_tool)


def _described(spec: ToolSpec, types: TypeTable) -> "Tool":
    from mcp.types import Tool, ToolAnnotations

    hints = ToolAnnotations(
        read_only_hint=spec.signature.effects != "write",
        destructive_hint=spec.signature.effects == "write",
        open_world_hint=spec.signature.effects != "pure",
    )
    description = f"{spec.signature.description} Price: {spec.price.describe()}.".strip()
    structured = None if _is_image(spec.signature.returns) else result_schema(spec.signature, types)
    return Tool(
        name=spec.name, description=description, input_schema=input_schema(spec.signature, types),
        output_schema=structured, annotations=hints,
    )  # fmt: skip


async def _call(spec: ToolSpec, arguments: Mapping[str, Any], types: TypeTable) -> "CallToolResult":
    from mcp.types import CallToolResult, ImageContent, TextContent

    try:
        args = {key: _received(value, spec, key, types) for key, value in arguments.items()}
        result = await spec.backend.call(args, timeout=spec.limits.timeout_s)
    except ToolError as error:
        failure = TextContent(text=f"{error.error_type}: {error.message}")
        return CallToolResult(content=[failure], is_error=True, _meta=_meta(spec, error.usage))
    except (OSError, ValueError) as error:
        return CallToolResult(content=[TextContent(text=f"bad argument: {error}")], is_error=True)
    meta = _meta(spec, result.usage)
    if _is_image(spec.signature.returns):
        return CallToolResult(content=[ImageContent(data=_png(result.value), mime_type="image/png")], _meta=meta)
    value = _sent(result.value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return CallToolResult(content=[TextContent(text=text)], structured_content={"result": value}, _meta=meta)


def _meta(spec: ToolSpec, usage: Usage) -> dict[str, Any]:
    try:
        price = total(spec.price.charge(usage))
    except PriceModelError as error:
        return {"catp/usage": _sent(usage), "catp/price_error": str(error)}
    return {"catp/usage": _sent(usage), "catp/price_usd": None if price is None else format_usd(price)}


def _is_image(type_: Type) -> bool:
    return type_.name == "image"


def _received(value: Any, spec: ToolSpec, key: str, types: TypeTable) -> Any:
    """Turn a JSON argument into the value the tool takes."""
    param = spec.signature.param(key)
    if param is None or value is None:
        return value
    if param.type.name == "image":
        from PIL import Image

        image = Image.open(io.BytesIO(_bytes(value)))
        image.load()
        return image
    if param.type.name in ("file", "audio"):
        return _bytes(value)
    return convert_value(value, param.type, types)


def _bytes(value: Any) -> bytes:
    if not isinstance(value, str):
        raise ValueError("expected base64 data or the path of a local file")
    if len(value) < 4096 and Path(value).is_file():
        return Path(value).read_bytes()
    try:
        return base64.b64decode(value.partition(",")[2] if value.startswith("data:") else value, validate=True)
    except ValueError:
        raise ValueError(f"{value[:40]!r} is neither base64 data nor the path of a local file") from None


def _sent(value: Any) -> Any:
    """Turn a result into JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _sent(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _sent(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_sent(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Path):
        return str(value)
    return _png(value) if hasattr(value, "save") and hasattr(value, "mode") else value


def _png(image: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
