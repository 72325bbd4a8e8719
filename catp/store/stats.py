"""How much a store holds: rows by table, runs by status, files, and since when."""

from collections import Counter
from typing import Any, NamedTuple

from sqlalchemy import Connection

from catp.planlang.money import Money
from catp.store.queries import driven
from catp.store.statements import query
from catp.store.tables import metadata

__all__ = ["StoreStats", "runs_by_status", "store_stats"]


class StoreStats(NamedTuple):
    """`rows` by table, `runs` by status, the sum of all ledger rows, rows without a price, and artefacts in bytes.

    `first_ns` and `last_ns` are when the oldest and the newest run were created, None without runs.
    """

    rows: dict[str, int]
    runs: dict[str, int]
    spent: Money
    unpriced: int
    files: int
    file_bytes: int
    first_ns: int | None
    last_ns: int | None


def store_stats(connection: Connection) -> StoreStats:
    """Count."""
    rows = {table.name: int(_one(connection, f"SELECT COUNT(*) FROM {table.name}")) for table in metadata.sorted_tables}
    files = query(connection, "SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM artifacts")[0]
    ends = query(connection, "SELECT MIN(created_ns), MAX(created_ns) FROM runs")[0]
    return StoreStats(
        rows, dict(runs_by_status(connection)),
        Money(int(_one(connection, "SELECT COALESCE(SUM(amount_nano), 0) FROM costs"))),
        int(_one(connection, "SELECT COUNT(*) FROM costs WHERE amount_nano IS NULL")), int(files[0]), int(files[1]),
        ends[0], ends[1],
    )  # fmt: skip


def runs_by_status(connection: Connection, where: str = "1 = 1", *values: Any) -> Counter[str]:
    """Count runs (`r` in the condition) by status; `interrupted` are those that say `running` and nobody drives."""
    sql = f"SELECT r.status, COUNT(*) FROM runs r WHERE r.status <> 'running' AND {where} GROUP BY r.status"
    found = Counter({str(status): int(n) for status, n in query(connection, sql, *values)})
    alive = set(driven(connection))
    sql = f"SELECT r.owner, COUNT(*) FROM runs r WHERE r.status = 'running' AND {where} GROUP BY r.owner"
    for owner, n in query(connection, sql, *values):
        found["running" if owner in alive else "interrupted"] += int(n)
    return found


def _one(connection: Connection, sql: str) -> Any:
    return query(connection, sql)[0][0]
