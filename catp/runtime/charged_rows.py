"""The ledger rows of a call that is over: one per charge, or one that stands in for a price nobody knows."""

from collections.abc import Sequence

from catp.runtime.ledger_rows import LedgerRow, Reservation, RowSource
from catp.tools.usage import Charge

__all__ = ["charged_rows", "estimated_rows"]

_SOURCES: dict[str, RowSource] = {
    "compute": "measured", "cold_start": "measured", "unit": "measured", "provider": "provider",
}  # fmt: skip


def charged_rows(
    reservation: Reservation, charges: Sequence[Charge], note: str, estimated: bool, seq: int
) -> tuple[LedgerRow, ...]:
    """Return one row per charge, numbered after `seq`; `estimated` if the charges stand in for an unknown amount."""
    key = reservation.key
    over = reservation.bounded and sum(charge.amount for charge in charges) > reservation.amount
    return tuple(
        LedgerRow(
            seq + place, key.run_id, key.step, key.attempt, key.element, key.tool, charge.kind, charge.quantity,
            charge.unit, charge.unit_price_usd, charge.amount,
            "estimated" if estimated else _SOURCES.get(charge.kind, "declared"), not estimated,
            reservation.estimate if place == 1 else None, over, note,
        )
        for place, charge in enumerate(charges, 1)
    )  # fmt: skip


def estimated_rows(reservation: Reservation, note: str, seq: int) -> tuple[LedgerRow, ...]:
    """Return the row, after `seq`, of a call that nobody knows the price of: what it held, if it held anything."""
    key = reservation.key
    amount = reservation.amount if reservation.amount > 0 else None
    return (
        LedgerRow(
            seq + 1, key.run_id, key.step, key.attempt, key.element, key.tool, "estimate", 1.0, "call",
            None, amount, "estimated", False, reservation.estimate, False, note,
        ),
    )  # fmt: skip
