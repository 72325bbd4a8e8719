"""How much a store holds: rows by table, runs by status, files, and since when."""

from typing import Any, NamedTuple

from sqlalchemy import Connection

from catp.planlang.money import Money
from catp.store.statements import query
from catp.store.tables import metadata

__all__ = ["StoreStats", "store_stats"]


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
    runs = {status: int(n) for status, n in query(connection, "SELECT status, COUNT(*) FROM runs GROUP BY status")}
    files = query(connection, "SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM artifacts")[0]
    ends = query(connection, "SELECT MIN(created_ns), MAX(created_ns) FROM runs")[0]
    return StoreStats(
        rows, runs, Money(int(_one(connection, "SELECT COALESCE(SUM(amount_nano), 0) FROM costs"))),
        int(_one(connection, "SELECT COUNT(*) FROM costs WHERE amount_nano IS NULL")), int(files[0]), int(files[1]),
        ends[0], ends[1],
    )  # fmt: skip


def _one(connection: Connection, sql: str) -> Any:
    return query(connection, sql)[0][0]
