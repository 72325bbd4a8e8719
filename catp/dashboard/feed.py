"""Events as they are written, by whatever process: one read per change, handed to all listeners from memory.

    data_version moved ──> one read of events after the last one ──> queue of each listener (bounded)
    Last-Event-ID N    ──> events N+1 .. W from the store, page by page as they are taken, then the queue from W+1

The number of an event in the store is its id on the wire, so a listener that comes back, also to a restarted server,
misses nothing and gets nothing twice. A listener whose queue is full loses it and gets one `resync` instead: fetch
anew what you show; events after it follow without a gap. Nobody else notices.
"""

import asyncio
import json
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from sqlalchemy import Connection

from catp.dashboard.forms import iso
from catp.store.database import Database
from catp.store.database_sqlite import SqliteDatabase
from catp.store.errors import StoreError
from catp.store.statements import query

__all__ = ["ENGINE_SAMPLE", "Feed", "Message", "Topics"]

ENGINE_SAMPLE = "engine.sample"
"""The event of the topic `engine`."""

_log = logging.getLogger("catp.dashboard")

_PAGE = 1_000
_REPLAYED = 20_000


class Message(NamedTuple):
    """One message: `id` is the number of the event in the store, -1 for what is not from the store."""

    id: int
    event: str
    run: str | None
    data: str

    def encode(self) -> bytes:
        """Return it as the wire has it."""
        number = "" if self.id < 0 else f"id: {self.id}\n"
        return f"{number}event: {self.event}\ndata: {self.data}\n\n".encode()


@dataclass(frozen=True, slots=True)
class Topics:
    """What is listened to: the events of runs themselves (`runs`), everything of some (`run:ID`), the engine."""

    runs: bool
    of: frozenset[str]
    engine: bool = False

    @classmethod
    def parse(cls, text: str) -> "Topics":
        """Read `runs,run:01J…`; raise `ValueError` naming what is no topic."""
        names = [name for name in text.split(",") if name]
        plain = ("runs", "engine")
        wrong = [name for name in names if name not in plain and not (name.startswith("run:") and len(name) == 30)]
        if wrong or not names or len(names) > 50:
            raise ValueError(f"topics={text[:100]!r}: write up to 50 of `runs`, `engine` and `run:ID` with full ids")
        return cls(
            "runs" in names, frozenset(name[4:].upper() for name in names if name.startswith("run:")), "engine" in names
        )

    def want(self, message: Message) -> bool:
        """True if the message belongs to one of them."""
        if message.event == ENGINE_SAMPLE:
            return self.engine
        return message.run in self.of or (self.runs and message.event.startswith("run."))


@dataclass(eq=False, slots=True)
class _Listener:
    topics: Topics
    room: int
    queue: deque[Message] = field(default_factory=deque)
    lost: bool = False
    over: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def offer(self, message: Message) -> None:
        if self.lost or not (message.run is None or self.topics.want(message)):
            return  # without a run it is about the feed itself
        if len(self.queue) >= self.room:
            self.queue.clear()
            self.lost = True
        else:
            self.queue.append(message)
        self.wake.set()


