"""The figures of data cards against numbers worked out by hand, brute force, and the published pool."""

import math
from pathlib import Path

import numpy as np
import pytest

from catp.training.data.card_figures import concurrency, counts, distributions, families, price_text, variance
from catp.training.data.card_tally import Tally
from catp.training.data.card_tools import conditions, is_restoring, tool_spreads
from catp.training.data.card_tradeoff import RULES, fixed_plans, trade_off
from catp.training.data.files import read
from catp.training.evaluate.candidates import CandidateSet, candidate_sets
from tests.training.data.card_sets import TOOLS, made, option
from tests.training.data.making import records

PAIR = [
    made([option("read", 0.2, 0), option("clean read", 1.0, 500_000)], "noisy", condition="noisy"),
    made([option("read", 0.9, 0), option("clean read", 1.0, 500_000)], "clean", condition="clean"),
]
"""At alpha 0.8: utilities 0.16 and 0.70, and 0.72 and 0.70."""


def test_rules_lose_what_they_should() -> None:
    found = trade_off(PAIR, (0.8,))
    assert found is not None
    regrets = {rule: found.at(rule, 0.8).regret for rule in RULES}
    spread = 0.54 + 0.02
    assert regrets == pytest.approx({
        "cheapest": 0.54 / spread, "dearest": 0.02 / spread, "most accurate": 0.02 / spread,
        "best fixed plan": 0.02 / spread, "random": 0.5,
    })  # fmt: skip
    assert {found.at(rule, 0.8).best for rule in RULES} == {0.5}
    assert found.spread == pytest.approx((spread / 2,))


def test_nothing_to_choose_is_no_trade_off() -> None:
    assert trade_off([made([option("read", 0.5, 1)])]) is None


def test_equal_plans_lose_nothing() -> None:
    found = trade_off([made([option("read", 0.5, 7), option("look", 0.5, 7)])], (0.0, 0.8, 1.0))
    assert found is not None
    assert {(point.regret, point.best) for points in found.rules.values() for point in points} == {(0.0, 1.0)}


@pytest.mark.parametrize("seed", range(5))
def test_the_fixed_plan_is_the_best_by_brute_force(seed: int) -> None:
    """Every plan is measured for every input of its task: the best single plan is the one with the highest sum."""
    rng = np.random.default_rng(seed)
    sets = [
        made([option(f"t{plan}", float(rng.random()), float(rng.integers(10**6))) for plan in range(6)],
             f"s{number}", f"task-{number % 3}")
        for number in range(15)
    ]  # fmt: skip
    weights = fixed_plans(sets, 0.7)
    for task in range(3):
        mine = [(one, w) for one, w in zip(sets, weights, strict=True) if one.group == f"task-{task}"]
        reached = sum(float(w @ one.utility(0.7)) for one, w in mine)
        assert reached == pytest.approx(max(sum(one.utility(0.7)[plan] for one, _ in mine) for plan in range(6)))


def test_inputs_without_the_fixed_plan_take_the_next_best() -> None:
    sets = [
        made([option("read", 0.4, 0), option("look", 0.9, 0)], "1"),
        made([option("read", 0.4, 0), option("look", 0.9, 0)], "2"),
        made([option("clean read", 0.1, 0), option("read", 0.6, 0)], "3"),
    ]
    assert [weights.tolist() for weights in fixed_plans(sets, 1.0)] == [[0, 1], [0, 1], [0, 1]]
    assert fixed_plans([*sets, made([option("other", 0.3, 0)], "4")], 1.0)[3].tolist() == [1]


def test_variance_splits_as_in_a_nested_analysis() -> None:
    sets = [
        made([option("read", 0.0, 9), option("look", 0.2, 9)], "1", "a"),
        made([option("read", 0.4, 9), option("look", 0.6, 9)], "2", "a"),
        made([option("read", 1.0, 9), option("look", 1.0, 9)], "3", "b"),
    ]  # sums of squares by hand: 0.6533 + 0.16 + 0.04 = 0.8533
    found = variance(sets, 1.0)
    assert (found.between_tasks, found.between_inputs, found.within_input) == pytest.approx(
        (0.765625, 0.1875, 0.046875)
    )
    flat = variance([made([option("read", 0.5, 9)])], 1.0)
    assert (flat.between_tasks, flat.within_input) == (None, None)


def test_conditions_say_which_plan_wins() -> None:
    clean, noisy = conditions(PAIR, TOOLS, 0.8)
    assert (clean.condition, clean.restores, clean.offered, clean.usual) == ("clean", 0.0, 0.5, "read")
    assert (noisy.condition, noisy.restores, noisy.steps, noisy.usual) == ("noisy", 1.0, 2.0, "clean → read")
    tie = made([option("read", 0.5, 5), option("clean read", 0.5, 5)], "tie", condition="noisy")
    assert conditions([tie], TOOLS)[0].restores == 0.5
    assert conditions(PAIR, {})[0].restores is None
    assert conditions([made([option("read", 0.5, 5)], condition="noisy")], TOOLS) == []
    assert conditions([made([option("read", 0.5, 5), option("look", 0.4, 5)])], TOOLS) == []


def test_restoring_tools_give_back_what_they_take() -> None:
    assert [name for name, tool in TOOLS.items() if is_restoring(tool)] == ["clean"]


