"""MCP in both directions, with real server processes speaking through the official SDK."""

import asyncio
import os
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from catp.planlang.registry_view import ToolSig
from catp.tools import Catalogue, PerCall, ToolFailed, ToolTimeout, ToolUnavailable, Unpriced, import_mcp

pytest.importorskip("mcp")

SERVER = """
    import asyncio, os
    from mcp.server import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
    from mcp.types import ToolAnnotations
    from pydantic import BaseModel

    app = MCPServer("test")

    class Point(BaseModel):
        x: int
        y: int

    @app.tool(annotations=ToolAnnotations(read_only_hint=True))
    def add(left: int, right: int = 2) -> int:
        "Add two numbers."
        return left + right

    @app.tool()
    def point(x: int) -> Point:
        return Point(x=x, y=2)

    @app.tool(structured_output=False)
    def say(text: str, mood: str | None = None) -> str:
        return f"{text}!"

    @app.tool(name="save-note")
    def save(text: str) -> str:
        raise ToolError("disk is full")

    @app.tool()
    async def hang(text: str) -> str:
        await asyncio.sleep(600)
        return text

    @app.tool()
    def pid() -> int:
        return os.getpid()

    app.run("stdio")
"""

EXPORT = """
    import asyncio
    from dataclasses import dataclass
    from PIL import Image
    from catp.tools import Catalogue, PerCall, tool
    from catp.tools.adapters.mcp_server import serve

    @dataclass(frozen=True)
    class Reading:
        text: str
        confidence: float

    @tool(price=PerCall("0.01"))
    def read(image: Image.Image, lang: str = "eng") -> Reading:
        "Read a page."
        return Reading(f"{image.width}x{image.height} {lang}", 0.5)

    @tool(placement="thread", effects="write")
    def broken(text: str) -> str:
        raise RuntimeError("on purpose")

    @tool(placement="thread")
    def invert(image: Image.Image) -> Image.Image:
        return image

    @tool(placement="thread", unavailable=lambda: "not here")
    def missing(text: str) -> str:
        return text

    if __name__ == "__main__":
        asyncio.run(serve(Catalogue([read, broken, invert, missing])))
"""


async def gone(pid: int) -> bool:
    for _ in range(1000):
        if not os.access(f"/proc/{pid}", os.F_OK):
            return True
        await asyncio.sleep(0.01)
    return False


@pytest.fixture
def server(tmp_path: Path) -> list[str]:
    path = tmp_path / "server.py"
    path.write_text(textwrap.dedent(SERVER))
    return [sys.executable, str(path)]


@pytest.fixture
async def catalogue(server: list[str]) -> AsyncIterator[Catalogue]:
    made = Catalogue(await import_mcp(server, namespace="demo", price={"add": PerCall("0.001")}))
    yield made
    await made.close()


async def call(catalogue: Catalogue, name: str, timeout: float = 30, **args: Any) -> Any:
    return (await catalogue.get(name).backend.call(args, timeout=timeout)).value


async def test_schemas_become_signatures_hints_effects_and_prices_are_the_callers(catalogue: Catalogue) -> None:
    def signature(name: str) -> ToolSig:
        return catalogue.get(name).signature

    assert str(signature("demo.add")) == "demo.add(left: int, right: int = ...) -> int"
    assert signature("demo.add").description == "Add two numbers."
    assert signature("demo.add").effects == "read"
    assert signature("demo.save_note").effects == "write"
    assert str(signature("demo.point").returns) == "json"
    assert str(signature("demo.say")) == "demo.say(text: text, mood: text? = ...) -> text"
    assert isinstance(catalogue.get("demo.add").price, PerCall)
    assert isinstance(catalogue.get("demo.point").price, Unpriced)


async def test_tools_of_a_server_are_called_like_any_other(catalogue: Catalogue) -> None:
    assert await call(catalogue, "demo.add", left=1) == 3
    assert await call(catalogue, "demo.point", x=1) == {"x": 1, "y": 2}
    assert await call(catalogue, "demo.say", text="hi", mood=None) == "hi!"
    assert await asyncio.gather(*(call(catalogue, "demo.add", left=n) for n in range(5))) == [2, 3, 4, 5, 6]


