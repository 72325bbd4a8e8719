"""The default accuracy model and the front it feeds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catp.planlang.registry_view import UNPRICED, CallEstimate, Latency, ValueFacts
from catp.planlang.types import Type
from catp.planners.accuracy import GIVEN, ConditionModel, ValueQuality, restores
from catp.planners.front import Front, dominates, pareto

IMAGE, TEXT = Type("image"), Type("text")
NOISY = ValueFacts(IMAGE, condition="noisy")
CLEANED = ValueFacts(IMAGE, condition="noisy/denoise")


def call(output: ValueFacts, accuracy: float | None = 1.0, failure: float = 0.0) -> CallEstimate:
    return CallEstimate(UNPRICED, Latency(), output, accuracy, failure)


def test_restoring_counts_for_the_image_but_not_on_the_way_to_a_reader() -> None:
    """The example of the module's docstring."""
    model = ConditionModel()
    cleaned = model.call(call(CLEANED, 0.9), {"image": (NOISY, GIVEN)})
    assert cleaned == ValueQuality(0.9, 1.0)
    read = model.call(call(ValueFacts(TEXT), 0.97), {"image": (CLEANED, cleaned)})
    assert read == ValueQuality(0.97, 0.97)
    language = model.call(call(ValueFacts(Type("Language")), 0.95), {"text": (ValueFacts(TEXT), read)})
    assert language.score == pytest.approx(0.9215)


def test_restoring_is_told_by_type_and_longer_condition() -> None:
    assert restores(call(CLEANED), [NOISY])
    assert not restores(call(NOISY), [NOISY]), "an image tool that leaves the condition as it is counts as any other"
    assert not restores(call(ValueFacts(TEXT, condition="noisy/ocr")), [NOISY])
    assert not restores(call(ValueFacts(IMAGE, condition="noisyish/x")), [NOISY])


def test_failure_lowers_both_sides() -> None:
    cleaned = ConditionModel().call(call(CLEANED, 0.9, failure=0.2), {"image": (NOISY, GIVEN)})
    assert cleaned.score == pytest.approx(0.72)
    assert cleaned.carried == pytest.approx(0.8)


def test_unknown_accuracy_is_assumed_and_marked_downstream() -> None:
    model = ConditionModel(unknown=0.4)
    read = model.call(call(ValueFacts(TEXT), None), {"image": (NOISY, GIVEN)})
    assert read == ValueQuality(0.4, 0.4, known=False)
    assert not model.call(call(ValueFacts(TEXT), 1.0), {"text": (ValueFacts(TEXT), read)}).known


def test_plan_quality_is_the_mean_over_wanted_outputs() -> None:
    assert ConditionModel().plan([1.0, 0.5, 0.0]) == pytest.approx(0.5)
    assert ConditionModel().plan([]) == 0.0


UNIT = st.floats(0, 1)


@given(UNIT, UNIT, UNIT, UNIT, st.booleans())
def test_default_model_keeps_the_promises_the_search_relies_on(
    accuracy: float, failure: float, low: float, high: float, restoring: bool
) -> None:
    low, high = min(low, high), max(low, high)
    estimate = call(CLEANED if restoring else ValueFacts(TEXT), accuracy, failure)
    worse = ConditionModel().call(estimate, {"image": (NOISY, ValueQuality(low, low))})
    better = ConditionModel().call(estimate, {"image": (NOISY, ValueQuality(high, high))})
    assert worse.score <= better.score
    assert worse.carried <= better.carried
    assert better.carried <= high
    assert better.score <= high


POINTS = st.lists(st.tuples(*[st.integers(0, 6)] * 3), max_size=40)


@given(POINTS)
def test_pareto_keeps_exactly_what_nothing_beats(points: list[tuple[int, int, int]]) -> None:
    expected = {p for p in points if not any(dominates(q, p) and q != p for q in points)}
    kept = pareto(points, lambda p: p)
    assert set(kept) == expected
    assert len(kept) == len(expected)


@given(POINTS, st.tuples(*[st.integers(0, 6)] * 3))
def test_growing_front_answers_like_all_its_points(
    points: list[tuple[int, int, int]], asked: tuple[int, int, int]
) -> None:
    front = Front()
    for point in points:
        front.add(point)
    assert front.beats(asked) == any(dominates(p, asked) for p in points)
    assert len(front) == len(pareto(points, lambda p: p))
