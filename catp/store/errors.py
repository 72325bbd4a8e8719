"""What can go wrong with a run store.

StoreError               it cannot be read or written; the message names the store, the reason and what to do
├── StoreUnavailable     for now: locked, full, the server is away; the same request may succeed later
├── StoreConflict        the data contradict what is there: an event twice, a run that does not exist
└── RunOwned             another process is driving the run
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError, TimeoutError

__all__ = ["RunOwned", "StoreConflict", "StoreError", "StoreUnavailable", "named"]

_DAMAGED = ("malformed", "not a database", "corrupt")


class StoreError(RuntimeError):
    """The store cannot be read or written; the message names it and the reason. Nothing was changed."""


class StoreUnavailable(StoreError):
    """The store cannot be reached or written for now; trying again may help."""


class StoreConflict(StoreError):
    """What should be written contradicts what the store holds."""


class RunOwned(StoreError):
    """Another process is driving the run."""


@contextmanager
def named(store: str) -> Iterator[None]:
    """Turn errors of the database and of files into `StoreError`s that name the store."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        reason = str(getattr(error, "orig", None) or error)
        if any(sign in reason.lower() for sign in _DAMAGED):
            raise StoreError(
                f"run store {store} is damaged or no run store: {reason}. It was left as it is; put a copy made by "
                "`catp db backup` in its place, or move it away to start an empty one"
            ) from error
        if isinstance(error, IntegrityError | DataError | sqlite3.IntegrityError):
            raise StoreConflict(f"run store {store}: {reason}") from error
        # A timeout: no connection became free. A programming error: the tables are not what they should be.
        away = isinstance(error, DBAPIError | sqlite3.Error | TimeoutError) and not isinstance(error, ProgrammingError)
        kind = StoreUnavailable if away else StoreError
        raise kind(f"run store {store}: {reason}") from error
    except OSError as error:
        raise StoreUnavailable(f"run store {store}: {error.strerror or error}") from error
