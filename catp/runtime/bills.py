"""What a call is charged: what it used if it said so, else the time it took, else what was held for it."""

from typing import NamedTuple

from catp.planlang.money import Money
from catp.tools.charges import charges_of
from catp.tools.errors import Billing, PriceModelError
from catp.tools.price import needs
from catp.tools.spec import ToolSpec
from catp.tools.usage import Charge, Usage

__all__ = ["NO_USAGE", "Bill", "bill_elapsed", "bill_failed", "bill_unsaid", "bill_usage"]

NO_USAGE = Usage()


class Bill(NamedTuple):
    """What to settle a call with; without `charges` it keeps what was held for it. `note` goes into the ledger."""

    charges: tuple[Charge, ...] | None
    note: str = ""
    estimated: bool = False


def bill_usage(spec: ToolSpec, usage: Usage) -> Bill:
    """Charge what a call says it used."""
    try:
        charges = charges_of(spec.price, usage)
    except PriceModelError as error:
        return Bill(None, f"its price model failed: {error}")
    if charges is None:
        return Bill(None, "its price model does not know the price of this call")
    return Bill(charges)


def bill_unsaid(spec: ToolSpec, usage: Usage, error_type: str) -> Bill:
    """Charge a call that its provider may or may not bill as if it did: the budget must hold either way."""
    charges, problem, _ = bill_usage(spec, usage)
    note = f"{error_type}: whether the provider bills this call is not known"
    return Bill(charges, f"{note}; {problem}" if problem else note, estimated=True)


def bill_elapsed(spec: ToolSpec, ms: float, held: Money) -> Bill:
    """Charge a call that did not say what it used as if it had computed all the time, but at most what was held."""
    if needs(spec.price) == frozenset():
        return bill_usage(spec, NO_USAGE)
    charges, problem, _ = bill_usage(spec, Usage(wall_ms=ms, cpu_ms=ms))
    total = sum(charge.amount for charge in charges or ())
    if charges is not None and (0 < total <= held or not held):
        return Bill(charges, "the tool did not say what it used: priced by elapsed time", estimated=True)
    return Bill(None, problem or "the tool did not say what it used: the reserved amount is kept")


def bill_failed(spec: ToolSpec, usage: Usage | None, billing: Billing, error_type: str, ms: float, held: Money) -> Bill:
    """Charge a call that failed after `ms` milliseconds: what it used if it said so."""
    if billing == "nothing":
        return Bill(())
    if billing == "unknown":
        return bill_unsaid(spec, usage or NO_USAGE, error_type)
    if usage is None or usage == NO_USAGE:
        return bill_elapsed(spec, ms, held)
    return bill_usage(spec, usage)
