"""What planning in this process costs: the CPU time of the thread that plans, at the price of a local tool's.

There is no fee per call, since nothing is requested of anybody, and memory is not charged for: the process holds it
anyway, as with tools that run in threads.
"""

import time
from collections.abc import Callable
from dataclasses import replace

from catp.planlang.money import Money
from catp.planners.protocol import PlanningFailed, PlanRequest, Proposal
from catp.tools.price import ComputePrice
from catp.tools.usage import Usage

__all__ = ["cpu_price", "metered"]

_PRICE = ComputePrice(fee_usd=0)


def cpu_price(ms: float) -> Money:
    """The price of so many milliseconds of CPU time in this process."""
    return Money(sum(charge.amount for charge in _PRICE.charge(Usage(cpu_ms=ms))))


def metered(search: Callable[[PlanRequest], Proposal], request: PlanRequest) -> Proposal:
    """Plan in this thread, and add to the proposal, or to the `PlanningFailed`, what that cost."""
    began = time.thread_time()
    try:
        found = search(request)
    except PlanningFailed as error:
        error.price = cpu_price((time.thread_time() - began) * 1e3)
        raise
    return replace(found, price=cpu_price((time.thread_time() - began) * 1e3))
