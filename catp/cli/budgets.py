"""`catp budgets`: caps for projects and agents that hold for all their runs together, in whatever process."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from catp.cli.config import settings_or_fail
from catp.cli.deeds import note
from catp.cli.options import JsonOption
from catp.cli.output import (
    EXIT_FAILED,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    dollars,
    emit_json,
    emit_text,
    fail,
)
from catp.planlang.money import Money, format_usd, parse_usd
from catp.runtime.periods import PERIODS, Period

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from catp.store.budget_report import BudgetReport
    from catp.store.budgets import Budget, Standing

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Budgets that all runs of a project or agent share."
)

StoreOption = Annotated[str | None, typer.Option("--store", metavar="FILE|URL", help="The store of saved runs.")]
ScopeArgument = Annotated[str, typer.Argument(metavar="project:NAME|agent:NAME", help="Whose budget.")]
PerOption = Annotated[
    str | None, typer.Option("--per", metavar="day|week|month", help="Start again in every period (UTC).")
]
T = TypeVar("T")


@app.command(name="set")
def set_(
    whose: ScopeArgument,
    cap: Annotated[str, typer.Argument(metavar="USD", help="The most that may be spent.")],
    per: PerOption = None,
    warn: Annotated[str, typer.Option(metavar="50%,80%", help="Warn once when so much of it is spent.")] = "80%,100%",
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Set a budget, or change its cap and warn levels. What was spent before counts."""
    from catp.store.budgets import set_budget

    scope, name = _scope(whose)
    period, amount, levels = _period(per), _amount(cap), _levels(warn)

    def work(connection: "Connection") -> None:
        before = [old for old in _there(connection, scope, name) if old.period == period]
        made = set_budget(connection, scope, name, period, amount, levels, time.time_ns())
        caps = {"limit": format_usd(made.cap), "before": format_usd(before[0].cap) if before else None}
        note(connection, "budget.set", made.title, warn=list(made.warn), **caps)

    _write(store, work)
    standing = next(s for s in _standings(store) if s.budget[1:4] == (scope, name, period))
    if json_:
        emit_json("catp.budget/1", _json(standing))
    else:
        emit_text(f"{standing.budget.title}: {_left(standing)}")


@app.command(name="list")
def list_(store: StoreOption = None, json_: JsonOption = False) -> None:
    """List all budgets with what is spent, held and left."""
    found = _standings(store)
    if json_:
        emit_json("catp.budgets/1", {"budgets": [_json(standing) for standing in found]})
        return
    if not found:
        emit_text("no budgets; make one with: catp budgets set project:default 5 --per day")
        return
    from catp.cli.report import columns

    table: list[tuple[str, ...]] = [("budget", "period from", "cap", "spent", "held", "left")]
    for s in found:
        amounts = (dollars(s.budget.cap), dollars(s.spent), dollars(s.reserved), _signed(s.available))
        table.append((s.budget.title, s.start or "-", *amounts))
    emit_text("\n".join(columns(table, right=(2, 3, 4, 5))))


@app.command()
def show(whose: ScopeArgument, store: StoreOption = None, json_: JsonOption = False) -> None:
    """Show the budgets of a project or agent: periods, money held, warnings told, calls dearer than what was held."""
    from catp.store.budget_report import report_on

    scope, name = _scope(whose)
    found = [s for s in _standings(store) if (s.budget.scope, s.budget.name) == (scope, name)]
    if not found:
        _missing(whose, store)
    now = time.time_ns()
    reports = [_read(store, lambda c, s=s: report_on(c, s.budget, now)) for s in found]  # type: ignore[misc]
    if json_:
        both = zip(found, reports, strict=True)
        emit_json("catp.budget.show/1", {"budgets": [{**_json(s), **_report_json(r)} for s, r in both]})
        return
    for standing, report in zip(found, reports, strict=True):
        emit_text("\n".join(_lines(standing, report)))