def test_tools_are_compared_within_inputs() -> None:
    sets = [
        made([option("read", 0.9, 100), option("clean read", 0.5, 400)], "1"),
        made([option("read", 0.2, 300), option("clean read", 0.4, 400)], "2"),
    ]
    clean, read = tool_spreads(sets, TOOLS)
    assert (clean.tool, clean.capability, clean.plans, clean.score) == ("clean", "denoise", 2, 0.45)
    assert clean.advantage == pytest.approx((-0.2 + 0.1) / 2)
    assert (read.tool, read.plans, read.price.p50_usd, read.advantage) == ("read", 4, "0.0000002", None)
    assert tool_spreads(sets, {})[0].capability == "clean"


def test_counts() -> None:
    sets = [*PAIR, made([option("read", 0.1, 5)], "one", "text-language", split="test")]
    found = counts(sets, Tally())
    assert (found.tasks, found.inputs, found.plans, found.distinct_plans, found.tools) == (2, 3, 5, 2, 2)
    assert (found.plans_per_input_mean, found.plans_per_input_min, found.plans_per_input_max) == (5 / 3, 1, 2)
    assert found.inputs_with_one_plan == 1 / 3
    assert (found.languages, found.splits) == ({"en": 3}, {"name": {"train": 2, "test": 1}})
    with pytest.raises(ValueError, match="no candidate sets"):
        counts([], Tally())


def test_shapes_are_told_from_graphs_texts_and_calls() -> None:
    """Two inputs with a chain, a diamond and a chain; two with a map, three times."""
    tally, known = Tally(), records(3)
    assert list(tally.watch(known)) == known
    shape = tally.shape()
    assert (shape.plans, shape.chain, shape.fork, shape.join) == (12, 10 / 12, 2 / 12, 2 / 12)
    assert (shape.map, shape.repeat, shape.optional) == (6 / 12, 2 / 12, 0.0)
    assert shape.steps == {2: 10, 4: 2}


def test_optional_outputs_are_read_from_the_plan() -> None:
    one = records(3)[0]
    text = "in page: image\nread = ocr(page)\nout read.text, read.score?\n"
    tally = Tally()
    list(tally.watch([one.model_copy(update={"plan": one.plan.model_copy(update={"text": text})})]))
    assert tally.shape().optional == 1.0
    list(tally.watch([one.model_copy(update={"plan": one.plan.model_copy(update={"text": "not a plan"})})]))
    assert tally.shape().optional == 1.0  # of those that can be read


def test_families_are_few() -> None:
    few = [made([option("read", 1, 1)], wanted=[name]) for name in ("text", "Language")]
    assert families(few) == ["image → text", "image → Language"]
    many = [
        made([option("read", 1, 1)], group=f"{'page' if n % 2 else 'photo'}-{n}", wanted=[str(n)]) for n in range(9)
    ]
    assert set(families(many)) == {"page", "photo"}
    wide = [made([option("read", 1, 1)], group=f"g{n}", wanted=[str(n)], inputs=[f"t{n}"]) for n in range(9)]
    assert len(set(families(wide))) == 7
    assert families([made([option("read", 1, 1)], wanted=[])]) == ["made"]


def test_distributions_and_concurrency_live_with_what_is_missing() -> None:
    known = made([option("read", 0.5, 1000, latency=50, serial=100)], "1")
    unknown = made([option("read", 0.7, 3000, latency=math.nan, serial=math.nan)], "2")
    (both,) = distributions([known, unknown])
    assert (both.inputs, both.price.p50_usd) == (2, "0.000002")
    assert both.score.mean == pytest.approx(0.6)
    assert both.latency_ms is not None
    assert both.latency_ms.mean == 50
    assert distributions([unknown])[0].latency_ms is None
    found = concurrency([known, unknown])
    assert found is not None
    assert (found.plans, found.ratio, found.shortest) == (1, 0.5, 0.5)
    assert concurrency([unknown]) is None


@pytest.mark.parametrize(
    ("nano", "text"),
    [(0, "0"), (1, "0.000000001"), (0.4, "0.00"), (123_456, "0.000123"), (2e9, "2.00"), (999_999, "0.001")],
)
def test_prices_are_read_to_three_digits(nano: float, text: str) -> None:
    assert price_text(nano) == text


@pytest.mark.parametrize(
    ("name", "cheapest", "shares"), [("seq", 0.859, (0.33, 0.15, 0.52)), ("nonseq", 0.742, (0.11, 0.59, 0.30))]
)
def test_figures_of_the_published_pool(
    shared_opencatp: Path, name: str, cheapest: float, shares: tuple[float, float, float]
) -> None:
    """training.md, 1.3, has them for the whole pool; a part of its tasks is kept elsewhere, so they differ a little."""
    sets: list[CandidateSet] = [
        one for one in candidate_sets(read(shared_opencatp)) if one.dataset.endswith(f"/{name}")
    ]
    found = trade_off(sets, (0.5,), draws=20)
    assert found is not None
    assert found.at("cheapest", 0.5).best == pytest.approx(cheapest, abs=0.03)
    split = variance(sets, 0.5)
    assert (split.between_tasks, split.between_inputs, split.within_input) == pytest.approx(shares, abs=0.05)
