"""What a price model says, checked: no amount that is not an amount ever reaches a budget, a ledger or the store."""

from typing import Any

from catp.planlang.money import Money
from catp.tools.errors import PriceModelError
from catp.tools.usage import Charge, PriceModel, Usage

__all__ = ["MOST_PER_CALL", "charges_of"]

MOST_PER_CALL = Money(10**16)
"""Ten million dollars. Whoever asks more for one call is wrong, and sums of such amounts leave 64 bits."""


def charges_of(price: PriceModel, usage: Usage) -> tuple[Charge, ...] | None:
    """Return the charges of a call, or None if the price is unknown.

    Raises:
        PriceModelError: The model raised, or gave anything but charges of whole, finite, non-negative nano-USD.
    """
    try:
        charges = price.charge(usage)
    except PriceModelError:
        raise
    except Exception as error:
        raise PriceModelError(f"it raised {type(error).__name__}: {error}") from error
    if charges is None:
        return None
    if not isinstance(charges, tuple):
        raise PriceModelError(f"it gave {_short(charges)} instead of charges")
    total = 0
    for charge in charges:
        _check(charge)
        total += charge.amount
    if total > MOST_PER_CALL:
        raise PriceModelError(f"it asks more than ${MOST_PER_CALL // 10**9:,} for one call")
    return charges


def _check(charge: Any) -> None:
    if not isinstance(charge, Charge):
        raise PriceModelError(f"it gave {_short(charge)} instead of a charge")
    if type(charge.amount) is not int or charge.amount < 0:
        raise PriceModelError(f"{_short(charge.amount)} is not an amount in nano-USD")
    said: tuple[Any, ...] = (charge.kind, charge.unit, charge.unit_price_usd)
    if not (isinstance(said[0], str) and isinstance(said[1], str) and isinstance(said[2], str)) or not _is_number(
        charge.quantity
    ):
        raise PriceModelError(f"{_short(charge)} does not say in numbers and words what is paid for")


def _is_number(quantity: Any) -> bool:
    return isinstance(quantity, float) or (isinstance(quantity, int) and abs(quantity) < 2**63)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"
