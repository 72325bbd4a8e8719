"""The one writer of a store in this process: what all runs have to keep, in batches, in order, in the background.

Batching is natural: while a batch is being written the next one collects, so an idle store writes at once and a busy
one writes many events per commit. While the store cannot be written, everything waits in memory (at most
`MOST_WAITING` entries; a run that would exceed it loses the rest of its record, the runs themselves go on) and is
written in order when the store is back.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from catp.runtime.codec import Encoded, encode
from catp.runtime.codec_shown import shown
from catp.runtime.events import RunEvent
from catp.store import ownership, stopping
from catp.store.append import Batch, ValueRow, append
from catp.store.artifacts import INLINE_LIMIT, Artifact, Artifacts, thumbnail
from catp.store.database import Database
from catp.store.errors import StoreConflict, StoreError, StoreUnavailable, named
from catp.store.plans import PlanRow
from catp.store.redaction import REDACTED
from catp.store.tables import NO_ELEMENT

__all__ = ["MOST_WAITING", "Entry", "JournalWriter", "Track", "Value"]

MOST_WAITING = 200_000
"""Entries (events, values) that may wait for a store that cannot be written."""

_BATCH = 10_000
_GRACE_S = 1.0
_MOST_UNSYNCED = 10_000
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 1.0


class Value(NamedTuple):
    """A value to keep; it must not be changed any more. Of a `redacted` one something was taken out."""

    kind: str
    name: str
    element: int | None
    value: Any
    redacted: bool = False


@dataclass(slots=True, eq=False)
class Track:
    """One run as the writer sees it; `problem` says why the rest of its record is lost.

    `on_stop` is told why the run shall be cancelled, again and again until it is released; it must return at once.
    """

    run_id: str
    problem: StoreError | None = None
    on_stop: Callable[[str], None] | None = None


class Entry(NamedTuple):
    """What a run hands over at once; `done` is resolved when this and all before it is written. `plans`: of the run."""

    track: Track
    events: tuple[RunEvent, ...] = ()
    values: tuple[Value, ...] = ()
    done: "Future[None] | None" = None
    durable: bool = False
    release: bool = False
    plans: tuple[PlanRow, ...] = ()


@dataclass(slots=True)
class _Part:
    """The entries of one batch; `rows` are the encoded values, made once however often the batch is tried."""

    entries: list[Entry]
    rows: list[ValueRow] = field(default_factory=list)
    encoded: bool = False


class JournalWriter:
    """Writes entries on a thread of its own, which starts with the first one.

    Args:
        database: Where to.
        artifacts: Where large values go.
        busy_s: How long the database itself waits for others; whoever waits for the writer waits a second longer.
    """

    def __init__(self, database: Database, artifacts: Artifacts, *, busy_s: float) -> None:
        self.patience_s = busy_s + _GRACE_S
        self.trouble: StoreError | None = None
        """Why the batch in hand cannot be written for now."""
        self._database = database
        self._artifacts = artifacts
        self._queue: SimpleQueue[Entry | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._lock = threading.Lock()
        self._give_up = threading.Event()
        self._driven: dict[str, Track] = {}
        self._unsynced: set[str] = set()
        self._beat_s = self._look_s = 0.0
        self._owner = ownership.myself()

    def drive(self, track: Track) -> None:
        """Keep the heart of a run beating until it is released."""
        self._driven[track.run_id] = track

    def put(self, entry: Entry) -> None:
        """Hand an entry over; returns at once and never raises."""
        track = entry.track
        if track.problem is None and self._queue.qsize() >= MOST_WAITING:
            reason = str(self.trouble or f"run store {self._database.name}: too slow")
            track.problem = StoreUnavailable(f"{reason}; more than {MOST_WAITING:,} events are waiting")
        if track.problem is None or entry.release:
            self._queue.put(entry)
            if self._thread is None:
                self._start()
        elif entry.done is not None:
            _resolve(entry.done, track.problem)

    def close(self) -> None:
        """Write what is waiting, for at most `patience_s` if the store cannot be written, and end the thread."""
        with self._lock:
            thread = self._thread
            if thread is None or self._closing:
                return
            self._closing = True
        self._queue.put(None)
        thread.join(self.patience_s)
        self._give_up.set()
        thread.join()
        self._give_up.clear()
        with self._lock:  # only now: two threads would write the events of one run out of order
            self._thread, self._closing = None, False
        if not self._queue.empty():
            self._start()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._beat_s = time.monotonic() + ownership.HEARTBEAT_S
                self._look_s = time.monotonic() + stopping.LOOK_S
                self._thread = threading.Thread(target=self._run, name="catp-journal", daemon=True)
                self._thread.start()

    # --- on the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        going = True
        while going:
            entries, going = self._take()
            if entries:
                self._write(_Part(entries))
            now = time.monotonic()
            if now >= self._beat_s:
                self._beat()
            if now >= self._look_s:
                self._look()

    def _take(self) -> tuple[list[Entry], bool]:
        """Everything that waits, up to a batch; False if nothing more will come."""
        entries: list[Entry] = []
        try:
            until = min(self._beat_s, self._look_s) if self._driven else self._beat_s
            entry = self._queue.get(timeout=max(0.0, until - time.monotonic()))
            while entry is not None:
                entries.append(entry)
                if len(entries) >= _BATCH:
                    return entries, True
                entry = self._queue.get_nowait()
        except Empty:
            return entries, True
        return entries, False

    def _beat(self) -> None:
        self._beat_s = time.monotonic() + ownership.HEARTBEAT_S
        runs = sorted(self._driven)
        if runs:
            with suppress(StoreError):  # the next one may do; a minute of silence is allowed
                self._database.write(partial(ownership.beat, run_ids=runs, owner=self._owner))

    def _look(self) -> None:
        """Pass on what others ask of the runs that are driven here."""
        self._look_s = time.monotonic() + stopping.LOOK_S
        if not self._driven:
            return
        with suppress(StoreError):  # whoever asks cannot write either
            for stop in self._database.read(stopping.asked):
                track = self._driven.get(stop.run_id)
                if track is not None and track.on_stop is not None:
                    track.on_stop(str(stop))

    def _write(self, part: _Part) -> None:
        """Write a part until it is written, hopeless, or everything is given up."""
        pause = _FIRST_PAUSE_S
        while True:
            try:
                self._commit(part)
            except StoreUnavailable as error:
                self.trouble = error
                if self._give_up.wait(pause):
                    self._lose(part.entries, error)
                    return
                pause = min(2 * pause, _LONGEST_PAUSE_S, self.patience_s / 4)
            except Exception as error:  # a defect of one record must not stop the others
                self._isolate(part, _as_store_error(error, self._database.name))
                return
            else:
                self.trouble = None
                self._written(part.entries)
                return

    def _isolate(self, part: _Part, error: StoreError) -> None:
        """Keep a run whose data cannot be written from holding up the others."""
        runs: dict[Track, list[Entry]] = {}
        for entry in part.entries:
            runs.setdefault(entry.track, []).append(entry)
        if len(runs) == 1:
            self._lose(part.entries, error)
            return
        for entries in runs.values():
            self._write(_Part(entries))

    def _commit(self, part: _Part) -> None:
        released = [entry.track.run_id for entry in part.entries if entry.release]
        entries = [entry for entry in part.entries if entry.track.problem is None]
        if not entries and not released:
            return
        if not part.encoded:
            part.rows = [_encode(entry.track.run_id, value) for entry in entries for value in entry.values]
            part.encoded = True
        durable = any(entry.durable for entry in entries)
        with named(self._database.name):
            for row in part.rows:
                self._unsynced.update(self._artifacts.put(artifact) for artifact in row.artifacts)
            if durable or len(self._unsynced) > _MOST_UNSYNCED:
                self._artifacts.sync(self._unsynced)
                self._unsynced.clear()
        batch = Batch(
            [event for entry in entries for event in entry.events],
            part.rows,
            released,
            [entry.track.run_id for entry in entries if entry.durable],
            [row for entry in entries for row in entry.plans],
        )
        work = partial(append, batch=batch, owner=self._owner, in_rows=self._artifacts.in_rows)
        self._database.write(work, durable=durable)

    def _written(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.release:
                self._driven.pop(entry.track.run_id, None)
            if entry.done is not None:
                _resolve(entry.done, entry.track.problem)

    def _lose(self, entries: Sequence[Entry], error: StoreError) -> None:
        for entry in entries:
            entry.track.problem = entry.track.problem or error
        released = [entry.track.run_id for entry in entries if entry.release]
        if released:
            with suppress(StoreError):
                self._database.write(partial(ownership.release, run_ids=released, owner=self._owner))
        self._written(entries)


def _encode(run_id: str, value: Value) -> ValueRow:
    encoded = encode(value.value)
    if value.redacted:  # to look at only, so trees are written as people read them
        exact = encoded.codec not in (None, "value/1")
        encoded = encoded._replace(codec=REDACTED) if exact else Encoded(REDACTED, *shown(value.value))
    element = NO_ELEMENT if value.element is None else value.element
    row = ValueRow(run_id, value.kind, value.name, element, encoded.codec, encoded.mime, encoded.data)
    if len(encoded.data) <= INLINE_LIMIT and encoded.mime.startswith(("text/", "application/json")):
        return row
    whole = Artifact(encoded.data, encoded.mime, encoded.width, encoded.height)
    small = thumbnail(whole)
    return row._replace(inline=None, artifacts=(whole,) if small is None else (whole, small))


def _as_store_error(error: Exception, store: str) -> StoreError:
    if isinstance(error, StoreError):
        return error
    return StoreConflict(f"run store {store}: {type(error).__name__}: {error}")


def _resolve(done: "Future[None]", problem: StoreError | None) -> None:
    try:
        if problem is None:
            done.set_result(None)
        else:
            done.set_exception(problem)
    except InvalidStateError:
        pass  # whoever waited has stopped waiting
