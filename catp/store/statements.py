"""SQL for many rows at once: written once with `?`, sent as the driver wants it.

Rows go to the driver as tuples, past SQLAlchemy's handling of each parameter, which would cost more than the insert.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection

__all__ = ["ADD_PLAN", "clean", "execute", "placed", "query"]


ADD_PLAN = """
INSERT INTO plans (hash, source, ast_json, n_nodes, created_ns) VALUES (?, ?, ?, ?, ?) ON CONFLICT (hash) DO NOTHING
"""


def execute(connection: Connection, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Run a statement once per row of parameters."""
    if rows:
        connection.exec_driver_sql(placed(sql, connection.dialect.name), list(rows))


def query(connection: Connection, sql: str, *parameters: Any) -> Sequence[Any]:
    """Run a query and return its rows: tuples whose fields have the names of the columns."""
    return connection.exec_driver_sql(placed(sql, connection.dialect.name), parameters).all()


@lru_cache(maxsize=256)
def placed(sql: str, dialect: str) -> str:
    """Return `sql` with the placeholders of the dialect's driver; it must hold no other question mark."""
    if dialect != "postgresql":
        return sql
    first, *rest = sql.split("?")
    return first + "".join(f"${place}{part}" for place, part in enumerate(rest, 1))


def clean(text: str) -> str:
    """Return text that every database takes: no NUL, no half of a surrogate pair."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
