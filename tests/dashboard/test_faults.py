"""What goes wrong around a dashboard: damaged files, clocks, clients that never read, dying processes, full disks."""

import asyncio
import json
import socket
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from catp.agent import Agent
from catp.dashboard.app import create_app
from catp.planlang.money import usd
from catp.store.ownership import myself
from catp.store.store import RunStore
from tests.dashboard.driving import linger, quick
from tests.dashboard.test_access import asking
from tests.dashboard.test_decisions import driving
from tests.store.recording import NANO, created, new_run
from tests.store.test_store_faults import small_disk

__all__ = ["small_disk"]

Make = Callable[..., httpx.AsyncClient]


# --- files ----------------------------------------------------------------------------------------------------------


async def test_a_changed_artefact_is_not_handed_out(filled: Path, client_of: Make) -> None:
    client = client_of(filled)
    run = (await client.get("/api/v1/runs")).json()["items"][0]["id"]
    url = f"/api/v1/runs/{run}/nodes/a/io"
    (out,) = (await client.get(url)).json()["out"]
    assert (await client.get(f"/api/v1/artifacts/{out['artifact']}")).status_code == 200
    (file,) = (filled.parent / "artifacts").rglob(out["artifact"])
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    answer = await client.get(f"/api/v1/artifacts/{out['artifact']}")
    assert (answer.status_code, answer.headers["content-type"]) == (502, "application/problem+json")
    assert out["artifact"] in answer.json()["detail"]
    (again,) = (await client.get(url)).json()["out"]  # the page still says what is there, and why it shows nothing
    assert (again["text"], again["artifact"]) == (None, out["artifact"])
    assert again["error"]
    file.unlink()
    assert (await client.get(f"/api/v1/artifacts/{out['artifact']}")).status_code == 404
    assert (await client.get(f"/api/v1/runs/{run}")).status_code == 200


# --- clocks ---------------------------------------------------------------------------------------------------------


