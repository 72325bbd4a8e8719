"""What a budget will have spent by the end of its period, from what was spent on the days before.

Method: an empirical bootstrap (Efron, 1979). Each of 1,000 futures draws every coming day from the whole days of the
last four weeks, with replacement; of the day that is under way only the part that is left is drawn. p50 and p90 are
the medians and ninetieth percentiles of the futures' sums, day by day, so days are taken to be independent and alike:
no trend, no weekday. What running calls hold is not in it until it is spent.
"""

import random
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["HISTORY_DAYS", "LEAST_DAYS", "Cone", "forecast"]

HISTORY_DAYS, LEAST_DAYS = 28, 3
_FUTURES = 1_000
_SEED = 20_260_101


class Cone(NamedTuple):
    """Sums spent by the end of each coming day (the first is today), in nano-USD."""

    p50: tuple[int, ...]
    p90: tuple[int, ...]


def forecast(spent: int, history: Sequence[int], today_left: float, days: int) -> Cone | None:
    """Return the cone for the rest of today and `days` - 1 more days; None with fewer than 3 days of history.

    Args:
        spent: nano-USD spent so far.
        history: nano-USD spent on each of the last whole days.
        today_left: the part of today that is left, 0 to 1.
        days: how many days are left, today included.
    """
    if len(history) < LEAST_DAYS:
        return None
    draw = random.Random(_SEED)  # not numpy, which a server that only shows runs would load for this alone
    sums = [spent] * _FUTURES
    p50, p90 = [], []
    for day in range(days):
        part = today_left if day == 0 else 1.0
        sums = [
            upto + round(part * coming) for upto, coming in zip(sums, draw.choices(history, k=_FUTURES), strict=True)
        ]
        ordered = sorted(sums)
        p50.append(ordered[_FUTURES // 2 - 1])
        p90.append(ordered[_FUTURES * 9 // 10 - 1])
    return Cone(tuple(p50), tuple(p90))
