"""The ledger by itself: no sequence of calls can exceed the cap while estimates bound prices; totals are row sums."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.planlang.money import Money, usd
from catp.runtime.ledger import BudgetRefused, CallKey, Ledger, Limit, Reservation
from catp.tools.usage import Charge

KEY = CallKey("run", "step", 1, "tool")


def charge(amount: int, kind: str = "call") -> Charge:
    return Charge(kind, 1.0, "call", "?", Money(amount))  # type: ignore[arg-type]  # drawn from the known kinds


def held(ledger: Ledger, amount: int | None, **options: object) -> Reservation:
    found = ledger.reserve(KEY, None if amount is None else Money(amount), **options)  # type: ignore[arg-type]
    assert isinstance(found, Reservation), found
    return found


@pytest.mark.parametrize("cap", [0, -1])
def test_zero_or_negative_budget_is_an_error(cap: int) -> None:
    with pytest.raises(ValueError, match="the budget must be more than zero"):
        Ledger(Money(cap))


def test_settling_gives_back_the_difference_and_writes_rows() -> None:
    ledger = Ledger(Money(100))
    reservation = held(ledger, 60, estimate=Money(40))
    assert (ledger.reserved, ledger.available, ledger.spent) == (60, 40, 0)
    settlement = ledger.settle(reservation, [charge(30, "compute"), charge(5, "cold_start")])
    assert (ledger.reserved, ledger.available, ledger.spent) == (0, 65, 35)
    assert [(r.seq, r.amount, r.source, r.estimate) for r in settlement.rows] == [
        (1, 30, "measured", 40),
        (2, 5, "measured", None),
    ]


def test_refusal_says_whether_waiting_may_help() -> None:
    ledger = Ledger(Money(100))
    held(ledger, 80)
    busy = ledger.reserve(KEY, Money(50))
    hopeless = ledger.reserve(KEY, Money(101))
    assert isinstance(busy, BudgetRefused)
    assert isinstance(hopeless, BudgetRefused)
    assert (busy.wait, hopeless.wait) == (True, False)
    assert "tool may cost $0.00000005, but the budget has $0.00000002 left" in busy.reason


def test_double_settlement_and_late_release_change_nothing() -> None:
    ledger = Ledger(Money(100))
    reservation = held(ledger, 60)
    ledger.settle(reservation, [charge(10)])
    assert ledger.settle(reservation, [charge(10)]).rows == ()
    ledger.release(reservation)
    assert (ledger.reserved, ledger.spent, len(ledger.rows)) == (0, 10, 1)


def test_overrun_is_charged_marked_and_felt_by_the_next() -> None:
    ledger = Ledger(Money(100))
    settlement = ledger.settle(held(ledger, 60), [charge(130)])
    assert settlement.overrun == 70
    assert settlement.rows[0].overrun
    assert ledger.available == -30
    refused = ledger.reserve(KEY, Money(1))
    assert isinstance(refused, BudgetRefused)
    assert "nothing left" in refused.reason


def test_unknown_price_is_refused_or_assumed_under_a_cap_and_runs_without_one() -> None:
    refused = Ledger(Money(100)).reserve(KEY, None)
    assert isinstance(refused, BudgetRefused)
    assert "the price of tool is unknown" in refused.reason
    assuming = Ledger(Money(100), unpriced=Money(30))
    reservation = held(assuming, None)
    assert assuming.reserved == 30
    row = assuming.settle(reservation, None, note="nobody knows").rows[0]
    assert (row.amount, row.source, row.priced, row.note) == (30, "estimated", False, "nobody knows")
    free = Ledger()
    unknown = free.settle(held(free, None), None)
    assert unknown.amount is None
    assert free.rows[0].amount is None
    assert free.unpriced_rows == 1


def test_every_limit_has_to_hold() -> None:
    ledger, step = Ledger(Money(100)), Limit(Money(30), "the step")
    held(ledger, 20, within=[step])
    refused = ledger.reserve(KEY, Money(20), within=[step])
    assert isinstance(refused, BudgetRefused)
    assert refused.limit == "the step"
    assert ledger.reserved == 20


@settings(deadline=None, max_examples=200)
@given(
    st.integers(1, 1000),
    st.lists(st.tuples(st.sampled_from(["reserve", "settle", "release"]), st.integers(0, 400), st.floats(0, 1))),
)
def test_never_over_the_cap_and_totals_are_row_sums(cap: int, moves: list[tuple[str, int, float]]) -> None:
    ledger = Ledger(Money(cap))
    open_: list[Reservation] = []
    for move, amount, share in moves:
        if move == "reserve":
            found = ledger.reserve(KEY, Money(amount))
            if isinstance(found, Reservation):
                open_.append(found)
        elif open_:
            reservation = open_.pop(int(share * (len(open_) - 1)))
            if move == "settle":
                ledger.settle(reservation, [charge(int(reservation.amount * share))])
            else:
                ledger.release(reservation)
        assert ledger.spent + ledger.reserved <= cap
        assert ledger.reserved == sum(r.amount for r in open_)
        assert ledger.spent == sum(row.amount or 0 for row in ledger.rows)


def test_usd_helpers_agree() -> None:
    assert Ledger(usd("0.5")).cap == 500_000_000
