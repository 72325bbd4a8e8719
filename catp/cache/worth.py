"""Which kept results to give up when there is no more room: GreedyDual-Size-Frequency.

Every result has a priority `clock + uses * worth / bytes`. The one with the lowest priority goes first, and the clock
moves on to its priority, so that a result that was dear but is no longer asked for is overtaken by newer ones in time.
With the price of the call as its worth this maximises the money saved per byte (P. Cao, S. Irani, "Cost-aware WWW proxy
caching algorithms", USITS 1997; L. Cherkasova, "Improving WWW proxies performance with Greedy-Dual-Size-Frequency
caching policy", HP Laboratories HPL-98-69R1, 1998).
"""

from catp.planlang.money import Money

__all__ = ["OVERHEAD", "priority", "worth"]

OVERHEAD = 512
"""Bytes that a result takes besides its value: its key, its row, its place in the indexes."""

_NANO_USD_PER_MS = 1
"""What a millisecond of waiting is worth, so that free or unpriced calls are kept by the time they take ($3.60/h)."""


def worth(price: Money | None, ms: float) -> float:
    """Return what it is worth, in nano-USD, not to make a call again that cost `price` and took `ms`."""
    return (price or 0) + _NANO_USD_PER_MS * max(0.0, ms)


def priority(clock: float, uses: int, value: float, size: int) -> float:
    """Return the priority of a result worth `value` that was asked for `uses` times (once: when it was made)."""
    return clock + uses * value / size
