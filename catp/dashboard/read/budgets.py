"""Budgets as people watch them: what is spent, held and left, how fast it goes, and where that leads."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from catp.dashboard.forms import iso, usd
from catp.dashboard.read.forecast import HISTORY_DAYS, forecast
from catp.dashboard.read.span import days_between
from catp.runtime.periods import period_end_ns, period_start
from catp.store.budget_report import report_on
from catp.store.budgets import Budget, Standing, standings
from catp.store.statements import query

__all__ = ["budget_row", "budgets"]

_DAY_NS = 86_400 * 10**9
_SHOWN_DAYS = 90
_AHEAD_DAYS = 30


class _Now(NamedTuple):
    ns: int
    day: str

    @property
    def day_left(self) -> float:
        """The part of today that is left."""
        return 1 - self.ns % _DAY_NS / _DAY_NS


def budgets(connection: Connection, now_ns: int) -> list[dict[str, Any]]:
    """Return every budget as it stands at `now_ns` (Unix nanoseconds), by scope, name and period."""
    now = _Now(now_ns, period_start("day", now_ns))
    found = standings(connection, now_ns)
    daily = _daily(connection, [standing.budget for standing in found], now)
    return [_row(connection, standing, daily[standing.budget.scope, standing.budget.name], now) for standing in found]


def budget_row(connection: Connection, id: str, now_ns: int) -> dict[str, Any]:
    """Return one budget; raise `KeyError` if there is none."""
    row = next((row for row in budgets(connection, now_ns) if row["id"] == id), None)
    if row is None:
        raise KeyError(f"there is no budget {id[:60]!r}; somebody may have removed it")
    return row


def _row(connection: Connection, standing: Standing, daily: Mapping[str, int], now: _Now) -> dict[str, Any]:
    budget, report = standing.budget, report_on(connection, standing.budget, now.ns)
    end_ns = period_end_ns(budget.period, now.ns)
    reached = [level for level in budget.warn if standing.spent >= level * budget.cap]
    days = _days(standing, daily, now)
    return {
        "id": budget.id, "scope": budget.scope, "name": budget.name, "title": budget.title, "period": budget.period,
        "limit": usd(budget.cap), "spent": usd(standing.spent), "held": usd(standing.reserved),
        "left": usd(standing.available), "over": usd(max(0, standing.spent - budget.cap)),
        "share": standing.spent / budget.cap, "warn": list(budget.warn), "reached": reached,
        **_state(standing, reached),
        "start": standing.start or None, "end": iso(end_ns),
        "fired": [
            {"level": told.level, "period": told.start or None, "at": iso(told.at_ns), "run": told.run_id}
            for told in report.told
        ],
        "holdings": [
            {"run": one.run_id, "step": one.step, "amount": usd(one.amount), "expired": one.expired}
            for one in report.holdings
        ],
        "periods": [{"start": start or None, "spent": usd(spent)} for start, spent in report.periods],
        "overruns": {"calls": report.overruns.calls, "amount": usd(report.overruns.amount)},
        "days": days, **_outlook(standing, daily, now, end_ns),
    }  # fmt: skip


def _state(standing: Standing, reached: Sequence[float]) -> dict[str, str]:
    """How it stands, as a word for programs and in words for people."""
    if standing.spent > standing.budget.cap:
        return {"state": "over", "says": f"over by ${usd(standing.spent - standing.budget.cap)}"}
    if reached:
        return {"state": "warn", "says": f"{100 * max(reached):g} % reached"}
    if standing.available <= 0:
        return {"state": "warn", "says": "all of it held"}
    return {"state": "ok", "says": "within the limit"}


def _days(standing: Standing, daily: Mapping[str, int], now: _Now) -> list[dict[str, Any]]:
    """The burn-down: every day of the period so far (of `total`, the last ninety) with what was spent and what is left.

    It is reckoned back from what is spent now, so the last day is exact; what the days do not hold (earlier days, an
    agent's runs that are no longer kept) was spent before the first.
    """
    first = standing.start or min(daily, default=now.day)
    days = days_between(first, max(now.day, first))[-_SHOWN_DAYS:]
    spent, found = int(standing.spent), list[dict[str, Any]]()
    for day in reversed(days):
        amount = daily.get(day, 0)
        found.append({"day": day, "amount": usd(amount), "spent": usd(spent), "left": usd(standing.budget.cap - spent)})
        spent -= amount
    return found[::-1]


def _outlook(standing: Standing, daily: Mapping[str, int], now: _Now, end_ns: int | None) -> dict[str, Any]:
    """`burn` is the mean of the last whole days (up to four weeks), in US dollars a day; `forecast` says where the
    period ends (`total`: thirty days ahead) and how, see `catp.dashboard.read.forecast`; `runs_out` is the first day by
    whose end the limit is passed, in half and in a tenth of all futures."""
    past = _history(daily, now)
    ends = now.ns + _AHEAD_DAYS * _DAY_NS if end_ns is None else end_ns
    ahead = days_between(now.day, period_start("day", ends - 1))
    cone = forecast(int(standing.spent), past, now.day_left, len(ahead))
    told = {"burn": usd(round(sum(past) / len(past))) if past else None, "history_days": len(past)}
    if cone is None:
        return told | {"forecast": None, "runs_out": None, "passes": None}
    cap = standing.budget.cap
    likely, perhaps = _first_over(ahead, cone.p50, cap), _first_over(ahead, cone.p90, cap)
    passes = f"likely {likely}" if likely else f"perhaps {perhaps}" if perhaps else "not in sight"
    return told | {
        "forecast": {
            "at": iso(ends), "p50": usd(cone.p50[-1]), "p90": usd(cone.p90[-1]),
            "days": [
                {"day": day, "p50": usd(p50), "p90": usd(p90)}
                for day, p50, p90 in zip(ahead, cone.p50, cone.p90, strict=True)
            ],
        },
        "runs_out": {"p50": likely, "p90": perhaps}, "passes": "already" if standing.spent > cap else passes,
    }  # fmt: skip


def _first_over(days: Sequence[str], sums: Sequence[int], cap: int) -> str | None:
    return next((day for day, spent in zip(days, sums, strict=True) if spent > cap), None)


def _history(daily: Mapping[str, int], now: _Now) -> list[int]:
    """What was spent on each whole day of the last four weeks, from the first that anything was spent on."""
    first = _day_before(now, HISTORY_DAYS)
    began = min((day for day in daily if first <= day < now.day), default=None)
    earlier = any(day < first for day in daily)
    if began is None and not earlier:
        return []
    return [daily.get(day, 0) for day in days_between(first if earlier or began is None else began, now.day)[:-1]]


def _day_before(now: _Now, days: int) -> str:
    return datetime.fromtimestamp(now.ns // 10**9 - days * 86_400, UTC).date().isoformat()


def _daily(connection: Connection, of: Sequence[Budget], now: _Now) -> dict[tuple[str, str], dict[str, int]]:
    """Spend by day of each project and agent that has a budget. That of agents comes from the ledger."""
    found: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    if any(budget.scope == "project" for budget in of):
        for project, day, cost in query(
            connection, "SELECT project, day, SUM(cost_nano) FROM rollup_day WHERE kind = 'policy' AND day <= ? "
            "GROUP BY project, day", now.day,
        ):  # fmt: skip
            found["project", project][day] = int(cost)
    agents = sorted({budget.name for budget in of if budget.scope == "agent"})
    if agents:
        for agent, day, cost in query(
            connection, f"SELECT r.agent, c.ts_ns / {_DAY_NS}, SUM(c.amount_nano) FROM costs c "
            f"JOIN runs r ON r.id = c.run_id WHERE r.agent IN ({', '.join('?' * len(agents))}) "
            "AND c.amount_nano IS NOT NULL GROUP BY 1, 2", *agents,
        ):  # fmt: skip
            found["agent", agent][period_start("day", int(day) * _DAY_NS)] = int(cost)
    return found
