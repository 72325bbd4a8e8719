"""The statements on the table of reservations, and how it names a call."""

from collections.abc import Mapping
from typing import Any

from catp.runtime.ledger import CallKey
from catp.store.tables import NO_ELEMENT

__all__ = [
    "ADJUST", "DROP", "EXPIRED", "FORGET", "HOLD", "NOT_SO_LATE", "RENEW", "STILL_HELD", "place_of", "row_of",
]  # fmt: skip

HOLD = """
INSERT INTO reservations (budget_id, run_id, step, element, attempt, period_start, amount_nano, expires_ns)
VALUES (:budget, :run, :step, :element, :attempt, :start, :amount, :expires)
ON CONFLICT (budget_id, run_id, step, element, attempt)
DO UPDATE SET amount_nano = excluded.amount_nano, expires_ns = excluded.expires_ns
"""
_OF_CALL = "WHERE run_id = :run AND step = :step AND element = :element AND attempt = :attempt"
ADJUST = f"UPDATE reservations SET amount_nano = :amount {_OF_CALL}"
DROP = f"DELETE FROM reservations {_OF_CALL}"
STILL_HELD = "SELECT DISTINCT step, element, attempt FROM reservations WHERE run_id = :run"
RENEW = "UPDATE reservations SET expires_ns = :expires WHERE run_id = :run"
EXPIRED = """
SELECT DISTINCT r.id, r.owner, r.heartbeat_ns FROM reservations h JOIN runs r ON r.id = h.run_id
WHERE h.expires_ns <= :now AND r.owner IS NOT NULL
"""
FORGET = "DELETE FROM reservations WHERE expires_ns < :long_ago"
NOT_SO_LATE = "UPDATE reservations SET expires_ns = :expires WHERE expires_ns > :too_late"


def row_of(key: CallKey) -> tuple[str, str, int, int]:
    """Return run, step, element and attempt as the table keeps them."""
    return key.run_id, key.step, NO_ELEMENT if key.element is None else key.element, key.attempt


def place_of(key: CallKey) -> Mapping[str, Any]:
    """Return the parameters that say which call a statement is about."""
    return dict(zip(("run", "step", "element", "attempt"), row_of(key), strict=True))
