"""Price models: exact, never negative, never silently zero."""

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.planlang.money import Money
from catp.tools import (
    ComputePrice,
    CustomPrice,
    DatedPrice,
    Free,
    PerCall,
    PerToken,
    PerUnit,
    PriceModelError,
    PriceTable,
    Reported,
    Unpriced,
    Usage,
)
from catp.tools.price import DEFAULT_TIERS, needs, total
from catp.tools.usage import Charge, PriceModel

amounts = st.floats(0, 1e9, allow_nan=False)
usages = st.builds(
    Usage, wall_ms=amounts, cpu_ms=amounts, cold_cpu_ms=amounts, peak_mb=st.floats(0, 65536),
    units=st.fixed_dictionaries({"tokens_in": amounts, "tokens_out": amounts, "pages": amounts}),
    reported=st.integers(0, 10**12).map(Money),
)  # fmt: skip
MODELS: list[PriceModel] = [
    Free(),
    PerCall("0.01"),
    PerUnit("pages", "0.0015"),
    PerToken(input="0.00015", output="0.0006"),
    ComputePrice(),
    Reported(),
    CustomPrice(lambda usage: math.ceil(usage.cpu_ms)),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda m: type(m).__name__)
@given(usage=usages)
@settings(max_examples=60, deadline=None)
def test_charges_are_whole_and_never_negative(model: PriceModel, usage: Usage) -> None:
    charges = model.charge(usage)
    assert charges is not None
    assert all(type(charge.amount) is int and charge.amount >= 0 for charge in charges)
    assert total(charges) == sum(charge.amount for charge in charges)


@given(usages, amounts, amounts, st.floats(0, 65536))
@settings(max_examples=100, deadline=None)
def test_more_use_never_costs_less(usage: Usage, cpu: float, tokens: float, peak: float) -> None:
    more = Usage(
        cpu_ms=usage.cpu_ms + cpu, cold_cpu_ms=usage.cold_cpu_ms + cpu, peak_mb=usage.peak_mb + peak,
        units={name: count + tokens for name, count in usage.units.items()},
    )  # fmt: skip
    for model in (ComputePrice(), PerToken(input="0.1", output="0.2"), PerUnit("pages", "3")):
        less_price, more_price = total(model.charge(usage)), total(model.charge(more))
        assert less_price is not None
        assert more_price is not None
        assert less_price <= more_price


def test_compute_price_charges_the_memory_tier_once() -> None:
    charges = ComputePrice().charge(Usage(cpu_ms=100.0, peak_mb=700.0))
    assert [(c.kind, c.amount) for c in charges] == [("call", 200), ("compute", 1670)]


def test_tiers_start_where_the_one_before_ends() -> None:
    price = ComputePrice(fee_usd=0)
    at_limit = total(price.charge(Usage(cpu_ms=1000, peak_mb=512.0)))
    above = total(price.charge(Usage(cpu_ms=1000, peak_mb=512.01)))
    assert (at_limit, above) == (8_300, 16_700)


def test_memory_beyond_the_largest_tier_costs_in_proportion() -> None:
    price = ComputePrice(fee_usd=0)
    largest = total(price.charge(Usage(cpu_ms=1e6, peak_mb=DEFAULT_TIERS[-1][0])))
    assert largest is not None
    assert total(price.charge(Usage(cpu_ms=1e6, peak_mb=2 * DEFAULT_TIERS[-1][0]))) == 2 * largest


def test_cold_start_is_a_line_of_its_own() -> None:
    warm = ComputePrice().charge(Usage(cpu_ms=10, peak_mb=100))
    cold = ComputePrice().charge(Usage(cpu_ms=10, peak_mb=100, cold_cpu_ms=1000))
    assert [c.kind for c in cold] == ["call", "compute", "cold_start"]
    assert cold[:2] == warm


def test_wall_time_is_never_billed() -> None:
    assert ComputePrice().charge(Usage(cpu_ms=5, wall_ms=5)) == ComputePrice().charge(Usage(cpu_ms=5, wall_ms=50_000))


def test_fractions_of_a_nano_dollar_are_rounded_up_once_per_charge() -> None:
    (charge,) = PerUnit("pages", "0.0000000001").charge(Usage(units={"pages": 11})) or ()
    assert charge.amount == 2  # 1.1 nano-USD; eleven times rounded up would be 11


