"""Shedding against brute force on small plans: what is given up, in which order, and what never is."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain, combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.planlang.compile import compile_plan
from catp.planlang.compiled import CompiledPlan
from catp.planlang.money import Money
from catp.planlang.nodes import Plan, ToolName
from catp.planlang.parser import parse
from catp.planlang.passes.shed import Shed, required_steps, shed
from catp.planlang.registry_view import (
    CallEstimate,
    Effect,
    Latency,
    Param,
    PriceRange,
    RegistryView,
    ToolSig,
    ValueFacts,
)
from catp.planlang.types import ANY


class Shop:
    """Tools with one price each (expected, p95); `w...` write; None is unpriced."""

    def __init__(self, prices: Mapping[str, int | None], p95: Mapping[str, int] | None = None) -> None:
        self.prices = prices
        self.p95 = p95 or {}
        self.failures = 0

    def view(self) -> RegistryView:
        params = (Param("x", ANY, required=False), Param("y", ANY, required=False))

        def effect(name: str) -> Effect:
            return "write" if name.startswith("w") else "read"

        return RegistryView(tuple(ToolSig(ToolName(name), params, ANY, effect(name)) for name in self.prices))

    def estimate(self, tool: ToolName, args: Mapping[str, ValueFacts]) -> CallEstimate:
        price = self.prices[tool]
        amount = None if price is None else Money(price)
        top = amount if price is None else Money(self.p95.get(tool, price))
        return CallEstimate(PriceRange(amount, amount, top), Latency(), ValueFacts(ANY), failure=0.01)

    def compile(self, plan: Plan) -> CompiledPlan:
        return compile_plan(plan, self.view(), estimator=self)

    def shed(self, text: str, cap: int, **options: object) -> Shed:
        return shed(self.compile(parse(text)), self.compile, Money(cap), **options)  # type: ignore[arg-type]


def names(found: Shed) -> list[str]:
    return [one.output for one in found.given_up]


def kept(found: Shed) -> list[str]:
    return [output.name for output in found.compiled.plan.outputs]


FOUR = Shop({"a": 10, "b": 20, "c": 30, "d": 40})
PLAN = "s = a()\np = b()\nq = c()\nr = d()\nout s, p?, q?, r?"


@pytest.mark.parametrize(
    ("cap", "gone"),
    [(100, []), (99, ["r"]), (60, ["r"]), (59, ["q", "r"]), (29, ["p", "q", "r"]), (10, ["p", "q", "r"])],
)
def test_the_dearest_optional_output_goes_first(cap: int, gone: list[str]) -> None:
    found = FOUR.shed(PLAN, cap)
    assert found.fits
    assert names(found) == gone
    assert [output.name for output in found.compiled.plan.outputs] == [n for n in "spqr" if n not in gone]
    assert sum(one.saves or 0 for one in found.given_up) == 100 - (found.compiled.estimate.price.expected or 0)


def test_a_required_output_is_never_given_up() -> None:
    found = FOUR.shed(PLAN, 9)
    assert (found.fits, found.given_up, found.least) == (False, (), 10)
    assert kept(found) == ["s", "p", "q", "r"]


def test_values_weigh_against_prices() -> None:
    found = FOUR.shed(PLAN, 69, values={"r": 5, "p": 0.5})  # a price of 8, 30 and 40 for one unit of value
    assert names(found) == ["p", "q"]


def test_what_fits_after_all_is_taken_back() -> None:
    shop = Shop({"a": 10, "b": 11, "c": 100})
    # c goes last for its value; then there is room for a and b again
    found = shop.shed("x = a()\ny = b()\nz = c()\nw = a(1)\nout w, x?, y?, z?", 40, values={"z": 50})
    assert names(found) == ["z"]


def test_outputs_that_share_a_dear_step_go_together() -> None:
    shop = Shop({"big": 100, "a": 1, "b": 1, "c": 5})
    found = shop.shed("s = big()\nx = a(s)\ny = b(s)\nz = c()\nm = a(2)\nout m, x?, y?, z?", 20)
    assert names(found) == ["x", "y"]
    assert found.compiled.estimate.price.expected == 6


def test_steps_that_write_stay_whatever_needs_them() -> None:
    shop = Shop({"a": 10, "w": 50, "c": 30})
    found = shop.shed("s = a()\nt = w(s)\nu = c(t)\nv = a(7)\nout v, t?, u?", 80)
    assert names(found) == ["u"]
    assert {str(step.name) for step in found.compiled.plan.steps} >= {"s", "t"}
    assert required_steps(found.compiled.plan, shop.view()) == {"s", "t", "v"}


def test_the_last_output_is_not_given_up() -> None:
    found = FOUR.shed("p = b()\nq = c()\nout p?, q?", 5)
    assert not found.fits
    assert found.least == 20


def test_an_unpriced_output_is_given_up_if_only_that_makes_a_promise_possible() -> None:
    shop = Shop({"a": 10, "dark": None})
    found = shop.shed("s = a()\nt = dark()\nout s, t?", 10)
    assert [(one.output, one.saves) for one in found.given_up] == [("t", None)]
    assert "its price is unknown" in found.given_up[0].reason


def test_the_cheaper_alternative_is_tried_first_and_the_dear_one_stays_as_its_fallback() -> None:
    shop = Shop({"fine": 100, "cheap": 10})
    found = shop.shed("s = fine() | cheap()\nout s", 50)
    assert found.fits
    assert [attempt.tool for attempt in found.compiled.plan.steps[0].attempts] == ["cheap", "fine"]
    assert [(change.rule, change.step) for change in found.rewrites] == [("cheaper", "s")]


def test_the_dear_alternative_is_left_out_if_even_as_a_fallback_it_costs_too_much() -> None:
    shop = Shop({"fine": 10_000, "cheap": 10})
    found = shop.shed("s = fine() | cheap()\nout s", 50)
    assert found.fits
    assert [attempt.tool for attempt in found.compiled.plan.steps[0].attempts] == ["cheap"]
    assert found.rewrites[-1].rule == "left_out"


def test_outputs_go_before_alternatives_and_the_plan_limit_is_no_business_of_this_pass() -> None:
    shop = Shop({"fine": 100, "cheap": 10, "extra": 20})
    found = shop.shed("s = fine() | cheap()\ne = extra()\nout s, e?", 105)
    assert names(found) == ["e"]
    assert found.rewrites == ()


def test_after_cheaper_alternatives_an_output_may_fit_again() -> None:
    shop = Shop({"fine": 100, "cheap": 10, "extra": 20})
    found = shop.shed("s = fine() | cheap()\ne = extra()\nout s, e?", 40)
    assert found.given_up == ()
    assert [attempt.tool for attempt in found.compiled.plan.steps[0].attempts] == ["cheap", "fine"]


def test_strict_goes_by_the_p95() -> None:
    shop = Shop({"a": 10, "b": 10}, p95={"a": 10, "b": 90})
    text = "s = a()\nt = b()\nout s, t?"
    assert names(shop.shed(text, 50)) == []
    assert names(shop.shed(text, 50, strict=True)) == ["t"]


# --- brute force ----------------------------------------------------------------------------------------------------


@st.composite
def plans(draw: st.DrawFn) -> tuple[Shop, str]:
    """Up to six steps, each of its own tool, of earlier steps; outputs of some, at least one required."""
    count = draw(st.integers(2, 6))
    prices = draw(st.lists(st.integers(0, 50), min_size=count, max_size=count))
    lines = []
    for place in range(count):
        sources = draw(st.lists(st.integers(0, place - 1), max_size=2, unique=True)) if place else []
        lines.append(f"s{place} = t{place}({', '.join(f's{one}' for one in sources)})")
    out = [f"s{place}{'?' if draw(st.booleans()) else ''}" for place in range(count)]
    required = draw(st.integers(0, count - 1))
    out[required] = f"s{required}"
    lines.append(f"out {', '.join(out)}")
    return Shop({f"t{place}": price for place, price in enumerate(prices)}), "\n".join(lines)


def price_without(shop: Shop, plan: Plan, gone: Sequence[str]) -> int:
    outputs = tuple(output for output in plan.outputs if output.name not in gone)
    return shop.compile(replace(plan, outputs=outputs)).estimate.price.expected or 0


@settings(deadline=None, max_examples=150)
@given(plans(), st.integers(0, 200))
def test_against_brute_force(drawn: tuple[Shop, str], cap: int) -> None:
    shop, text = drawn
    plan = parse(text)
    found = shop.shed(text, cap)
    optional = [output.name for output in plan.outputs if output.optional]
    subsets = list(chain.from_iterable(combinations(optional, n) for n in range(len(optional) + 1)))
    possible = [set(gone) for gone in subsets if price_without(shop, plan, gone) <= cap]
    assert found.fits == bool(possible)
    if not found.fits:
        assert found.given_up == ()
        return
    gone = set(names(found))
    assert gone in possible  # within the cap, and no required output is among them
    assert (found.compiled.estimate.price.expected or 0) <= cap
    assert all(gone - {name} not in possible for name in gone)  # nothing is given up that would have fitted


@settings(deadline=None, max_examples=150)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=6), st.integers(0, 200))
def test_without_shared_steps_as_many_outputs_are_kept_as_any_choice_could(prices: list[int], room: int) -> None:
    shop = Shop({"m": 7, **{f"t{place}": price for place, price in enumerate(prices)}})
    lines = "\n".join(f"s{place} = t{place}()" for place in range(len(prices)))
    text = f"m = m()\n{lines}\nout m, {', '.join(f's{place}?' for place in range(len(prices)))}"
    found = shop.shed(text, 7 + room)
    most, left = 0, room
    for price in sorted(prices):
        if price <= left:
            most, left = most + 1, left - price
    assert len(kept(found)) == 1 + most