def times_in(found: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Every time in milliseconds of an answer."""
    if isinstance(found, dict):
        for key, value in found.items():
            yield from times_in(value, key)
    elif isinstance(found, list):
        for value in found:
            yield from times_in(value, name)
    elif isinstance(found, int | float) and not isinstance(found, bool) and name.endswith(("ms", "_s")):
        yield name, found


DAY = 86_400 * NANO
SKEWED = {
    "from the future": f"UPDATE runs SET created_ns = created_ns + {DAY}",
    "steps from the future": f"UPDATE steps SET ready_ns = ready_ns + {DAY}, started_ns = started_ns + {DAY}",
    "ended before it began": f"UPDATE runs SET ended_ns = created_ns - {DAY}",
    "calls that ended before they began": f"UPDATE calls SET ended_ns = started_ns - {DAY}",
    "events that go back": f"UPDATE events SET ts_ns = ts_ns - run_seq * {DAY}",
}


@pytest.mark.parametrize("change", SKEWED.values(), ids=SKEWED)
async def test_a_wrong_clock_breaks_no_page(filled: Path, client_of: Make, change: str) -> None:
    raw = sqlite3.connect(filled)
    raw.execute(change)
    latest = "WHERE run_id = (SELECT max(id) FROM runs)"  # goes on
    raw.execute(f"UPDATE runs SET status = 'running', owner = ? {latest.replace('run_id', 'id')}", (myself(),))
    raw.execute(f"UPDATE steps SET status = 'running', ended_ns = NULL {latest} AND step = 'b'")
    raw.commit()
    raw.close()
    client = client_of(filled)
    runs = [row["id"] for row in (await client.get("/api/v1/runs")).json()["items"]]
    assert len(runs) == 3
    paths = ["/runs", "/runs/facets", "/overview", "/tools", "/spend", "/pareto"]
    paths += [f"/runs/{run}" for run in runs] + [f"/runs/{runs[0]}/nodes/a", f"/runs/{runs[0]}/events"]
    for path in paths:
        answer = await client.get(f"/api/v1{path}")
        assert answer.status_code == 200, (path, answer.text)
        wrong = [(name, value) for name, value in times_in(answer.json()) if value < 0]
        assert wrong == [], (path, wrong)
    found = (await client.get(f"/api/v1/runs/{runs[0]}")).json()
    forecast = found["forecast"]
    assert forecast["p50"] is None or usd(forecast["p50"]) <= usd(forecast["p90"])


# --- clients --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def served(path: Path, **options: Any) -> AsyncIterator[tuple[Any, int]]:
    """The application behind a real socket."""
    import uvicorn

    app = create_app(path, poll_s=0.02, **options)
    sock = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    serving = asyncio.create_task(server.serve([sock]))
    while not server.started:  # noqa: ASYNC110  # uvicorn has no event to wait for
        await asyncio.sleep(0.01)
    try:
        yield app, sock.getsockname()[1]
    finally:
        app.state.feed.hang_up()
        server.should_exit = True
        await serving


async def test_a_client_that_never_reads_costs_a_bounded_queue_and_nobody_else(path: Path) -> None:
    store, run, room = RunStore(path), new_run(), 1_000
    journal = store.begin(run)
    journal.event(created(run))
    await journal.durable()
    events, size = 4_000, 4_000
    asked = f"GET /api/v1/events?topics=run:{run.run_id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    async with served(path, queue=room) as (app, port):
        silent = socket.create_connection(("127.0.0.1", port))
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        silent.sendall(asked)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(asked)
        while app.state.feed.listeners < 2:  # noqa: ASYNC110  # nor has the feed
            await asyncio.sleep(0.01)
        most = last = 0

        async def write() -> None:
            for number in range(2, events + 2):
                journal.event(created(run)._replace(seq=number, type="node.ready", data={"text": "x" * size}))
                while number % 20 == 0 or number - last > room // 2:  # whoever reads is not left behind
                    await asyncio.sleep(0.01)
                    if number - last <= room // 2:
                        break

        async def read() -> int:
            nonlocal most, last
            while last < events + 1:
                line = await asyncio.wait_for(reader.readline(), 60)
                assert b"resync" not in line
                if line.startswith(b'data: {"run"'):
                    seq = json.loads(line[6:])["seq"]
                    assert seq == last + 1 or last == 0
                    last = seq
                    most = max(most, *(len(one.queue) for one in app.state.feed._listeners))
            return last

        assert (await asyncio.gather(write(), read()))[1] == events + 1
        assert most <= room
        assert [one.lost for one in app.state.feed._listeners].count(True) == 1
        assert all(not one.queue for one in app.state.feed._listeners if one.lost)
        writer.close()
        silent.close()
    await journal.close()
    store.close()


# --- processes ------------------------------------------------------------------------------------------------------


async def test_the_process_of_a_run_dies_and_the_server_starts_again(path: Path, client_of: Make) -> None:
    def states(found: dict[str, Any]) -> tuple[str, dict[str, str]]:
        return found["status"], {node["id"]: node["status"] for node in found["nodes"]}

    with driving(path, 300) as (run, process):
        before = client_of(path)
        page = await before.get(f"/api/v1/runs/{run}")
        assert states(page.json()) == ("running", {"a": "ok", "b": "running"})
        process.kill()
        process.wait()
    again = client_of(path, agent_for=lambda store: Agent([quick, linger], store=store, planner="search"))
    for client in (before, again):
        found = (await client.get(f"/api/v1/runs/{run}")).json()
        assert states(found) == ("interrupted", {"a": "ok", "b": "lost"})
        assert found["ledger"]["total"] == "0.001"  # what b cost is not known yet
        assert [row["status"] for row in (await client.get("/api/v1/runs?status=interrupted")).json()["items"]]
        assert (await client.get("/api/v1/runs?status=running")).json()["items"] == []
    assert {one["kind"] for one in (await again.get("/api/v1/overview")).json()["needs_you"]} == {"interrupted"}
    ended = await again.post(f"/api/v1/runs/{run}/cancel", json={"reason": "enough"})
    assert (ended.status_code, ended.json()["status"]) == (202, "cancelled")
    found = (await again.get(f"/api/v1/runs/{run}")).json()
    assert states(found)[0] == "cancelled"
    assert usd(found["ledger"]["total"]) == usd("0.003")  # the lost call may have been charged


# --- disks ----------------------------------------------------------------------------------------------------------


async def test_on_a_full_disk_changes_are_refused_and_what_is_there_is_kept(small_disk: Path, client_of: Make) -> None:
    path = small_disk / "runs.db"
    run = await asking(path)
    client = client_of(path, busy_s=0.2)
    before = (await client.get(f"/api/v1/runs/{run}")).json()
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):  # until nothing is left
        while True:
            file.write(b"x" * 4096)
    for action, body in (
        ("approve", {"node": "b"}), ("score", {"value": 0.5}), ("cancel", {"reason": "no"}),
    ):  # fmt: skip
        for _ in range(3):
            answer = await client.post(f"/api/v1/runs/{run}/{action}", json=body)
            if answer.status_code == 503:
                break
        assert answer.status_code == 503, (action, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        assert "full" in answer.json()["detail"] or "No space" in answer.json()["detail"]
    assert (await client.get(f"/api/v1/runs/{run}")).json()["nodes"] == before["nodes"]
    filler.unlink()
    assert (await client.post(f"/api/v1/runs/{run}/approve", json={"node": "b"})).status_code == 202


async def test_a_store_that_cannot_be_written_is_named_and_still_shown(
    filled: Path, client_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(filled, busy_s=0.2)
    run = (await client.get("/api/v1/runs")).json()["items"][0]["id"]
    connect = sqlite3.connect

    def read_only(name: Any, *args: Any, **options: Any) -> Any:
        if str(name) == str(filled):  # the tests run as root, whom no file mode stops
            return connect(f"file:{filled}?mode=ro", *args, uri=True, **options)
        return connect(name, *args, **options)

    monkeypatch.setattr(sqlite3, "connect", read_only)
    answer = await client.post(f"/api/v1/runs/{run}/score", json={"value": 0.5})
    assert answer.status_code == 503
    assert "readonly" in answer.json()["detail"]
    assert str(filled) in answer.json()["detail"]
    assert (await client.get(f"/api/v1/runs/{run}")).json()["quality"] is None
    monkeypatch.undo()