@pytest.mark.parametrize("bad", ["-1", "nan", "inf", "ten", "", -0.01, float("nan"), float("inf")])
def test_impossible_prices_are_refused_when_the_model_is_made(bad: Any) -> None:
    for make in (PerCall, lambda p: PerUnit("page", p), lambda p: PerToken(input=p, output=0), ComputePrice):
        with pytest.raises(PriceModelError):
            make(bad)


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf"), "12", None])
def test_impossible_usage_is_refused_when_it_is_charged(bad: Any) -> None:
    for model, usage in (
        (ComputePrice(), Usage(cpu_ms=bad)),
        (ComputePrice(), Usage(peak_mb=bad)),
        (PerUnit("pages", 1), Usage(units={"pages": bad})),
    ):
        with pytest.raises(PriceModelError):
            model.charge(usage)


def test_a_reported_price_below_zero_is_refused() -> None:
    with pytest.raises(PriceModelError):
        Reported().charge(Usage(reported=Money(-1)))


def test_unknown_is_none_and_only_free_is_zero() -> None:
    assert total(Unpriced().charge(Usage())) is None
    assert total(PerToken(input=1, output=1).charge(Usage())) is None
    assert total(PerUnit("pages", 1).charge(Usage(units={"tokens_in": 3}))) is None
    assert total(Reported().charge(Usage())) is None
    assert total(Free().charge(Usage())) == 0


@pytest.mark.parametrize("answer", ["0.01", 0.5, True, -1, [1], (1,), object, float("nan")])
def test_a_custom_rule_that_returns_rubbish_raises(answer: Any) -> None:
    with pytest.raises(PriceModelError, match="my rule"):
        CustomPrice(lambda usage: answer, "my rule").charge(Usage())


def test_a_custom_rule_that_raises_is_named_and_keeps_its_cause() -> None:
    def rule(usage: Usage) -> int:
        raise ZeroDivisionError("no pages")

    with pytest.raises(PriceModelError, match="rule raised ZeroDivisionError: no pages") as caught:
        CustomPrice(rule).charge(Usage())
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_custom_rule_may_give_an_amount_charges_or_unknown() -> None:
    charge = Charge("custom", 1.0, "call", "0.000000007", Money(7))
    assert total(CustomPrice(lambda usage: 7).charge(Usage())) == 7
    assert CustomPrice(lambda usage: (charge,)).charge(Usage()) == (charge,)
    assert CustomPrice(lambda usage: None).charge(Usage()) is None
    with pytest.raises(PriceModelError):
        CustomPrice(lambda usage: (Charge("custom", 1, "call", "0", Money(-7)),)).charge(Usage())


def day(number: int) -> datetime:
    return datetime(2026, 1, number, tzinfo=UTC)


@pytest.mark.parametrize(("at", "expected"), [(1, None), (2, 1), (4, 1), (5, 2), (9, 2)])
def test_a_price_table_picks_the_price_valid_now(at: int, expected: int | None) -> None:
    rows = [DatedPrice(PerCall("0.000000002"), day(5)), DatedPrice(PerCall("0.000000001"), day(2), day(5))]
    assert total(PriceTable(rows, now=lambda: day(at)).charge(Usage())) == expected


def test_a_price_table_refuses_overlaps_empty_periods_and_naive_dates() -> None:
    free = Free()
    with pytest.raises(PriceModelError, match="two prices are valid at once"):
        PriceTable([DatedPrice(free, day(1), day(3)), DatedPrice(free, day(2))])
    with pytest.raises(PriceModelError, match="two prices are valid at once"):
        PriceTable([DatedPrice(free), DatedPrice(free)])
    with pytest.raises(PriceModelError, match="before it starts"):
        PriceTable([DatedPrice(free, day(3), day(3))])
    with pytest.raises(PriceModelError, match="time zone"):
        PriceTable([DatedPrice(free, datetime(2026, 1, 1))])


def test_models_say_what_their_price_depends_on() -> None:
    assert needs(PerCall(1)) == frozenset()
    assert needs(ComputePrice()) == frozenset({"cpu_ms", "peak_mb"})
    assert needs(PriceTable([DatedPrice(PerUnit("pages", 1))])) == frozenset({"unit:pages"})
    assert needs(CustomPrice(lambda usage: 1)) is None


@pytest.mark.parametrize(
    "model", [*MODELS, Unpriced(), PriceTable([DatedPrice(PerCall(1), day(1))])], ids=lambda m: type(m).__name__
)
def test_every_model_describes_itself(model: PriceModel) -> None:
    assert model.describe()


def test_descriptions_tell_two_prices_apart() -> None:
    assert PerCall("0.01").describe() != PerCall("0.010000001").describe()
    assert ComputePrice().describe() != ComputePrice(tiers=[(128, "0.0000000022")]).describe()
