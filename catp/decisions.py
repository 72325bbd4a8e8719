"""What waits for an answer in a store, and answering it from anywhere: command line, `Agent.decide`, dashboard.

The run that waits finds the answer in the store (`catp.approvals`), whichever process drives it.
"""

import time
from typing import TYPE_CHECKING

from catp.planlang.money import Money

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from catp.store.approvals import Approval
    from catp.store.database import Database

__all__ = ["answer", "open_questions"]


async def open_questions(database: "Database", run_id: str | None = None) -> "list[Approval]":
    """Return what waits for an answer, oldest first: in one run, or in all."""
    from catp.store.approvals import pending

    return await database.aread(lambda connection: pending(connection, run_id=run_id, now_ns=time.time_ns()))


async def answer(
    database: "Database",
    run_id: str,
    step: str | None,
    *,
    granted: bool,
    by: str,
    reason: str = "",
    expires_s: float | None = None,
    cap: Money | None = None,
) -> "Approval":
    """Answer the open question about a step (None: the whole plan); see `catp.store.approvals.decide`.

    Raises:
        ApprovalError: nothing is asked, or somebody has decided already.
    """
    from catp.store.approvals import decide, open_question

    if expires_s is not None and not expires_s > 0:
        raise ValueError(f"an approval must hold for more than zero seconds, not {expires_s!r}")

    def write(connection: "Connection") -> "Approval":
        now_ns = time.time_ns()
        expires_ns = None if expires_s is None else now_ns + round(expires_s * 1e9)
        question = open_question(connection, run_id, step)
        return decide(
            connection, question, granted=granted, by=by, reason=reason, expires_ns=expires_ns, cap=cap, now_ns=now_ns
        )

    return await database.awrite(write, durable=True)
