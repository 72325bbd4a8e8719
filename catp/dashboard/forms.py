"""How figures are written: money as decimal strings (null for unknown), times as ISO 8601 in UTC."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from catp.dashboard.problems import Problem
from catp.planlang.money import Money, format_usd, parse_usd
from catp.store.records import RunSummary

__all__ = [
    "FOREVER", "WORKED", "days_of", "iso", "known", "ms_between", "nano_of", "ns_of", "run_row", "usd", "without_user",
]  # fmt: skip

FOREVER = {"cache-control": "private, max-age=31536000, immutable"}
"""Headers of what follows from a digest."""

WORKED = frozenset({"ok", "failed", "skipped"})
"""States of steps that count as done in the progress of a run; those that something stopped do not."""

_DAY = re.compile(r"(19[789]|2[01]\d)\d-\d\d-\d\d")  # what 64 bits of nanoseconds can tell


def usd(nano: int | None) -> str | None:
    """Return an amount as a decimal string, None for unpriced."""
    return None if nano is None else format_usd(Money(int(nano)))


def known(nano: int, unpriced: int) -> str | None:
    """Return a sum, None if nothing is in it but rows without a price: that is no $0."""
    return None if unpriced and not nano else usd(nano)


def iso(ns: int | None) -> str | None:
    """Return a time, to the microsecond."""
    return None if ns is None else datetime.fromtimestamp(ns / 1e9, UTC).isoformat()


def ms_between(start_ns: int | None, end_ns: int | None) -> float | None:
    """Return the milliseconds between two times, None if either is unknown; 0 if the clock went back meanwhile."""
    return None if start_ns is None or end_ns is None else max(0.0, round((end_ns - start_ns) / 1e6, 3))


def ns_of(name: str, text: str | None) -> int | None:
    """Read a time of a query."""
    if text is None:
        return None
    try:
        # a + in a query that nobody escaped has become a space
        at = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1e9)
    except (ValueError, OverflowError):
        raise Problem(422, "query", f"{name}={text[:60]!r} is not an ISO 8601 time such as 2026-11-22") from None


def days_of(since: str | None, until: str | None) -> tuple[str, str]:
    """Read a span of days (ISO, both included); the last thirty if not given."""
    today = datetime.now(UTC).date()
    first, last = since or str(today - timedelta(days=29)), until or str(today)
    for name, day in (("from", first), ("to", last)):
        if not _DAY.fullmatch(day) or ns_of(name, day) is None:
            raise Problem(422, "query", f"{name}={day[:60]!r} is not a day such as 2026-11-22")
    if first > last:
        raise Problem(422, "query", f"from={first} is after to={last}")
    return first, last


def nano_of(name: str, text: str | None) -> int | None:
    """Read an amount of a query."""
    if text is None:
        return None
    try:
        nano = int(parse_usd(text))
    except ValueError as error:
        raise Problem(422, "query", f"{name}: {error}") from None
    if abs(nano) >= 1 << 63:
        raise Problem(422, "query", f"{name}={text[:60]!r} is more money than the store can hold")
    return nano


def without_user(url: str) -> str:
    """Return an address without user, password, query and fragment: each may hold a secret."""
    try:
        parts = urlsplit(url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    except ValueError:
        return "(not an address)"


def run_row(run: RunSummary) -> dict[str, Any]:
    """Return a run as lists show it; `cost.amount` leaves the `unpriced` rows out."""
    return {
        "id": run.id, "project": run.project, "agent": run.agent, "task": run.task, "policy": run.policy,
        "plan_hash": run.plan_hash, "status": run.status,
        "cost": {
            "amount": usd(run.cost), "est": usd(run.estimate.expected), "est_low": usd(run.estimate.low),
            "est_p95": usd(run.estimate.p95), "saved": usd(run.saved), "unpriced": run.unpriced,
        },
        "budget": usd(run.budget), "deadline_ms": run.deadline_ms, "latency_ms": run.latency_ms,
        "est_latency_ms": run.est_latency_ms, "alpha": run.alpha, "predicted_quality": run.predicted_quality,
        "quality": run.quality,
        "created": iso(run.created_ns), "ended": iso(run.ended_ns), "parent": run.parent, "fork_step": run.fork_step,
    }  # fmt: skip
