"""Commands that change what is kept say so in the audit trail, as the dashboard does; `(cli)` says whence."""

import time
from typing import TYPE_CHECKING, Any

from catp.approvals import user
from catp.cli.output import console_err

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from catp.store.database import Database

__all__ = ["note", "note_done"]


def note(connection: "Connection", action: str, target: str, **detail: Any) -> None:
    """Note a deed together with what it changes: both are kept, or neither."""
    from catp.store import deeds

    actor = f"{user()} (cli)"
    deeds.note(connection, actor=actor, action=action, target=target, detail=detail, now_ns=time.time_ns())


def note_done(database: "Database", action: str, target: str, **detail: Any) -> None:
    """Note what was done in more than one transaction: it stays done if the note cannot be written, which is told."""
    from catp.store.errors import StoreError

    try:
        database.write(lambda connection: note(connection, action, target, **detail))
    except StoreError as error:
        console_err().print(f"warning: the audit trail does not say {action} {target}: {error}", markup=False)