async def test_failures_and_hangs_of_a_server_are_tool_errors(catalogue: Catalogue) -> None:
    with pytest.raises(ToolFailed, match="disk is full"):
        await call(catalogue, "demo.save_note", text="x")
    with pytest.raises(ToolTimeout, match=r"stopped after 0.3 s"):
        await call(catalogue, "demo.hang", timeout=0.3, text="x")
    with pytest.raises(ToolFailed, match="argument 'left' is str"):
        await call(catalogue, "demo.add", left="1")
    assert await call(catalogue, "demo.add", left=1) == 3


async def test_closing_ends_the_server_process_and_a_later_call_starts_another(catalogue: Catalogue) -> None:
    pid = await call(catalogue, "demo.pid")
    await catalogue.close()
    assert await gone(pid)
    assert await call(catalogue, "demo.pid") != pid


def test_a_connection_is_opened_again_in_another_event_loop(server: list[str]) -> None:
    async def first() -> Catalogue:
        catalogue = Catalogue(await import_mcp(server, namespace="demo"))
        await catalogue.close()
        return catalogue

    async def second(catalogue: Catalogue) -> Any:
        try:
            return await call(catalogue, "demo.add", left=5)
        finally:
            await catalogue.close()

    assert asyncio.run(second(asyncio.run(first()))) == 7


@pytest.mark.parametrize("command", [["no-such-command-here"], [sys.executable, "-c", "raise SystemExit(1)"]])
async def test_a_server_that_cannot_be_reached_is_unavailable(command: list[str]) -> None:
    with pytest.raises(ToolUnavailable, match="MCP server"):
        await import_mcp(command, connect_timeout=20)


async def test_a_server_that_never_answers_is_given_up() -> None:
    with pytest.raises(ToolUnavailable, match=r"did not answer within 0.5 s"):
        await import_mcp([sys.executable, "-c", "import time; time.sleep(600)"], connect_timeout=0.5)


async def test_a_catalogue_is_served_to_any_client(tmp_path: Path) -> None:
    import base64
    import io

    from mcp import Client, MCPError, StdioServerParameters
    from PIL import Image

    (tmp_path / "export.py").write_text(textwrap.dedent(EXPORT))
    buffer = io.BytesIO()
    Image.new("RGB", (8, 5)).save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    (tmp_path / "page.png").write_bytes(buffer.getvalue())
    async with Client(StdioServerParameters(command=sys.executable, args=[str(tmp_path / "export.py")])) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"read", "broken", "invert"}
        assert tools["read"].description == "Read a page. Price: $0.01 a call."
        assert tools["read"].input_schema["required"] == ["image"]
        assert tools["broken"].annotations is not None
        assert tools["broken"].annotations.destructive_hint
        for image in (data, f"data:image/png;base64,{data}", str(tmp_path / "page.png")):
            result = await client.call_tool("read", {"image": image, "lang": "deu"})
            assert result.structured_content == {"result": {"text": "8x5 deu", "confidence": 0.5}}
        assert result.meta is not None
        assert result.meta["catp/price_usd"] == "0.01"
        assert result.meta["catp/usage"]["peak_mb"] > 0
        (block,) = (await client.call_tool("invert", {"image": data})).content
        assert block.type == "image"
        for name, args, reason in (
            ("broken", {"text": "x"}, "RuntimeError: on purpose"),
            ("read", {"image": "no image"}, "neither base64 data nor the path"),
            ("read", {"image": data, "lang": 3}, "expected text"),
        ):
            failed = await client.call_tool(name, args)
            assert failed.is_error
            assert reason in str(failed.content)
        with pytest.raises(MCPError, match="unknown tool 'reed'; did you mean `read`"):
            await client.call_tool("reed", {})


async def test_results_of_tools_that_only_read_are_kept_if_the_caller_says_so(server: list[str]) -> None:
    catalogue = Catalogue(await import_mcp(server, namespace="demo", cache="10m"))
    lives = {str(spec.name): (spec.signature.effects, spec.cache_ttl_s) for spec in catalogue}
    await catalogue.close()
    assert {life for effects, life in lives.values() if effects == "read"} == {600.0}
    assert {life for effects, life in lives.values() if effects == "write"} == {None}
