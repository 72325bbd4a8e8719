"""One tool: prices and times by day and by input size, how good the estimates were, versions, errors, latest calls."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any

from sqlalchemy import Connection

from catp.dashboard.forms import iso, known, usd
from catp.dashboard.read.span import bounds, length
from catp.dashboard.read.tool_calls import Call, latest, paid, quantile, versions
from catp.dashboard.read.tool_use import ToolUse, uses
from catp.dashboard.read.tools import bias, tool_row
from catp.runtime.periods import period_start
from catp.store.rollups import by_day, leaderboard
from catp.store.statements import query
from catp.store.tables import NO_ELEMENT

__all__ = ["tool_page"]

_SAMPLE = 10_000
_SHOWN = 20
_BINS = 10


def tool_page(connection: Connection, name: str, since: str, until: str) -> dict[str, Any]:
    """Return the page of a tool over the days `since` to `until`; raise `KeyError` if it was never called.

    Days, times and counts are of all calls. What is said of single prices is of the latest 10,000 calls, taken in equal
    parts from every day, if there were more: `sample` of `summary.n`.
    """
    first, last = bounds(since, until)
    rows = by_day(connection, name, since=since, until=until)
    limit = max(_SHOWN, _SAMPLE // max(1, len(rows)))
    calls = [call for day, _ in rows for call in latest(connection, name, *bounds(day, day), limit)]
    newest = latest(connection, name, first, last, _SHOWN)
    if not rows and not newest and not versions(connection, name):
        raise KeyError(f"no call of a tool {name[:100]!r} is in the store; /tools lists those there are")
    row = next((row for row in leaderboard(connection, since=since, until=until) if row.name == name), None)
    use = uses(connection, first, last).tools.get(name, ToolUse(None, None, None))
    made = paid(calls)
    return {
        "name": name, "from": since, "to": until, "days": length(since, until),
        "summary": None if row is None else tool_row(row, calls, use), "sample": len(calls),
        "history": _history(rows, made), "sizes": _sizes(made),
        "calibration": {"cost": _cost_calibration(made), "ms": _time_calibration(made)},
        "versions": _versions(connection, name, first, last, calls), "errors": _errors(calls),
        "latest": [_call(call) for call in newest],
    }  # fmt: skip


def _history(rows: Sequence[Any], made: Sequence[Call]) -> list[dict[str, Any]]:
    """Every day with calls. Prices are of the sample, times and counts of all."""
    days: dict[str, list[Call]] = defaultdict(list)
    for call in made:
        days[period_start("day", call.started_ns)].append(call)
    return [
        {
            "day": day, "n": row.n, "fail": (row.n - row.ok) / row.n if row.n else None,
            "cost": known(row.cost, row.unpriced),
            "unpriced": row.unpriced, "price_p50": usd(quantile((call.cost for call in days[day]), 0.5)),
            "price_p90": usd(quantile((call.cost for call in days[day]), 0.9)),
            "est_p50": usd(quantile((call.estimate for call in days[day]), 0.5)),
            "p50_ms": row.p50_ms, "p95_ms": row.p95_ms, "p99_ms": row.p99_ms,
        }
        for day, row in rows
    ]  # fmt: skip


def _sizes(made: Sequence[Call]) -> list[dict[str, Any]]:
    """Levels of input size as profiles have them (`catp.tools.buckets`): from 2^k to 2^(k+1) - 1 units."""
    levels: dict[int, list[Call]] = defaultdict(list)
    for call in made:
        if call.size:
            levels[call.size.bit_length() - 1].append(call)
    return [
        {
            "from": 2**level, "to": 2 ** (level + 1) - 1, "n": len(some),
            "price_p50": usd(quantile((call.cost for call in some), 0.5)),
            "price_p90": usd(quantile((call.cost for call in some), 0.9)),
            "est_p50": usd(quantile((call.estimate for call in some), 0.5)),
            "p50_ms": quantile((call.ms for call in some), 0.5), "p95_ms": quantile((call.ms for call in some), 0.95),
        }
        for level, some in sorted(levels.items())
    ]  # fmt: skip


def _cost_calibration(made: Sequence[Call]) -> dict[str, Any]:
    """What is reserved for a call is its p95, unless the agent was told to reserve another level."""
    told = [(c.estimate, c.cost, c.held) for c in made if c.estimate is not None and c.cost is not None]
    return _calibration(told, lambda nano: usd(round(nano)))


def _time_calibration(made: Sequence[Call]) -> dict[str, Any]:
    return _calibration([(c.est_ms, c.ms, c.p95_ms) for c in made if c.est_ms and c.ms is not None], float)


def _calibration(told: Sequence[tuple[Any, Any, Any]], shown: Callable[[float], Any]) -> dict[str, Any]:
    """Compare (expected, actual, p95 or None).

    bins: the calls by rising prediction in up to ten parts of about equal size, those with the same prediction
    together: mean predicted, mean actual (a reliability diagram; Murphy and Winkler, 1977). bias = sum of actual / sum
    of predicted - 1. coverage = share of calls with actual <= p95, to be 95 %. median_error = median of
    |actual - predicted| / predicted.
    """
    ordered = sorted(told, key=lambda one: float(one[0]))
    cuts = _cuts([one[0] for one in ordered])
    bounded = [(actual, p95) for _, actual, p95 in ordered if p95 is not None]
    return {
        "n": len(ordered),
        "bins": [
            {
                "n": end - start, "predicted": shown(fmean(one[0] for one in ordered[start:end])),
                "actual": shown(fmean(one[1] for one in ordered[start:end])),
            }
            for start, end in pairwise(cuts)
        ],
        "bias": bias((said, was) for said, was, _ in ordered),
        "coverage": sum(actual <= p95 for actual, p95 in bounded) / len(bounded) if bounded else None,
        "bounded": len(bounded),
        "median_error": quantile((abs(was - said) / said for said, was, _ in ordered if said), 0.5),
    }  # fmt: skip


def _cuts(ordered: Sequence[float]) -> list[int]:
    """Where the parts begin, and the end: never between equal values, which nothing would tell apart."""
    starts = [place for place, value in enumerate(ordered) if not place or value != ordered[place - 1]]
    wanted = [len(ordered) * part / _BINS for part in range(_BINS)]
    return [*sorted({next((s for s in starts if s >= at), 0) for at in wanted}), len(ordered)] if starts else []


def _versions(connection: Connection, name: str, first: int, last: int, calls: Sequence[Call]) -> list[dict[str, Any]]:
    counted = query(
        connection, "SELECT version, COUNT(*) AS n, MIN(started_ns) AS since, MAX(started_ns) AS latest FROM calls "
        "WHERE tool = ? AND started_ns >= ? AND started_ns < ? GROUP BY version ORDER BY version", name, first, last,
    )  # fmt: skip
    return [
        {
            "version": row.version, "n": int(row.n), "first": iso(row.since), "last": iso(row.latest),
            "price_p50": usd(quantile((c.cost for c in paid(calls) if c.version == row.version), 0.5)),
            "p50_ms": quantile((c.ms for c in paid(calls) if c.version == row.version), 0.5),
        }
        for row in counted
    ]  # fmt: skip


def _errors(calls: Sequence[Call]) -> list[dict[str, Any]]:
    """What went wrong, most often first, each with the latest run in which it did."""
    kinds: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        if call.error_type or call.outcome in ("error", "timeout", "rejected"):
            kinds[call.error_type or str(call.outcome)].append(call)
    return [
        {
            "type": kind, "n": len(some), "last": iso((newest := max(some, key=lambda c: c.started_ns)).started_ns),
            "run": newest.run_id, "step": newest.step, "reason": (newest.reason or "")[:500],
        }
        for kind, some in sorted(kinds.items(), key=lambda item: (-len(item[1]), item[0]))
    ]  # fmt: skip


def _call(call: Call) -> dict[str, Any]:
    return {
        "run": call.run_id, "step": call.step, "element": None if call.element == NO_ELEMENT else call.element,
        "attempt": call.attempt, "version": call.version, "outcome": call.outcome, "cached": bool(call.cached),
        "start": iso(call.started_ns), "cost": usd(call.cost), "est": usd(call.estimate), "ms": call.ms,
        "est_ms": call.est_ms, "size": call.size, "error": call.error_type,
    }  # fmt: skip
