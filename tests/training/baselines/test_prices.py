"""Estimated prices against prices that are known exactly; price tables against sums by hand."""

from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.planlang.money import Money
from catp.training.baselines import Prices, StepPrices
from catp.training.baselines.prices import CrossFittedPrices, units_by_type
from catp.training.evaluate.candidates import CandidateSet, Option, StepUse
from tests.training.baselines.pages import RATE, pages, scrambled


def test_prices_that_are_linear_in_size_are_found() -> None:
    estimates = StepPrices().fit(pages(400))
    for one in pages(50, seed=7):
        assert estimates.price(one.hidden()) == pytest.approx(one.prices, rel=0.02)
        times = np.array([option.latency_ms for option in one.options])
        assert estimates.latency(one.hidden()) == pytest.approx(times, rel=0.02)


def test_a_mean_per_tool_does_not_look_at_sizes() -> None:
    train = pages(300)
    estimates = StepPrices("mean").fit(train)
    steps = [step for one in train for option in one.options for step in option.steps]
    mean = {tool: np.mean([step.price for step in steps if step.tool == tool]) for tool in RATE}
    one = pages(1, seed=3)[0]
    expected = [sum(mean[tool] for tool in option.tools) for option in one.options]
    assert estimates.price(one.hidden()) == pytest.approx(expected)
    larger = replace(one, sizes=(10 * (one.sizes[0] or 1),))
    assert estimates.price(larger.hidden()) == pytest.approx(expected)


def test_an_unknown_size_counts_as_a_mean_one() -> None:
    train = pages(300)
    one = replace(pages(1, seed=3)[0], sizes=(None,))
    found = StepPrices().fit(train).price(one.hidden())
    assert found == pytest.approx(StepPrices("mean").fit(train).price(one.hidden()), rel=1e-3)


def test_what_a_step_follows_counts() -> None:
    """After `grow`, `read` costs four times as much at the same size of the input."""

    def one(number: int, grown: bool) -> CandidateSet:
        size = 100 + 10 * number
        read = StepUse("read", (0,) if grown else (), 400.0 * size if grown else 100.0 * size, 1.0)
        steps = (StepUse("grow", (), 50.0 * size, 1.0), read) if grown else (read,)
        option = Option(f"{number}{grown}", f"{grown}", steps, 0.5, sum(step.price for step in steps))
        return CandidateSet(f"{number}{grown}", "g", "d", (option,), Money(1), sizes=(size,), input_types=("image",))

    train = [one(number, grown) for number in range(100) for grown in (False, True)]
    estimates = StepPrices().fit(train)
    plain, grown = one(40, False), one(40, True)
    assert estimates.price(plain.hidden()) == pytest.approx(plain.prices, rel=0.15)
    assert estimates.price(grown.hidden()) == pytest.approx(grown.prices, rel=0.15)


def test_new_tools_are_priced_by_their_profile() -> None:
    train = [replace(one, options=tuple(o for o in one.options if "ocr_fine" not in o.tools)) for one in pages(200)]
    estimates = StepPrices().fit([one for one in train if len(one)])
    new = next(one for one in pages(50, seed=5) if any("ocr_fine" in option.tools for option in one.options)).hidden()
    with_fine = np.array(["ocr_fine" in option.tools for option in new.options])
    listed = estimates.price(new, Prices(listed={"ocr_fine": 7e6}))
    more = listed - estimates.price(new, Prices(listed={"ocr_fine": 5e6}))
    assert more == pytest.approx(2e6 * with_fine)
    unknown = estimates.price(new)
    assert np.isfinite(unknown).all()
    assert (unknown > 0).all()


def test_nothing_learnt_costs_nothing_and_takes_no_time() -> None:
    one = pages(1)[0].hidden()
    assert StepPrices().price(one).tolist() == StepPrices().latency(one).tolist() == [0.0] * len(one)


def test_latency_is_the_longest_path() -> None:
    rng = np.random.default_rng(4)
    train = pages(100)
    estimates = StepPrices("mean").fit(train)
    single = {tool: float(estimates.latency(_single(tool))[0]) for tool in RATE}
    for _ in range(30):
        steps = []
        for place in range(int(rng.integers(2, 8))):
            parents = tuple(int(p) for p in np.flatnonzero(rng.random(place) < 0.4))
            steps.append(StepUse(list(RATE)[int(rng.integers(4))], parents))
        one = CandidateSet("x", "g", "d", (Option("o", "o", tuple(steps)),), Money(1))
        graph: nx.DiGraph[str] = nx.DiGraph()
        for place, step in enumerate(steps):
            graph.add_edge("start", f"{place}", weight=single[step.tool])
            for parent in step.parents:
                graph.add_edge(f"{parent}", f"{place}", weight=single[step.tool])
        assert estimates.latency(one)[0] == pytest.approx(nx.dag_longest_path_length(graph))


def _single(tool: str) -> CandidateSet:
    return CandidateSet("x", "g", "d", (Option("o", "o", (StepUse(tool, ()),)),), Money(1))


ESTIMATES = StepPrices().fit(pages(200))


@settings(derandomize=True, max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from([*RATE, "unused"]), st.floats(0.2, 5.0)))
def test_a_price_table_multiplies_every_step(factors: dict[str, float]) -> None:
    for one in pages(10):
        table = Prices(factors)
        after = table.applied(one)
        for old, new in zip(one.options, after.options, strict=True):
            expected = sum(step.price * factors.get(step.tool, 1.0) for step in old.steps)
            assert new.price == pytest.approx(expected)
            assert new.score == old.score
        alpha = 0.7
        assert after.utility(alpha) == pytest.approx(alpha * one.scores - (1 - alpha) * after.prices / one.price_scale)
        assert ESTIMATES.price(after.hidden(), table) == pytest.approx(after.prices, rel=0.05)


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan")])
def test_price_factors_are_positive(factor: float) -> None:
    with pytest.raises(ValueError, match="ocr"):
        Prices({"ocr": factor})


def test_sizes_add_up_by_type_and_unknown_ones_leave_the_type_out() -> None:
    one = CandidateSet(
        "x", "g", "d", (), Money(1), input_types=("image", "text", "image", "table"), sizes=(5, 7, 6, None)
    )
    assert units_by_type(one) == {"image": 11, "text": 7}


def test_cross_fitted_prices_never_use_a_sets_own_measurements() -> None:
    sets = pages(60)
    for place in (0, 13, 59):
        changed = [*sets[:place], scrambled([sets[place]])[0], *sets[place + 1 :]]
        before, after = CrossFittedPrices().fit(sets), CrossFittedPrices().fit(changed)
        assert before.price(sets[place].hidden()).tolist() == after.price(sets[place].hidden()).tolist()
        other = sets[(place + 1) % 60].hidden()
        assert before.price(other).tolist() != after.price(other).tolist()
