import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.training.prompt.buckets import BUCKETS, QUALITY_LEVELS, Kind, bucket_tokens, level, spell


@pytest.mark.parametrize(
    ("kind", "value", "place"),
    [
        ("$", 1.0, 20), ("$", 2.0, 22), ("$", 0.5, 18), ("$", 0.0, 0), ("$", 1e9, 40), ("$", 1e-9, 0),
        ("ms", 0.1, 0), ("ms", 0.2, 1), ("ms", 102.4, 10), ("sz", 1, 0), ("sz", 1024, 10),
        ("acc", 0.0, 0), ("acc", 0.5, 10), ("acc", 1.0, 20), ("Q", 0.97, 39), ("Q", 0.0, 20), ("Q", -1.0, 0),
        ("alpha", 0.8, 16),
        ("ok", 0.0, 7), ("ok", 0.6, 0), ("ok", 0.15, 3),
    ],
)  # fmt: skip
def test_levels_by_hand(kind: Kind, value: float, place: int) -> None:
    assert level(kind, value) == place


@pytest.mark.parametrize("kind", list(BUCKETS))
def test_what_is_unknown_has_a_token_of_its_own(kind: Kind) -> None:
    assert level(kind, None) is None
    assert level(kind, math.nan) is None
    assert spell(kind, None) == f"<{kind}?>"


@settings(derandomize=True)
@given(
    kind=st.sampled_from(["$", "ms", "sz", "acc", "alpha", "Q"]),
    low=st.floats(0, 1e12),
    more=st.floats(0, 1e12),
)
def test_more_is_never_a_lower_level_and_always_on_the_scale(kind: Kind, low: float, more: float) -> None:
    first, second = level(kind, low), level(kind, low + more)
    assert first is not None
    assert second is not None
    assert 0 <= first <= second < BUCKETS[kind]


def test_spellings_are_distinct_and_differences_span_both_signs() -> None:
    tokens = bucket_tokens()
    assert len(set(tokens)) == len(tokens) == sum(BUCKETS.values()) + len(BUCKETS)
    assert QUALITY_LEVELS[0] == -1.0
    assert QUALITY_LEVELS[20] == 0.0
    assert QUALITY_LEVELS[-1] == 1.0
