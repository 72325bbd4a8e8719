"""The stream of events: nothing missed, nothing twice, over reconnects, restarts and listeners that never read."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from catp.dashboard.app import create_app
from catp.dashboard.feed import Topics
from catp.store.store import RunStore
from tests.store.recording import call_events, created, finished, new_run


class Stream:
    """One GET of /events, driven as a server would drive it."""

    def __init__(self, app: Any, topics: str, last: int | None = None, *, reads: bool = True) -> None:
        headers = [(b"host", b"localhost"), (b"accept-encoding", b"gzip, deflate, br")]  # as browsers ask
        headers += [] if last is None else [(b"last-event-id", str(last).encode())]
        self.scope = {
            "type": "http", "method": "GET", "path": "/api/v1/events", "raw_path": b"/api/v1/events", "scheme": "http",
            "query_string": f"topics={topics}".encode(), "headers": headers, "client": ("127.0.0.1", 1),
            "server": ("localhost", 80), "http_version": "1.1", "asgi": {"version": "3.0", "spec_version": "2.3"},
        }  # fmt: skip
        self.got: asyncio.Queue[tuple[int, str, Any]] = asyncio.Queue()
        self.reads, self.gone, self.asked = reads, asyncio.Event(), False
        self.task = asyncio.create_task(app(self.scope, self.receive, self.send))

    async def receive(self) -> Any:
        if not self.asked:
            self.asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":  # what is squeezed would come late
            assert b"content-encoding" not in dict(message["headers"])
        if not self.reads and message["type"] == "http.response.body":
            await asyncio.Event().wait()
        for block in message.get("body", b"").decode().split("\n\n"):
            lines = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
            if "event" in lines:
                self.got.put_nowait((int(lines["id"]), lines["event"], json.loads(lines["data"])))

    async def next(self) -> tuple[int, str, Any]:
        return await asyncio.wait_for(self.got.get(), 60)

    async def close(self) -> None:
        self.gone.set()
        await asyncio.wait_for(self.task, 60)


@asynccontextmanager
async def serving(path: Path, **options: Any) -> AsyncIterator[Any]:
    app = create_app(path, poll_s=0.02, **options)
    yield app
    await app.state.feed.close()
    app.state.store.close()


async def write(path: Path, n: int = 5) -> tuple[str, int]:
    """A whole run by another writer than the server; its id and its number of events."""

    def run() -> tuple[str, int]:
        store = RunStore(path)
        made = new_run()
        events = [created(made)]
        for place in range(n):
            events += call_events(made.run_id, len(events) + 1, [1], step=f"s{place}", first_row=place + 1)
        events.append(finished(made.run_id, len(events) + 1))
        journal = store.begin(made)
        for event in events:
            journal.event(event)
        store.close()
        return made.run_id, len(events)

    return await asyncio.to_thread(run)


async def test_every_event_once_over_reconnect_and_restart(path: Path) -> None:
    await write(path)
    seen: list[int] = []
    async with serving(path) as app:
        stream = Stream(app, "runs")
        mark, event, _ = await stream.next()
        assert event == "hello"
        run, n = await write(path)
        assert (await stream.next())[1] == "run.created"
        assert (await stream.next())[1] == "run.finished"
        await stream.close()
        stream = Stream(app, f"run:{run}", mark)  # reconnect in the middle
        await stream.next()
        seen += [(await stream.next())[0] for _ in range(9)]
        await stream.close()
    async with serving(path) as app:  # the server restarts
        stream = Stream(app, f"run:{run}", seen[-1])
        assert (await stream.next())[:2] == (seen[-1], "hello")
        seen += [(await stream.next())[0] for _ in range(n - 9)]
        await write(path)
        await asyncio.sleep(0.2)
        assert stream.got.empty()  # another run is another topic
        await stream.close()
    assert seen == list(range(mark + 1, mark + n + 1))


async def test_many_listeners_cost_one_read_and_a_silent_one_only_itself(path: Path) -> None:
    await write(path)
    async with serving(path, queue=15) as app:
        silent = Stream(app, "runs", reads=False)
        streams = [Stream(app, "runs") for _ in range(10)]
        for stream in streams:
            assert (await stream.next())[1] == "hello"
        before = app.state.feed.reads
        heard: list[list[int]] = [[] for _ in streams]
        for _ in range(10):
            await write(path, 1)
            for ids, stream in zip(heard, streams, strict=True):
                ids += [(await stream.next())[0] for _ in range(2)]
        for ids in heard:
            assert ids == sorted(set(ids))
        assert app.state.feed.reads - before < 10 * len(streams)  # by writes, not by listeners
        queues = [listener for listener in app.state.feed._listeners if listener.lost]
        assert len(queues) == 1
        assert not queues[0].queue
        for stream in [*streams, silent]:
            await stream.close()
        assert app.state.feed.listeners == 0


async def test_who_was_too_slow_is_told_to_start_anew(path: Path) -> None:
    _, newest = await write(path)
    async with serving(path, queue=3) as app:
        messages = app.state.feed.listen(Topics.parse("runs"))
        assert (await anext(messages)).event == "hello"
        for _ in range(3):
            newest += (await write(path, 1))[1]
        for _ in range(6_000):
            if app.state.feed._last >= newest:
                break
            await asyncio.sleep(0.01)
        lost = await anext(messages)
        assert (lost.event, lost.id) == ("resync", newest)
        run, _ = await write(path, 1)
        after = await anext(messages)
        assert (after.event, after.run) == ("run.created", run)
        assert after.id == lost.id + 1
        await messages.aclose()


async def test_an_id_of_another_store_is_a_resync(path: Path) -> None:
    await write(path)
    async with serving(path) as app:
        stream = Stream(app, "runs", 10**9)
        assert (await stream.next())[1] == "resync"
        await stream.close()


@pytest.mark.parametrize("text", ["", "engines", "run:short", ",".join(["runs"] * 51)])
def test_topics_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="topics="):
        Topics.parse(text)
