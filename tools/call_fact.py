"""One finished call as the ledger remembers it: what profiles are learned from, and rebuilt from."""

from typing import NamedTuple

from catp.planlang.money import Money
from catp.planlang.registry_view import Latency, PriceRange, Size
from catp.tools.usage import Usage

__all__ = ["CallFact"]


class CallFact(NamedTuple):
    """What one call used and cost, beside what was predicted before it was made.

    Args:
        tool: Its name.
        version: Its version: profiles belong to one version of a tool.
        at_ns: When the call ended, in nanoseconds of the run's clock; facts are learned in this order.
        size: Units of its input (`catp.tools.sizes.input_units`), at least 1.
        output: Size of its result; None if it failed or the result was not measured.
        usage: What it used.
        amount: What it cost in nano-USD; None if unpriced.
        predicted: The price predicted before the call; None if nothing was predicted.
        predicted_ms: The time predicted before the call; None if nothing was known of it.
        failed: True if it gave no usable result.
    """

    tool: str
    version: str
    at_ns: int
    size: int
    output: Size | None
    usage: Usage
    amount: Money | None
    predicted: PriceRange | None
    predicted_ms: Latency | None
    failed: bool