@app.command()
def remove(
    whose: ScopeArgument,
    per: Annotated[str | None, typer.Option("--per", metavar="total|day|week|month", help="Only this one.")] = None,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Remove budgets: their runs go on without them."""
    from catp.store.budgets import remove_budget

    scope, name = _scope(whose)
    period = None if per is None else _period(per)

    def work(connection: "Connection") -> int:
        for old in _there(connection, scope, name):
            if period is None or old.period == period:
                note(connection, "budget.remove", old.title, limit=format_usd(old.cap))
        return remove_budget(connection, scope, name, period)

    removed = _write(store, work)
    if not removed:
        _missing(whose, store)
    if json_:
        emit_json("catp.budgets.removed/1", {"budget": whose, "removed": removed})
    else:
        emit_text(f"removed {removed} budget{'s' if removed != 1 else ''} of {whose}")


# --- what is shown --------------------------------------------------------------------------------------------------


def _json(standing: "Standing") -> dict[str, Any]:
    budget = standing.budget
    return {
        "scope": budget.scope, "name": budget.name, "period": budget.period, "period_start": standing.start or None,
        "cap_usd": format_usd(budget.cap), "spent_usd": format_usd(standing.spent),
        "reserved_usd": format_usd(standing.reserved), "available_usd": format_usd(standing.available),
        "over_usd": format_usd(Money(max(0, standing.spent - budget.cap))), "warn": list(budget.warn),
    }  # fmt: skip


def _report_json(report: "BudgetReport") -> dict[str, Any]:
    return {
        "periods": [{"start": start or None, "spent_usd": format_usd(spent)} for start, spent in report.periods],
        "held": [
            {"run": h.run_id, "step": h.step, "amount_usd": format_usd(h.amount), "expired": h.expired}
            for h in report.holdings
        ],
        "warned": [
            {"level": t.level, "period_start": t.start or None, "at": _iso(t.at_ns), "run": t.run_id}
            for t in report.told
        ],
        "overruns": {"calls": report.overruns.calls, "amount_usd": format_usd(report.overruns.amount)},
    }


def _lines(standing: "Standing", report: "BudgetReport") -> list[str]:
    lines = [f"{standing.budget.title}: {_left(standing)}"]
    lines += [f"  from {start or 'the beginning'}: {dollars(spent)} spent" for start, spent in report.periods]
    for held in report.holdings:
        state = "expired, given back" if held.expired else "held"
        lines.append(f"  {dollars(held.amount)} {state} for {held.step} of run {held.run_id}")
    for told in report.told:
        where = f" in run {told.run_id}" if told.run_id else ""
        lines.append(f"  {told.level:.0%} reached at {_iso(told.at_ns)}{where}")
    calls, over = report.overruns
    if calls:
        lines.append(f"  {calls} calls cost {dollars(over)} more than was held for them")
    return lines


def _left(standing: "Standing") -> str:
    text = f"{dollars(standing.spent)} of {dollars(standing.budget.cap)} spent"
    if standing.reserved:
        text += f", {dollars(standing.reserved)} held by running calls"
    over = standing.spent - standing.budget.cap
    return text + (f", {dollars(Money(over))} over the cap" if over > 0 else f", {_signed(standing.available)} left")


def _signed(amount: Money) -> str:
    return dollars(amount) if amount >= 0 else f"-{dollars(Money(-amount))}"


def _iso(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- what is given --------------------------------------------------------------------------------------------------


def _scope(whose: str) -> tuple[str, str]:
    scope, colon, name = whose.partition(":")
    if scope not in ("project", "agent") or not colon or not name:
        fail(f"{whose!r}: write project:NAME or agent:NAME", EXIT_USAGE)
    return scope, name


def _period(per: str | None) -> Period:
    found = next((period for period in PERIODS if period == (per or "total")), None)
    if found is None:
        fail(f"--per {per!r}: write {', '.join(PERIODS[1:])} or leave it out", EXIT_USAGE)
    return found


def _amount(text: str) -> Money:
    try:
        amount = parse_usd(text.removeprefix("$"))
    except ValueError as error:
        fail(f"{text!r}: {error}", EXIT_USAGE)
    if amount <= 0:
        fail("a budget must be more than $0", EXIT_USAGE, help="catp budgets remove ends it")
    return amount


def _levels(text: str) -> tuple[float, ...]:
    try:
        levels = tuple(float(part.strip().removesuffix("%")) / 100 for part in text.split(",") if part.strip())
    except ValueError:
        fail(f"--warn {text!r}: write percentages such as 50%,80%", EXIT_USAGE)
    if not all(0 < level <= 1 for level in levels):
        fail(f"--warn {text!r}: levels must be above 0% and at most 100%", EXIT_USAGE)
    return levels


def _missing(whose: str, store: str | None) -> NoReturn:
    known = sorted({f"{s.budget.scope}:{s.budget.name}" for s in _standings(store)})
    fail(f"{whose} has no budget", EXIT_FAILED, help=f"there are: {', '.join(known)}" if known else "there are none")


def _standings(store: str | None) -> "list[Standing]":
    from catp.store.budgets import standings

    return _read(store, lambda connection: standings(connection, time.time_ns()))


def _read(store: str | None, work: "Callable[[Connection], T]") -> T:
    return _with_store(store, work, write=False)


def _there(connection: "Connection", scope: str, name: str) -> "list[Budget]":
    from catp.store.budgets import standings

    found = (standing.budget for standing in standings(connection, time.time_ns()))
    return [budget for budget in found if (budget.scope, budget.name) == (scope, name)]


def _write(store: str | None, work: "Callable[[Connection], T]") -> T:
    return _with_store(store, work, write=True)


def _with_store(store: str | None, work: "Callable[[Connection], T]", *, write: bool) -> T:
    from catp.store.database import open_database
    from catp.store.errors import StoreError

    database = open_database(settings_or_fail(store=store).store, busy_s=10.0)
    try:
        return database.write(work, durable=True) if write else database.read(work)
    except StoreError as error:
        fail(str(error), EXIT_UNREACHABLE, help="name another store with --store")
    finally:
        database.close()
