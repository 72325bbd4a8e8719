"""A store filled by real runs of fake tools, the application over it, and a client that speaks ASGI to it."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from catp.agent import Agent
from catp.dashboard.app import create_app
from catp.planlang.parser import parse
from catp.runtime.ids import new_run_id
from catp.store.store import RunStore
from catp.tools import PerCall, tool
from tests.store.recording import CATALOGUE, drive, plan_of

HOSTILE = "<script>alert(1)</script>\r\nevent: fake\ndata: {}\n\n" + "x" * 50_000


@tool(price=PerCall("0.001"))
async def hostile(text: str) -> str:
    return HOSTILE


@tool(price=PerCall("0.002"))
async def short(text: str) -> str:
    return "<img src=x onerror=alert(1)>"


@tool(price=PerCall("0.001"), effects="write")
async def pay(text: str) -> str:
    return "paid"


PLAN = parse("in t: text\na = hostile(t)\nb = short(a)\nout b\n")
ASKS = parse("in t: text\na = short(t)\nb = pay(a) @approve\nout b\n")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
async def filled(path: Path) -> Path:
    """Three runs: a mixed one that fails in part, and two of an agent, with values."""
    store = RunStore(path)
    run_id = new_run_id()
    journal = store.begin(plan_of(run_id))
    await drive(journal, run_id)
    await journal.close()
    store.close()
    async with Agent([hostile, short], store=path, budget="1", name="bot", project="p") as bot:
        for _ in range(2):
            await bot.run(PLAN, {"t": "hello"})
    return path


Client = httpx.AsyncClient


@pytest.fixture
async def client_of() -> AsyncIterator[Callable[..., Client]]:
    opened: list[tuple[Client, Any]] = []

    def make(path: Path, *, address: str = "127.0.0.1", base: str = "http://localhost", **options: Any) -> Client:
        app = create_app(path, **options)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(address, 1))
        client = httpx.AsyncClient(transport=transport, base_url=base)
        opened.append((client, app))
        return client

    yield make
    for client, app in opened:
        await client.aclose()
        await app.state.jobs.close()
        await app.state.feed.close()
        await app.state.engine.close()
        app.state.store.close()


__all__ = ["ASKS", "CATALOGUE", "HOSTILE", "PLAN", "hostile", "pay", "short"]
