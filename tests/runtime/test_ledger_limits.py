"""Limits that several ledgers share: scopes, periods, warn levels; rows of an earlier life; what is held for a call."""

import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catp.planlang.money import Money, usd
from catp.planlang.registry_view import UNPRICED, PriceRange
from catp.runtime.ledger import BudgetRefused, CallKey, Ledger, Limit, Reservation
from catp.runtime.limits import crossed, upper_price, why_refused
from catp.runtime.periods import period_end_ns, period_start
from catp.runtime.planning import Planning
from catp.tools.usage import Charge

KEY = CallKey("run", "step", 1, "tool")


def charge(amount: int) -> Charge:
    return Charge("call", 1.0, "call", "?", Money(amount))


def held(ledger: Ledger, amount: int, **options: object) -> Reservation:
    found = ledger.reserve(KEY, Money(amount), **options)  # type: ignore[arg-type]
    assert isinstance(found, Reservation), found
    return found


def refused(ledger: Ledger, amount: int, **options: object) -> BudgetRefused:
    found = ledger.reserve(KEY, Money(amount), **options)  # type: ignore[arg-type]
    assert isinstance(found, BudgetRefused), found
    return found


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


class Wall:
    """A clock that is set by hand."""

    def __init__(self, text: str) -> None:
        self.ns = at(text)

    def __call__(self) -> int:
        return self.ns

    def set(self, text: str) -> None:
        self.ns = at(text)


# --- scopes ---------------------------------------------------------------------------------------------------------


def test_runs_of_one_agent_share_its_limit() -> None:
    agent = Limit(Money(100), "agent:me", scope="agent")
    one, two = Ledger(Money(80), within=[agent]), Ledger(within=[agent])
    first = held(one, 70)
    no = refused(two, 40)
    assert (no.limit, no.cause, no.needed, no.available, no.short) == ("agent:me", "held", 40, 30, 10)
    one.settle(first, [charge(50)])
    held(two, 40)
    assert (agent.spent, agent.reserved, one.spent, two.spent) == (50, 40, 50, 0)
    assert refused(one, 31).limit == "the budget"


def test_threads_that_share_a_limit_never_pass_it_together() -> None:
    agent = Limit(Money(1000), "agent:me", scope="agent")
    barrier = threading.Barrier(4)

    def work() -> None:
        ledger = Ledger(within=[agent])
        barrier.wait()
        for _ in range(500):
            found = ledger.reserve(KEY, Money(3))
            if isinstance(found, Reservation):
                ledger.settle(found, [charge(2)])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert agent.reserved == 0
    assert 1000 - 3 <= agent.spent <= 1000


def test_kept_money_stays_free_beside_optional_calls_but_not_in_the_limit_of_a_step() -> None:
    ledger, step = Ledger(Money(100)), Limit(Money(30), "the step's @budget", scope="step")
    no = refused(ledger, 30, kept=Money(80))
    assert (no.cause, no.wait, no.kept, no.short) == ("kept", True, 80, 10)
    assert "may be needed by steps that required outputs depend on" in no.reason
    held(ledger, 20, kept=Money(80), within=[step])
    assert refused(ledger, 20, within=[step]).cause == "held"


def test_a_refusal_is_told_in_decimal_strings() -> None:
    assert refused(Ledger(usd("0.01")), usd("0.03")).to_json() == {
        "limit": "the budget", "cause": "spent", "needed": "0.03", "available": "0.01", "short": "0.02",
    }  # fmt: skip
    unknown = Ledger(usd("1")).reserve(KEY, None)
    assert isinstance(unknown, BudgetRefused)
    assert unknown.short is None
    assert unknown.to_json() == {"limit": "the budget", "cause": "unpriced", "available": "1.00"}


