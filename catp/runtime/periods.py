"""Periods of budgets: the whole time, or days, weeks (from Monday) and months in UTC.

A period is known by the ISO date on which it begins, so that periods of one kind sort as texts; `total` begins at "".
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal, TypeAlias, get_args

__all__ = ["PERIODS", "Period", "period_end_ns", "period_start"]

Period: TypeAlias = Literal["total", "day", "week", "month"]
PERIODS: tuple[Period, ...] = get_args(Period)

_DAY_NS = 86_400_000_000_000


def period_start(period: Period, at_ns: int) -> str:
    """Return the ISO date on which the period that holds `at_ns` (Unix nanoseconds) begins; "" for `total`."""
    return _start(period, at_ns // _DAY_NS)


def period_end_ns(period: Period, at_ns: int) -> int | None:
    """Return when the period that holds `at_ns` ends, in Unix nanoseconds; None for `total`."""
    if period == "total":
        return None
    start = datetime.fromisoformat(period_start(period, at_ns)).replace(tzinfo=UTC)
    if period == "month":
        end = (start + timedelta(days=32)).replace(day=1)
    else:
        end = start + timedelta(days=1 if period == "day" else 7)
    return int(end.timestamp()) * 1_000_000_000


@lru_cache(maxsize=256)  # asked for every reservation, and there is one answer a day
def _start(period: Period, day: int) -> str:
    if period == "total":
        return ""
    date = datetime.fromtimestamp(day * 86_400, UTC).date()
    if period == "week":
        date -= timedelta(days=date.weekday())
    elif period == "month":
        date = date.replace(day=1)
    return date.isoformat()
