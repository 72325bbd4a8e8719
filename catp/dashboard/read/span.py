"""Spans of whole days in UTC, both ends included, as ISO dates."""

from datetime import UTC, date, datetime, timedelta

__all__ = ["before", "bounds", "days_between", "length"]

_DAY = timedelta(days=1)


def bounds(since: str, until: str) -> tuple[int, int]:
    """Return when the span begins and when it is over, in Unix nanoseconds."""
    return _ns(date.fromisoformat(since)), _ns(date.fromisoformat(until) + _DAY)


def length(since: str, until: str) -> int:
    """Return how many days the span has."""
    return (date.fromisoformat(until) - date.fromisoformat(since)).days + 1


def before(since: str, until: str) -> tuple[str, str]:
    """Return the span of as many days that ends on the day before."""
    first = date.fromisoformat(since)
    return str(first - _DAY * length(since, until)), str(first - _DAY)


def days_between(first: str, last: str) -> list[str]:
    """Return every day from `first` to `last`."""
    start = date.fromisoformat(first)
    return [str(start + _DAY * n) for n in range(length(first, last))]


def _ns(day: date) -> int:
    return round(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 10**9