@given(*[st.integers(0, 100)] * 6)
def test_a_refusal_says_truly_what_it_would_take(
    cap: int, spent: int, own: int, others: int, amount: int, kept: int
) -> None:
    cap += 1

    def ask(cap: int, own: int = own, others: int = others, kept: int = kept) -> BudgetRefused | None:
        return why_refused(
            "t", Money(amount), name="b", cap=Money(cap), spent=spent, reserved=own + others, others=others, kept=kept
        )

    found = ask(cap)
    if found is None:
        assert spent + own + others + amount + kept <= cap
        return
    assert found.short is not None
    assert ask(cap + found.short) is None
    assert ask(cap + found.short - 1) is not None
    if found.cause == "spent":
        assert ask(cap, own=0, others=0, kept=0) is not None
    elif found.cause == "kept":
        assert ask(cap, kept=0) is None
    elif found.cause == "held":
        assert ask(cap, own=0, kept=0) is None
    else:
        assert ask(cap, own=0, others=0, kept=0) is None


# --- periods --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("period", "moment", "start", "end"),
    [
        ("total", "2026-02-28T12:00:00", "", None),
        ("day", "2026-02-28T23:59:59", "2026-02-28", "2026-03-01T00:00:00"),
        ("week", "2026-11-22T10:00:00", "2026-11-16", "2026-11-23T00:00:00"),  # a Sunday
        ("week", "2026-11-23T00:00:00", "2026-11-23", "2026-11-30T00:00:00"),
        ("month", "2024-02-29T00:00:00", "2024-02-01", "2024-03-01T00:00:00"),
        ("month", "2026-12-31T23:59:59", "2026-12-01", "2027-01-01T00:00:00"),
    ],
)  # fmt: skip
def test_periods_begin_at_midnight_utc(period: str, moment: str, start: str, end: str | None) -> None:
    assert period_start(period, at(moment)) == start  # type: ignore[arg-type]
    assert period_end_ns(period, at(moment)) == (None if end is None else at(end))  # type: ignore[arg-type]


def test_a_new_day_has_room_again_and_money_still_held_counts_in_it() -> None:
    wall = Wall("2026-05-05T23:00:00")
    day = Limit(Money(100), "agent:me (per day)", scope="agent", period="day", now_ns=wall)
    ledger = Ledger(within=[day])
    ledger.settle(held(ledger, 60), [charge(60)])
    running = held(ledger, 40)
    assert refused(ledger, 1).cause == "held"
    wall.set("2026-05-06T00:00:01")
    assert refused(ledger, 61).cause == "held"
    held(ledger, 60)
    ledger.settle(running, [charge(40)])
    assert (day.spent, day.reserved, ledger.spent) == (40, 60, 100)


def test_a_clock_that_goes_back_gives_no_room_of_a_past_period() -> None:
    wall = Wall("2026-05-05T12:00:00")
    day = Limit(Money(100), "per day", period="day", now_ns=wall)
    ledger = Ledger(within=[day])
    ledger.settle(held(ledger, 90), [charge(90)])
    wall.set("2026-05-03T12:00:00")
    assert refused(ledger, 20).cause == "spent"


# --- warn levels ----------------------------------------------------------------------------------------------------


def test_every_level_is_told_once_per_period() -> None:
    wall = Wall("2026-05-05T12:00:00")
    day = Limit(Money(100), "per day", period="day", warn=(0.8, 0.5), now_ns=wall)
    ledger = Ledger(Money(1000), within=[day], warn=(0.09,))

    def pay(amount: int) -> list[tuple[str, float]]:
        found = ledger.settle(held(ledger, 0), [charge(amount)])
        return [(one.scope, one.level) for one in found.reached]

    assert pay(49) == []
    assert pay(1) == [("per day", 0.5)]
    assert pay(1) == []
    assert pay(40) == [("the budget", 0.09), ("per day", 0.8)]
    wall.set("2026-05-06T12:00:00")
    assert pay(90) == [("per day", 0.5), ("per day", 0.8)]


@given(st.lists(st.integers(0, 300), max_size=20), st.sets(st.integers(1, 100)))
def test_levels_are_told_exactly_when_they_are_reached(amounts: list[int], percents: set[int]) -> None:
    ledger = Ledger(Money(1000), warn=[percent / 100 for percent in percents])
    told = []
    for amount in amounts:
        reached = ledger.settle(ledger_hold(ledger), [charge(amount)]).reached
        told += [round(one.level * 100) for one in reached]
        assert told == sorted(percent for percent in percents if ledger.spent * 100 >= percent * 1000)


