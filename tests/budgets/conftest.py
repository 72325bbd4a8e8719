"""The stores of `tests/store`: a SQLite file and a database of a real PostgreSQL server."""

from tests.store.conftest import postgres_server, sqlite_store, store, target

__all__ = ["postgres_server", "sqlite_store", "store", "target"]
