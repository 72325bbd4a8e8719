"""Conditions that can never hold, against trying many values."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.planlang.conditions import Condition, holds, satisfiable
from catp.planlang.money import Money
from catp.planlang.nodes import OPERATORS, Usd

SMALL = st.integers(0, 4)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(OPERATORS), SMALL), max_size=4))
def test_numbers_agree_with_trying_all_quarters(conditions: list[Condition]) -> None:
    tried = (quarter / 4 for quarter in range(-8, 32))
    possible = any(all(holds(value, op, wanted) for op, wanted in conditions) for value in tried)
    assert satisfiable(conditions) == possible


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(("==", "!=")), st.sampled_from(("a", "b", "c"))), max_size=4))
def test_texts_agree_with_trying_all_and_one_more(conditions: list[Condition]) -> None:
    possible = any(all(holds(value, op, wanted) for op, wanted in conditions) for value in "abcd")
    assert satisfiable(conditions) == possible


def test_bools_have_no_third_value() -> None:
    for one, two in itertools.product((True, False), repeat=2):
        assert satisfiable([("!=", one), ("!=", two)]) == (one is two)


@pytest.mark.parametrize(
    ("conditions", "possible"),
    [
        ([], True),
        ([("==", Usd(Money(1))), ("==", Usd(Money(2)))], False),
        ([("==", 10**400), ("<", 1.5)], False),
        ([("<", "b"), (">", "a")], True),
        ([("<", "a"), (">", "b")], True),  # order of texts is not looked into
        ([("==", 1), ("==", "a")], True),  # nor are values of mixed kinds, which only json has
        ([("==", float("inf")), (">", 1)], True),
    ],
)
def test_edge_cases(conditions: list[Condition], possible: bool) -> None:
    assert satisfiable(conditions) == possible