class Feed:
    """Follows one store while somebody listens.

    Args:
        database: Of the store.
        poll_s: How often to look whether something was written.
        room: Messages that may wait for one listener.
    """

    def __init__(self, database: Database, *, poll_s: float = 0.05, room: int = 1_000) -> None:
        self._database = database
        self._poll_s = poll_s
        self._room = room
        self._listeners: set[_Listener] = set()
        self._task: asyncio.Task[None] | None = None
        self._last = 0
        self._starting = asyncio.Lock()
        self.stopping = False
        self.reads = 0
        """How often events were read to hand them out."""

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    async def listen(self, topics: Topics, after: int | None = None) -> AsyncGenerator[Message, None]:
        """Yield the messages of `batches` one by one."""
        async with aclosing(self.batches(topics, after)) as open_:
            async for batch in open_:
                for message in batch:
                    yield message

    async def batches(self, topics: Topics, after: int | None = None) -> AsyncGenerator[list[Message], None]:
        """Yield what happens from now on, or after an event, as much as waits at once.

        The first message, a batch of its own, is `hello` (or `resync`).

        Raises:
            StoreError: the store cannot be read now.
        """
        await self._start()
        listener = _Listener(topics, self._room, over=self.stopping)
        self._listeners.add(listener)
        mark = self._last  # the queue has everything after it: no await in between
        try:
            lost = after is not None and (after > mark or mark - after > _REPLAYED)
            yield [_note("resync" if lost else "hello", mark if lost or after is None else after)]
            if after is not None and not lost:
                async for found in self._replay(after, mark):
                    if wanted := [message for message in found if topics.want(message)]:
                        yield wanted
            while not listener.over:
                if listener.lost:
                    listener.lost = False
                    yield [_note("resync", self._last)]
                    continue
                if listener.queue:
                    waiting = list(listener.queue)
                    listener.queue.clear()
                    yield waiting
                    continue
                listener.wake.clear()
                await listener.wake.wait()
        finally:
            self._listeners.discard(listener)

    def publish(self, event: str, data: dict[str, Any]) -> None:
        """Hand something that is not from the store to all who listen to it; nobody gets it again later."""
        self._tell(Message(-1, event, "", json.dumps(data)))

    def hang_up(self) -> None:
        """End all streams, also those that begin later: a server that stops need not wait for those who listen."""
        self.stopping = True
        for listener in self._listeners:
            listener.over = True
            listener.wake.set()

    async def close(self) -> None:
        """Stop following."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _replay(self, after: int, until: int) -> AsyncIterator[list[Message]]:
        while after < until:
            found = await self._database.aread(partial(_events, after=after, until=until))
            yield found
            after = found[-1].id if len(found) == _PAGE else until

    async def _start(self) -> None:
        async with self._starting:
            if self._task is None or self._task.done():
                self._last = await self._database.aread(_newest)
                self._task = asyncio.create_task(self._follow(), name="catp-dashboard-feed")

    async def _follow(self) -> None:
        watch = _Watch(self._database)
        stale = False
        try:
            while True:
                try:
                    if stale or await asyncio.to_thread(watch.changed):
                        await self._hand_out()
                        if stale:
                            self._tell(_note("live", self._last))
                        stale = False
                except Exception as error:  # a store that cannot be read, also if a row of it makes no sense
                    if not stale:
                        known = isinstance(error, StoreError | sqlite3.Error | OSError)
                        _log.warning("events cannot be read: %s", error, exc_info=None if known else error)
                        self._tell(_note("stale", self._last, reason=str(error)))
                    stale = True
                await asyncio.sleep(self._poll_s)
                if not self._listeners:
                    return
        finally:
            watch.close()

    async def _hand_out(self) -> None:
        while True:
            found = await self._database.aread(partial(_events, after=self._last, until=None))
            self.reads += 1
            for message in found:
                self._last = message.id
                self._tell(message)
            if len(found) < _PAGE:
                return

    def _tell(self, message: Message) -> None:
        for listener in self._listeners:
            listener.offer(message)


class _Watch:
    """Says whether anybody has committed since it was last asked; the first time it says yes.

    It is asked in a thread that goes on when the task that waits for it is cancelled: closing waits for that thread.
    """

    def __init__(self, database: Database) -> None:
        self._path = database.path if isinstance(database, SqliteDatabase) else None
        self._raw: sqlite3.Connection | None = None
        self._seen: int | None = None
        self._busy = threading.Lock()

    def changed(self) -> bool:
        with self._busy:
            if self._path is None:  # PostgreSQL: reading the newest events is the question itself
                return True
            found = self._version(self._path)
            changed, self._seen = found != self._seen, found
        return changed

    def _version(self, path: Path) -> int:
        if self._raw is None:
            self._raw = sqlite3.connect(
                f"file:{quote(str(path))}?mode=ro", uri=True, timeout=0.5, isolation_level=None,
                check_same_thread=False,
            )  # fmt: skip
        return int(self._raw.execute("PRAGMA data_version").fetchone()[0])

    def close(self) -> None:
        with self._busy:
            if self._raw is not None:
                self._raw.close()
            self._path = self._raw = None


def _newest(connection: Connection) -> int:
    return int(query(connection, "SELECT COALESCE(MAX(seq), 0) AS n FROM events")[0].n)


def _events(connection: Connection, after: int, until: int | None) -> list[Message]:
    bound, values = ("", []) if until is None else (" AND seq <= ?", [until])
    rows = query(
        connection, "SELECT seq, run_id, run_seq, ts_ns, type, step, attempt, element, data_json FROM events "
        f"WHERE seq > ?{bound} ORDER BY seq LIMIT {_PAGE}", after, *values,
    )  # fmt: skip
    return [_message(row) for row in rows]


def _message(row: Any) -> Message:
    data = {
        "run": row.run_id, "seq": row.run_seq, "ts": iso(row.ts_ns), "node": row.step, "attempt": row.attempt,
        "element": row.element, "data": json.loads(row.data_json),
    }  # fmt: skip
    return Message(int(row.seq), str(row.type), row.run_id, json.dumps(data))  # one line: JSON escapes line breaks


def _note(event: str, id_: int, **data: Any) -> Message:
    return Message(id_, event, None, json.dumps({"last_event_id": id_, **data}))