def ledger_hold(ledger: Ledger) -> Reservation:
    return Reservation(KEY, Money(0), False, None, (ledger._limit,))  # what `charge` makes: nothing is refused


def test_eighty_percent_of_a_cap_is_eighty_percent() -> None:
    assert crossed((0.07, 0.8), 7, 100) == (0.07,)  # 0.07 * 100 is more than 7 in floating point
    assert crossed((0.29,), 29, 100) == (0.29,)


@pytest.mark.parametrize("levels", [(0.0,), (1.1,), (-0.5,)])
def test_levels_that_are_no_share_are_refused(levels: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        Ledger(Money(1), warn=levels)


# --- other rows -----------------------------------------------------------------------------------------------------


def test_rows_of_an_earlier_life_are_spent_and_numbered_before() -> None:
    before = Ledger(Money(100), warn=(0.5,))
    before.settle(held(before, 60), [charge(50), charge(10)])
    ledger = Ledger(Money(100), before=before.rows, warn=(0.5,))
    assert (ledger.spent, ledger.available) == (60, 40)
    assert refused(ledger, 41).cause == "spent"
    settlement = ledger.settle(held(ledger, 20), [charge(20)])
    assert [row.seq for row in ledger.rows] == [1, 2, 3]
    assert settlement.reached == ()  # 50 % was told in the earlier life


def test_a_call_in_flight_when_the_process_died_is_charged_as_an_estimate() -> None:
    ledger = Ledger(Money(100))
    row = ledger.orphan(KEY, Money(30), "in flight when the process stopped").rows[0]
    assert (row.amount, row.source, row.priced, row.note) == (
        30, "estimated", False, "in flight when the process stopped",
    )  # fmt: skip
    assert (ledger.spent, ledger.reserved) == (30, 0)
    assert ledger.orphan(KEY, None, "nobody knows").rows[0].amount is None
    assert (ledger.spent, ledger.unpriced_rows) == (30, 1)


def test_what_planning_cost_is_charged_without_a_reservation() -> None:
    limit = Limit(Money(1000), "agent:me", scope="agent")
    ledger = Ledger(Money(100), within=[limit])
    settlement = ledger.plan("run", Planning("planner-model", 1500.0, Money(120)))
    assert (settlement.amount, settlement.overrun, settlement.rows[0].step) == (120, 0, "plan")
    assert settlement.rows[0][6:12] == ("planning", 1.5, "s", None, 120, "measured")
    assert (ledger.spent, limit.spent, ledger.reserved) == (120, 120, 0)
    assert refused(ledger, 1).cause == "spent"


@pytest.mark.parametrize("price", [None, -1, 1.5, True, 10**17])
def test_planning_that_nobody_priced_is_unpriced_or_what_is_assumed_under_a_cap(price: Any) -> None:
    free = Ledger()
    assert free.plan("run", Planning("mystery", 1.0, price)).amount is None
    assert (free.spent, free.unpriced_rows, free.rows[0].priced) == (0, 1, False)
    uncapped = Ledger(unpriced=Money(40))
    assert uncapped.plan("run", Planning("mystery", 1.0, price)).amount is None
    capped = Ledger(Money(100), unpriced=Money(40))
    row = capped.plan("run", Planning("mystery", 1.0, price)).rows[0]
    assert (row.amount, row.source, row.priced, capped.available) == (40, "estimated", False, 60)


def test_planning_reaches_warn_levels_and_is_claimed_once() -> None:
    ledger = Ledger(Money(100), warn=(0.5,))
    planning = Planning("dear", 1.0, Money(60))
    assert [level.level for level in ledger.plan("run", planning).reached] == [0.5]
    assert (planning.due, planning.claim(), planning.claim(), planning.due) == (True, True, False, False)


@pytest.mark.parametrize(("at_", "amount"), [("expected", 100), ("p95", 200), ("p99", 241)])
def test_what_is_held_for_a_call(at_: str, amount: int) -> None:
    assert upper_price(PriceRange(Money(50), Money(100), Money(200)), at_) == amount  # type: ignore[arg-type]
    assert upper_price(UNPRICED, at_) is None  # type: ignore[arg-type]
