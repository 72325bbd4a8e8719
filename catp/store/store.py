"""The run store: a database of runs and the large values beside it.

    store = RunStore("runs.db")                                  # or "postgresql://user@host/database"
    store.list(limit=20, status="running")
    store.get("01J9").summary.cost
    {value.name: value.value() for value in store.values(run_id) if value.kind == "output"}

A run writes through its journal (`begin`, `resume`); everything else here reads. Every method either completes its
transaction or raises `StoreError` and changes nothing.
"""

import re
import time
from builtins import list as list_
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from catp.runtime.events import RunEvent
from catp.store import ownership, queries
from catp.store.artifacts import Artifacts, ArtifactStore, TableArtifacts
from catp.store.database import Database, open_database
from catp.store.database_sqlite import SqliteDatabase
from catp.store.errors import StoreError
from catp.store.journal import RunJournal
from catp.store.plans import keep_plans
from catp.store.records import NewRun, RunSummary, StoredOutput, StoredRun, StoredValue
from catp.store.redaction import Redact, Redaction
from catp.store.tables import NO_ELEMENT
from catp.store.writer import JournalWriter
from catp.tools.call_fact import CallFact

__all__ = ["NewRun", "RunStore", "RunSummary", "StoreError", "StoredOutput", "StoredRun"]

_PAGE = 2_000
_DIGEST = re.compile("[0-9a-f]{64}")


class RunStore:
    """Saved runs; safe to use from several threads and processes.

    Args:
        target: A SQLite file, whose folder is made if need be and gets a folder `artifacts`, or the URL of a
            PostgreSQL database (`postgresql://user@host/database`, extra `postgres`).
        busy_s: How long to wait for another process that is writing, in seconds.
        redact: Takes out of values and texts what must not be stored; see `catp.store.redaction`.

    Raises:
        ValueError: A URL of another kind of database.
    """

    def __init__(self, target: Path | str, *, busy_s: float = 10.0, redact: Redact | None = None) -> None:
        self.target = target
        """What was given: with it, another `RunStore` can be opened on the same runs."""
        self.database: Database = open_database(target, busy_s=busy_s)
        self.redaction = None if redact is None else Redaction(redact)
        self.artifacts: Artifacts
        if isinstance(self.database, SqliteDatabase):
            self.artifacts = ArtifactStore(self.database.path.parent / "artifacts")
        else:
            self.artifacts = TableArtifacts(self.database)
        self._writer = JournalWriter(self.database, self.artifacts, busy_s=busy_s)

    @property
    def name(self) -> str:
        """How messages call the store: its path, or its URL without the password."""
        return self.database.name

    # --- writing ----------------------------------------------------------------------------------------------------

    def begin(self, run: NewRun) -> RunJournal:
        """Keep the plan of a run that is about to start, and return the journal for `Run`."""
        kept = self.database.write(partial(keep_plans, run=run, now_ns=time.time_ns()))
        return RunJournal(self._writer, run.run_id, store=self.name, plans=kept, redaction=self.redaction)

    def resume(self, run_id: str) -> RunJournal:
        """Take over a run that nobody drives any more, and return the journal for its next `Run`.

        Raises:
            RunOwned: A living process drives it.
            KeyError: There is no such run.
        """
        self.database.write(partial(ownership.claim, run_id=run_id))
        return RunJournal(self._writer, run_id, store=self.name, resumed=True, redaction=self.redaction)

    # --- reading ----------------------------------------------------------------------------------------------------

    def list(
        self, *, limit: int = 20, before: str | None = None, project: str | None = None, status: str | None = None
    ) -> list_[RunSummary]:
        """Return runs, newest first; `before` is the id of the last run of the previous page."""
        return self.database.read(partial(queries.page, limit=limit, before=before, project=project, status=status))

    def get(self, run_id: str) -> StoredRun:
        """Return one run by its id or an unambiguous part of it; raise `KeyError` naming what was found instead."""
        return self.database.read(partial(_whole_run, run_id=run_id, store=self.name))

    def find(self, run_id: str) -> RunSummary:
        """Return the row of one run; like `get`, without its plan, steps, rows and events."""
        return self.database.read(partial(queries.find, run_id=run_id, store=self.name))

    def events(self, run_id: str, after_seq: int = 0, most: int | None = None) -> list_[RunEvent]:
        """Return the events of a run (full id) after one of them, in order; the first `most` of them."""
        return self.database.read(partial(queries.events, run_id=run_id, after_seq=after_seq, most=most))

    def plan_source(self, plan_hash: str) -> str:
        """Return the text of a plan by its digest."""
        return self.database.read(partial(queries.plan_source, plan_hash=plan_hash))

    def values(self, run_id: str) -> list_[StoredValue]:
        """Return the kept values of a run (full id): inputs, steps, outputs. Bytes are read when asked for."""
        rows = self.database.read(partial(queries.values, run_id=run_id))
        return [self._value(row) for row in rows]

    def artifact(self, sha256: str) -> bytes:
        """Return a large value by its digest.

        Raises:
            FileNotFoundError: It is gone, or this is no digest.
            ValueError: Its bytes were changed.
        """
        if not _DIGEST.fullmatch(sha256):  # it may come from outside, and becomes part of a path
            raise FileNotFoundError(f"there is no artifact {sha256!r}")
        return self.artifacts.get(sha256)

    def locate(self, sha256: str) -> str:
        """Where people find a large value: its file, or its digest where it lies in the database."""
        return str(self.artifacts.path(sha256)) if isinstance(self.artifacts, ArtifactStore) else sha256

    def calls(self, *, tool: str | None = None, since_ns: int | None = None) -> Iterator[CallFact]:
        """Yield the metered calls of all runs (of one tool, since a time) in the order in which they ended."""
        after = None
        while True:
            found = self.database.read(
                partial(queries.calls_after, tool=tool, since_ns=since_ns or 0, after=after, limit=_PAGE)
            )
            for fact, key in found:
                yield fact
                after = key
            if len(found) < _PAGE:
                return

    def close(self) -> None:
        """Write what is waiting and release the connections; the store opens again when used."""
        self._writer.close()
        self.database.close()

    def _value(self, row: Any) -> StoredValue:
        inline, sha256 = row.inline, row.sha256
        read = partial(bytes, inline) if inline is not None else partial(self.artifacts.get, sha256)
        element = None if row.element == NO_ELEMENT else row.element
        return StoredValue(row.kind, row.name, element, row.codec, row.mime, sha256, read)


def _whole_run(connection: Connection, run_id: str, store: str) -> StoredRun:
    summary = queries.find(connection, run_id, store)
    return StoredRun(
        summary, queries.plan_source(connection, summary.plan_hash), tuple(queries.outputs(connection, summary.id)),
        tuple(queries.steps(connection, summary.id)), tuple(queries.costs(connection, summary.id)),
        tuple(queries.events(connection, summary.id)),
    )  # fmt: skip
