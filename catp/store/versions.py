"""Which layout a store has: a cheap look, and bringing an older one up to date.

The layout is named by the Alembic revision in `alembic_version`. Looking needs no Alembic; only migrating loads it.
"""

from sqlalchemy import Connection, inspect, select

from catp import __version__
from catp.store.errors import StoreError
from catp.store.tables import meta, metadata

__all__ = ["HEAD", "current", "current_version", "make_current"]

HEAD = "0003"
"""The revision that `catp.store.tables` describes."""

_OLDER = ("0001", "0002")
"""Revisions that can be brought up to date."""

_REPROJECTED = ("0001",)
"""Those from which projections do not come over: they are made anew from the events."""


def current(connection: Connection, store: str) -> bool:
    """True if the store has today's layout, False if it is empty or older.

    Raises:
        StoreError: It was written by a newer catp, or it is a database of something else.
    """
    return _revision(connection, store) == HEAD


def current_version(connection: Connection) -> str:
    """The layout of a store that was opened."""
    return str(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one())


def make_current(connection: Connection, store: str) -> None:
    """Create or migrate the tables in one transaction; several processes may do this to one store at once."""
    if connection.dialect.name == "sqlite":
        raw = connection.connection.driver_connection
        assert raw is not None
        raw.execute("PRAGMA foreign_keys=OFF")  # a table that others refer to is replaced; not possible within
    with connection.begin():
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(4342100)")  # any fixed number
        found = _revision(connection, store)  # another process may have done it meanwhile
        if found == HEAD:
            return
        if found is None:
            _create(connection)
        else:
            from catp.store.migrations.upgrade import upgrade
            from catp.store.rebuild import rebuild

            upgrade(connection)
            if found in _REPROJECTED:
                rebuild(connection)
        _sign(connection)


def _create(connection: Connection) -> None:
    metadata.create_all(connection)
    connection.exec_driver_sql(
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
        "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
    )
    connection.exec_driver_sql(f"INSERT INTO alembic_version (version_num) VALUES ('{HEAD}')")


def _sign(connection: Connection) -> None:
    connection.execute(meta.delete().where(meta.c.key == "written_by"))
    connection.execute(meta.insert().values(key="written_by", value=__version__))


def _revision(connection: Connection, store: str) -> str | None:
    """The revision of the layout, None for an empty database."""
    tables = set(inspect(connection).get_table_names())
    if "alembic_version" in tables:
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        if found in (HEAD, *_OLDER):
            return str(found)
        raise _too_new(connection, store, str(found))
    if not tables:
        return None
    if {"meta", "runs", "events", "outputs"} <= tables:  # before Alembic: catp 0.1 as of issue 1
        version = connection.execute(select(meta.c.value).where(meta.c.key == "schema")).scalar()
        if version == "1":
            return "0001"
        raise _too_new(connection, store, f"schema {version}")
    raise StoreError(
        f"{store} is a database of something else (it has the tables {', '.join(sorted(tables)[:5])}); "
        "name another one with --store"
    )


def _too_new(connection: Connection, store: str, found: str) -> StoreError:
    writer = connection.execute(select(meta.c.value).where(meta.c.key == "written_by")).scalar()
    return StoreError(
        f"run store {store} has layout {found}, written by catp {writer or 'of unknown version'}; this is catp "
        f"{__version__}, which reads layouts up to {HEAD}. Upgrade catp (`pip install -U catp`), or name another store "
        "with --store. The store was left as it is"
    )
