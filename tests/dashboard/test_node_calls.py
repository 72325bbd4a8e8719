"""A step that ran once per element: its page has the first calls and says of how many; the rest comes page by page."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from catp.agent import Agent
from catp.planlang.parser import parse
from catp.tools import PerCall, tool

Make = Callable[..., httpx.AsyncClient]
ELEMENTS = 230


@tool(price=PerCall("0.001"))
async def brittle(text: str) -> str:
    """Fails the first time for every tenth element."""
    if text.endswith("0") and text not in brittle_seen:
        brittle_seen.add(text)
        raise OSError("not yet")
    return text


brittle_seen: set[str] = set()
PLAN = parse("in t: list[text]\na = brittle(each t) @retry(2, backoff=0s)\nout a\n")


@pytest.fixture
async def run(path: Path) -> str:
    brittle_seen.clear()
    async with Agent([brittle], store=path) as agent:
        result = await agent.run(PLAN, {"t": [f"{n:04d}" for n in range(ELEMENTS)]})
    return str(result.run_id)


async def get(client: httpx.AsyncClient, path: str, **query: Any) -> Any:
    answer = await client.get(f"/api/v1{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def every(client: httpx.AsyncClient, path: str, limit: int) -> list[Any]:
    """All pages of a list, each of them full but the last."""
    page = await get(client, path, limit=limit)
    found = page["items"]
    while page["next"] is not None:
        assert len(page["items"]) == limit
        page = await get(client, path, limit=limit, cursor=page["next"])
        found += page["items"]
    return list(found)


async def test_pages_hold_every_call_and_every_row_once(path: Path, run: str, client_of: Make) -> None:
    client = client_of(path)
    node = f"/runs/{run}/nodes/a"
    shown = await get(client, node)
    tries = ELEMENTS + ELEMENTS // 10
    assert (shown["calls"], len(shown["attempts"])) == (tries, 200)
    assert (shown["rows"], len(shown["ledger"])) == (tries, 200)
    for limit in (1_000, tries, 64):
        calls = await every(client, f"{node}/calls", limit)
        assert [(one["element"], one["attempt"]) for one in calls] == sorted(
            (n, attempt) for n in range(ELEMENTS) for attempt in ((1, 2) if n % 10 == 0 else (1,))
        ), limit
        rows = await every(client, f"{node}/ledger", limit)
        assert len({row["seq"] for row in rows}) == tries
    assert calls[:200] == shown["attempts"]
    assert rows[:200] == shown["ledger"]
    assert [one["error"]["type"] for one in calls if one["error"]] == ["OSError"] * (ELEMENTS // 10)
    # the sums are of all rows, not of those that are shown
    assert Decimal(shown["total"]) == sum(Decimal(row["amount"]) for row in rows)
    for attempt, told in shown["sums"].items():
        assert Decimal(told["total"]) == sum(Decimal(row["amount"]) for row in rows if row["attempt"] == int(attempt))


async def test_what_is_no_page_is_said(path: Path, run: str, client_of: Make) -> None:
    client = client_of(path)
    node = f"/api/v1/runs/{run}/nodes/a"
    for bad in ("calls?cursor=x", "calls?cursor=", "calls?cursor=1", "calls?limit=0", "ledger?cursor=-1"):
        answer = await client.get(f"{node}/{bad}")
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:catp:problem:query"), bad
    assert (await client.get(f"/api/v1/runs/{run}/nodes/nothing/calls")).status_code == 404
    assert (await get(client, f"/runs/{run}/nodes/a/calls", cursor="229.1"))["items"] == []
