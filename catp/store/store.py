"""The run store: one SQLite file and a folder of artefacts beside it.

Every public method either completes its transaction or raises `StoreError` and changes nothing.
"""

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Row, create_engine, event, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import SQLAlchemyError

from catp.planlang.money import Money
from catp.planlang.registry_view import PriceRange
from catp.runtime.events import RunEvent
from catp.store import schema
from catp.store.artifacts import INLINE_LIMIT, ArtifactStore, encode_value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from catp.runtime.ledger import LedgerRow
    from catp.runtime.run import OutputResult

__all__ = ["NewRun", "RunStore", "RunSummary", "StoreError", "StoredOutput", "StoredRun"]


class StoreError(RuntimeError):
    """The store cannot be read or written; the message names the file and the reason."""


@dataclass(frozen=True, slots=True)
class NewRun:
    """What is known of a run before it starts. `latency_ms` is the expected length of the critical path."""

    run_id: str
    task: str
    policy: str
    plan_hash: str
    plan_source: str
    plan_json: Mapping[str, Any]
    n_nodes: int
    price: PriceRange
    latency_ms: float
    budget: Money | None = None
    alpha: float | None = None
    quality: float | None = None


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One row of the run list; `cost` is None while the run is going on."""

    id: str
    task: str
    policy: str
    plan_hash: str
    status: str
    created_ns: int
    ended_ns: int | None
    estimate: PriceRange
    cost: Money | None
    unpriced: int
    budget: Money | None
    est_latency_ms: float | None
    latency_ms: float | None
    alpha: float | None
    predicted_quality: float | None


@dataclass(frozen=True, slots=True)
class StoredOutput:
    """One output of a finished run: short texts are in `text`, everything else in artefact `sha256`."""

    name: str
    status: str
    reason: str | None
    mime: str | None
    text: str | None
    sha256: str | None


@dataclass(frozen=True, slots=True)
class StoredRun:
    """Everything kept of one run. `costs` are the ledger rows as mappings with the column names of `costs`."""

    summary: RunSummary
    plan_source: str
    outputs: tuple[StoredOutput, ...]
    costs: tuple[Mapping[str, Any], ...]
    events: tuple[RunEvent, ...]


class RunStore:
    """Saved runs in one SQLite file (WAL); safe to use from several threads and processes.

    Args:
        path: The database file; its folder is made if need be.
        busy_s: How long to wait for another process that is writing, in seconds.
    """

    def __init__(self, path: Path | str, *, busy_s: float = 10.0) -> None:
        self.path = Path(path)
        self._busy_ms = round(busy_s * 1000)
        self.artifacts = ArtifactStore(self.path.parent / "artifacts")
        self._engine: Engine | None = None

    def begin(self, run: NewRun) -> None:
        """Record that a run starts."""
        now = time.time_ns()
        with self._transaction() as connection:
            plan = {"hash": run.plan_hash, "source": run.plan_source, "ast_json": json.dumps(run.plan_json)}
            rows = {**plan, "n_nodes": run.n_nodes, "created_ns": now}
            connection.execute(upsert(schema.plans).values(rows).on_conflict_do_nothing())
            connection.execute(
                insert(schema.runs).values(
                    id=run.run_id, task=run.task, plan_hash=run.plan_hash, policy=run.policy, status="running",
                    created_ns=now, est_cost_lo=run.price.low, est_cost_p50=run.price.expected,
                    est_cost_hi=run.price.p95, budget_nano=run.budget, est_latency_ms=run.latency_ms,
                    alpha=run.alpha, predicted_quality=run.quality,
                )
            )  # fmt: skip

    def append(self, events: Sequence[RunEvent]) -> None:
        """Append events of running runs, all or none."""
        if not events:
            return
        with self._transaction() as connection:
            connection.execute(insert(schema.events), [_event_row(e) for e in events])

    def finish(
        self,
        run_id: str,
        *,
        status: str,
        latency_ms: float,
        ledger: Iterable["LedgerRow"],
        outputs: Mapping[str, "OutputResult"],
    ) -> None:
        """Record how a run ended: its ledger rows and its outputs; the run's cost is the sum of the rows."""
        rows = [_cost_row(run_id, row) for row in ledger]
        with self._transaction() as connection:
            results = [self._output_row(connection, run_id, i, n, o) for i, (n, o) in enumerate(outputs.items())]
            if rows:
                connection.execute(insert(schema.costs), rows)
            if results:
                connection.execute(insert(schema.outputs), results)
            connection.execute(
                update(schema.runs)
                .where(schema.runs.c.id == run_id)
                .values(
                    status=status,
                    ended_ns=time.time_ns(),
                    latency_ms=latency_ms,
                    cost_nano=sum(row["amount_nano"] or 0 for row in rows),
                    unpriced=sum(row["amount_nano"] is None for row in rows),
                )
            )

    def list(self, *, limit: int = 20, before: str | None = None) -> list[RunSummary]:
        """Return runs, newest first; `before` is the id of the last run of the previous page."""
        query = select(schema.runs).order_by(schema.runs.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(schema.runs.c.id < before)
        with self._transaction() as connection:
            return [_summary(row) for row in connection.execute(query)]

    def get(self, run_id: str) -> StoredRun:
        """Return one run by its id or an unambiguous part of it; raise `KeyError` naming what was found instead."""
        with self._transaction() as connection:
            summary = _summary(self._find(connection, run_id))
            source = connection.execute(
                select(schema.plans.c.source).where(schema.plans.c.hash == summary.plan_hash)
            ).scalar_one()
            outputs = select(schema.outputs).where(schema.outputs.c.run_id == summary.id).order_by("position")
            costs = select(schema.costs).where(schema.costs.c.run_id == summary.id).order_by("seq")
            events = select(schema.events).where(schema.events.c.run_id == summary.id).order_by("run_seq")
            return StoredRun(
                summary,
                source,
                tuple(_output(row) for row in connection.execute(outputs)),
                tuple(dict(row._mapping) for row in connection.execute(costs)),
                tuple(_event(row) for row in connection.execute(events)),
            )

    def close(self) -> None:
        """Release the database connections; the store opens again when used."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def _find(self, connection: Connection, run_id: str) -> Row[Any]:
        wanted = run_id.upper()
        column = schema.runs.c.id
        exact = connection.execute(select(schema.runs).where(column == wanted)).first()
        if exact is not None:
            return exact
        # ULIDs of one day share their first characters, so people copy the end as often as the start.
        pattern = wanted.replace("%", "").replace("_", "")
        query = select(schema.runs).where(column.like(f"{pattern}%") | column.like(f"%{pattern}"))
        found = connection.execute(query.order_by(column.desc()).limit(3)).all()
        if not pattern or not found:
            raise KeyError(f"no run {run_id!r} in {self.path}; `catp runs list` shows what is there")
        if len(found) > 1:
            raise KeyError(f"{run_id!r} fits several runs: {', '.join(row.id for row in found)}; write more of the id")
        return found[0]

    def _output_row(
        self, connection: Connection, run_id: str, position: int, name: str, output: "OutputResult"
    ) -> dict[str, Any]:
        row: dict[str, Any] = {
            "run_id": run_id, "position": position, "name": name, "status": output.status, "reason": output.reason,
            "mime": None, "inline_text": None, "sha256": None,
        }  # fmt: skip
        if output.status != "ok":
            return row
        artifact = encode_value(output.value)
        row["mime"] = artifact.mime
        if len(artifact.data) <= INLINE_LIMIT and not artifact.mime.startswith(("image/", "application/octet")):
            row["inline_text"] = artifact.data.decode("utf-8", "replace")
            return row
        row["sha256"] = self.artifacts.put(artifact)
        values = {"sha256": row["sha256"], "mime": artifact.mime, "bytes": len(artifact.data)}
        size = {"width": artifact.width, "height": artifact.height}
        connection.execute(upsert(schema.artifacts).values({**values, **size}).on_conflict_do_nothing())
        return row

    @contextmanager
    def _transaction(self) -> "Iterator[Connection]":
        try:
            if self._engine is None:
                self._engine = self._open()
            with self._engine.begin() as connection:
                yield connection
        except (SQLAlchemyError, sqlite3.Error) as error:
            reason = getattr(error, "orig", None) or error
            raise StoreError(f"run store {self.path}: {reason}") from error
        except OSError as error:
            raise StoreError(f"run store {self.path}: {error.strerror or error}") from error

    def _open(self) -> Engine:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(f"sqlite:///{self.path}")

        @event.listens_for(engine, "connect")
        def _pragmas(raw: sqlite3.Connection, _record: object) -> None:
            for pragma in (
                f"busy_timeout={self._busy_ms}",
                "journal_mode=WAL",
                "synchronous=NORMAL",
                "foreign_keys=ON",
            ):
                raw.execute(f"PRAGMA {pragma}")

        try:
            with engine.begin() as connection:
                connection.exec_driver_sql("BEGIN IMMEDIATE")  # two processes may open a fresh store at once
                schema.metadata.create_all(connection)
                current = {"key": "schema", "value": str(schema.SCHEMA_VERSION)}
                connection.execute(upsert(schema.meta).values(current).on_conflict_do_nothing())
                version = connection.execute(select(schema.meta.c.value).where(schema.meta.c.key == "schema")).scalar()
                if version != current["value"]:
                    raise StoreError(
                        f"run store {self.path} has schema version {version}, this catp reads {schema.SCHEMA_VERSION}; "
                        "upgrade catp or choose another file with --store"
                    )
        except BaseException:
            engine.dispose()
            raise
        return engine


def _event_row(e: RunEvent) -> dict[str, Any]:
    return {
        "run_id": e.run_id, "run_seq": e.seq, "ts_ns": e.at_ns, "type": e.type, "step": e.step,
        "attempt": e.attempt, "element": e.element, "data_json": json.dumps(dict(e.data)),
    }  # fmt: skip


def _event(row: Row[Any]) -> RunEvent:
    data = json.loads(row.data_json)
    return RunEvent(row.run_seq, row.run_id, row.ts_ns, row.type, row.step, row.attempt, row.element, data)


def _cost_row(run_id: str, row: "LedgerRow") -> dict[str, Any]:
    return {
        "run_id": run_id, "seq": row.seq, "step": row.step, "attempt": row.attempt, "element": row.element,
        "tool": row.tool, "kind": row.kind, "quantity": row.quantity, "unit": row.unit,
        "unit_price_usd": row.unit_price_usd, "amount_nano": row.amount, "source": row.source,
        "priced": row.priced, "estimate_nano": row.estimate, "overrun": row.overrun, "note": row.note,
    }  # fmt: skip


def _summary(row: Row[Any]) -> RunSummary:
    return RunSummary(
        id=row.id, task=row.task, policy=row.policy, plan_hash=row.plan_hash, status=row.status,
        created_ns=row.created_ns, ended_ns=row.ended_ns,
        estimate=PriceRange(row.est_cost_lo, row.est_cost_p50, row.est_cost_hi), cost=row.cost_nano,
        unpriced=row.unpriced, budget=row.budget_nano, est_latency_ms=row.est_latency_ms,
        latency_ms=row.latency_ms, alpha=row.alpha, predicted_quality=row.predicted_quality,
    )  # fmt: skip


def _output(row: Row[Any]) -> StoredOutput:
    return StoredOutput(row.name, row.status, row.reason, row.mime, row.inline_text, row.sha256)
