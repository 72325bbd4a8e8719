"""Money as integer nano-USD inside, as decimal strings at the edge.

One nano-USD is 1e-9 USD: small enough for a cloud's price per request (2e-7 USD), and integers add up exactly.
A price nobody knows is `None` ("unpriced"), never zero.
"""

from decimal import Decimal, InvalidOperation, localcontext
from typing import NewType

__all__ = ["NANO_PER_USD", "Money", "format_usd", "parse_usd", "usd"]

Money = NewType("Money", int)
"""An amount in nano-USD (1e-9 USD)."""

NANO_PER_USD = 1_000_000_000

_MAX_DIGITS = 30


def usd(amount: str | int | float | Decimal) -> Money:
    """Return `amount` US dollars as `Money`; fractions of a nano-USD are rounded half to even.

    Use this for computed amounts. For amounts that people write, `parse_usd` refuses what it cannot keep exactly.
    """
    try:
        exact = Decimal(str(amount))
        with localcontext() as context:
            context.prec = 60
            return Money(int((exact * NANO_PER_USD).to_integral_value()))
    except (InvalidOperation, OverflowError, ValueError) as error:
        raise ValueError(f"{amount!r} is not an amount in US dollars") from error


def parse_usd(text: str) -> Money:
    """Read a decimal string such as `"0.02"`; raise `ValueError` if it is not a number or finer than 1 nano-USD."""
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"amount is longer than {_MAX_DIGITS} characters")
    if not text.isascii() or not text.replace(".", "", 1).removeprefix("-").isdigit():
        raise ValueError(f"{text!r} is not a decimal amount such as '0.02'")
    amount = Decimal(text) * NANO_PER_USD
    if amount != amount.to_integral_value():
        raise ValueError(f"{text!r} is finer than one nano-USD (0.000000001)")
    return Money(int(amount))


def format_usd(amount: Money) -> str:
    """Return the shortest exact decimal string, with at least two decimals: `Money(8_400)` -> `"0.0000084"`."""
    sign = "-" if amount < 0 else ""
    whole, nano = divmod(abs(amount), NANO_PER_USD)
    decimals = f"{nano:09d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole}.{decimals}"
