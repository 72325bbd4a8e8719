"""Every baseline: proper weights, blind to outcomes, the same every time; and each one against its own definition."""

from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest

from catp.training.baselines import BASELINES, Prices
from catp.training.baselines.features import FeatureSpace
from catp.training.baselines.prices import StepPrices
from catp.training.baselines.tables import PlanTable
from catp.training.evaluate.candidates import CandidateSet, Option, StepUse
from catp.training.evaluate.regret import best_of, regret
from tests.training.baselines.pages import SCALE, every_plan, pages, scrambled

ALPHAS = (0.0, 0.5, 0.8, 1.0)
TABLE = Prices({"ocr": 5.0, "denoise": 0.2})
BLIND = [name for name in BASELINES if not getattr(BASELINES[name](), "sees_outcomes", False)]


def test_only_oracles_see_outcomes() -> None:
    assert set(BASELINES) - set(BLIND) == {"oracle", "oracle-price", "oracle-score", "worst", "fixed-hindsight"}


@pytest.mark.parametrize("name", BASELINES)
def test_names_and_weights(name: str) -> None:
    train, test = pages(60), pages(20, seed=9, least=1)
    chooser = BASELINES[name]()
    assert chooser.name == name
    chooser.fit(train if name in BLIND else test)
    for one in test:
        for alpha in ALPHAS:
            weights = chooser.choose(one if name not in BLIND else one.hidden(), alpha, TABLE)
            assert weights.shape == (len(one),)
            assert (weights >= 0).all()
            assert weights.sum() == pytest.approx(1)
        predicted = chooser.predict(one.hidden())
        assert predicted is None or predicted.shape == (len(one),)


@pytest.mark.parametrize("name", BLIND)
def test_choices_do_not_depend_on_the_outcomes_of_the_set(name: str) -> None:
    """The chooser is even handed the outcomes: it may not look."""
    train, test = pages(80), pages(25, seed=9)
    chooser = BASELINES[name]()
    chooser.fit(train)
    for one, other in zip(test, scrambled(test), strict=True):
        for alpha in ALPHAS:
            bare = chooser.choose(one.hidden(), alpha, TABLE)
            assert chooser.choose(one, alpha, TABLE).tolist() == bare.tolist()
            assert chooser.choose(other, alpha, TABLE).tolist() == bare.tolist()
        np.testing.assert_array_equal(chooser.predict(one), chooser.predict(other.hidden()))


@pytest.mark.parametrize("name", [n for n in BASELINES if getattr(BASELINES[n](), "leaves_own_out", False)])
def test_what_leaves_its_own_out_does_not_know_its_own_outcomes(name: str) -> None:
    sets = pages(60)
    for place in range(0, 60, 7):
        changed = [*sets[:place], scrambled([sets[place]])[0], *sets[place + 1 :]]
        one, other = BASELINES[name](), BASELINES[name]()
        one.fit(sets)
        other.fit(changed)
        hidden = sets[place].hidden()
        for alpha in ALPHAS:
            assert one.choose(hidden, alpha).tolist() == other.choose(hidden, alpha).tolist()
        mine, its = np.asarray(one.predict(hidden)), np.asarray(other.predict(hidden))
        np.testing.assert_allclose(mine, its, rtol=1e-12)  # sums less its own share


@pytest.mark.parametrize("name", BASELINES)
def test_fitting_anew_forgets(name: str) -> None:
    first, second, test = pages(40, seed=1), pages(40, seed=2), pages(10, seed=3)
    twice, once = BASELINES[name](), BASELINES[name]()
    twice.fit(first)
    for one in test:
        twice.choose(one, 0.8)
    twice.fit(second)
    once.fit(second)
    for one in test:
        assert twice.choose(one, 0.8).tolist() == once.choose(one, 0.8).tolist()


# --- rules ----------------------------------------------------------------------------------------------------------


def test_cheapest_is_cheapest_under_the_price_table() -> None:
    chooser = BASELINES["cheapest"]()
    chooser.fit(pages(200))
    changed = 0
    for one in pages(50, seed=4):
        truth = TABLE.applied(one)
        assert chooser.choose(one.hidden(), 0.8, TABLE).tolist() == best_of(-truth.prices).tolist()
        changed += best_of(-truth.prices).tolist() != best_of(-one.prices).tolist()
    assert changed > 0  # the table matters


def test_lengths_are_shared_evenly_among_equals() -> None:
    one = next(one for one in pages(50) if sorted(len(o.steps) for o in one.options) == [2, 2, 3, 3])
    shortest, longest = (BASELINES[name]().choose(one.hidden(), 0.5) for name in ("shortest", "longest"))
    assert shortest.tolist() == [0.5 if len(o.steps) == 2 else 0.0 for o in one.options]
    assert longest.tolist() == [0.5 if len(o.steps) == 3 else 0.0 for o in one.options]


def test_most_frequent_counts_plans_and_falls_back_to_tools() -> None:
    train = pages(60)
    chooser = BASELINES["frequent"]()
    chooser.fit(train)
    counts = Counter(option.plan for one in train for option in one.options)
    for one in pages(20, seed=5):
        expected = best_of(np.array([float(counts[option.plan]) for option in one.options]))
        assert chooser.choose(one.hidden(), 0.5).tolist() == expected.tolist()
    known, *_ = (one for one in train if len(one) >= 2)
    never = Option("new", "never seen", (StepUse("strange", ()),))
    reordered = replace(known.options[0], plan="never seen either", steps=tuple(reversed(known.options[0].steps)))
    assert chooser.choose(replace(known, options=(never, reordered)), 0.5).tolist() == [0.0, 1.0]


# --- tables ---------------------------------------------------------------------------------------------------------


def test_the_table_is_the_mean_over_the_tasks_other_inputs() -> None:
    sets = pages(60)
    table = PlanTable().fit(sets)
    for one in sets[:20]:
        rows = defaultdict(list)
        for other in sets:
            if other.group == one.group and other.id != one.id:
                for option in other.options:
                    rows[option.plan].append(option.score - other.scores.mean())
        expected = [np.mean(rows[option.plan]) if rows[option.plan] else np.nan for option in one.options]
        assert table.advantage(one.hidden()) == pytest.approx(expected, nan_ok=True)


def test_the_table_of_an_unknown_task_is_the_price() -> None:
    train = pages(60)
    table, cheapest = BASELINES["table"](), BASELINES["cheapest"]()
    table.fit(train)
    cheapest.fit(train)
    for one in pages(10, seed=6):
        stranger = replace(one.hidden(), group="another task", id="another input")
        for alpha in ALPHAS:
            assert table.choose(stranger, alpha).tolist() == cheapest.choose(stranger, alpha).tolist()


def test_hindsight_is_the_best_fixed_plan_of_each_task() -> None:
    sets = pages(80, least=4)  # every input offers every plan, so brute force is simple
    chooser = BASELINES["fixed-hindsight"]()
    chooser.fit(sets)
    for alpha in ALPHAS:
        for task in sorted({one.group for one in sets}):
            mine = [one for one in sets if one.group == task]
            best = max(
                float(np.sum([one.utility(alpha)[[o.plan for o in one.options].index(plan)] for one in mine]))
                for plan in every_plan(mine)
            )
            got = sum(float(chooser.choose(one, alpha) @ one.utility(alpha)) for one in mine)
            assert got == pytest.approx(best)


def test_most_accurate_takes_what_scored_best_on_average_whatever_it_costs() -> None:
    train = pages(300)
    chooser = BASELINES["accurate"]()
    chooser.fit(train)
    full = [one for one in pages(60, seed=8) if len(one) == 4]
    assert full
    for one in full:
        choice = one.options[int(np.argmax(chooser.choose(one.hidden(), 0.1)))]
        assert choice.plan == "denoise-ocr_fine"


def test_most_accurate_takes_the_dearest_of_what_it_does_not_know() -> None:
    chooser = BASELINES["accurate"]()
    chooser.fit([replace(one, options=one.options[:1]) for one in pages(100)])  # prices, but nothing to compare
    for one in pages(10, seed=8):
        assert chooser.choose(one.hidden(), 0.5).tolist() == best_of(one.prices).tolist()


# --- learned --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gbm", "ridge", "gbm-advantage", "gbm-known"])
def test_learned_qualities_see_the_input_and_beat_every_fixed_plan(name: str) -> None:
    train, test = pages(400), pages(200, seed=11)
    learned, fixed = BASELINES[name](), BASELINES["fixed-hindsight"]()
    learned.fit(train)
    fixed.fit(test)
    for alpha in (0.6, 0.8):
        mine = regret(test, [learned.choose(one.hidden(), alpha) for one in test], alpha).regret
        best = regret(test, [fixed.choose(one, alpha) for one in test], alpha).regret
        assert mine < 0.6 * best, (alpha, mine, best)


@pytest.mark.parametrize("name", ["gbm", "ridge"])
def test_learned_scores_are_close_to_the_truth(name: str) -> None:
    chooser = BASELINES[name]()
    chooser.fit(pages(400))
    test = pages(100, seed=11)
    errors = [np.abs(np.asarray(chooser.predict(one.hidden())) - one.scores).mean() for one in test]
    assert float(np.mean(errors)) < (0.05 if name == "gbm" else 0.12)


def test_a_model_says_when_it_was_not_fitted_or_has_nothing_to_learn_from() -> None:
    chooser = BASELINES["gbm"]()
    with pytest.raises(RuntimeError, match="gbm must be fitted"):
        chooser.choose(pages(1)[0], 0.5)
    with pytest.raises(ValueError, match="no candidate set"):
        chooser.fit([])


def test_features_of_a_plan() -> None:
    """A diamond with a step that nothing uses: a -> b, c; b + c -> d; e alone."""
    steps = (StepUse("a", ()), StepUse("b", (0,)), StepUse("c", (0,)), StepUse("d", (1, 2)), StepUse("e", ()))
    option = Option("o", "o", steps, 0.5, 1.0)
    one = CandidateSet("s", "g", "d", (option,) * 3, SCALE, wanted=("text",), input_types=("image",), sizes=(1000,),
                       conditions=("noisy",), lang="de")  # fmt: skip
    space = FeatureSpace(StepPrices(), crossed=True)
    space.fit([one])
    row = dict(zip(space.names, space.matrix(one)[0], strict=True))
    assert (row["steps"], row["depth"], row["joins"], row["forks"]) == (5, 3, 1, 1)
    assert row["b -> d"] == row["end d"] == row["end e"] == row["tool a"] == 1
    assert "end a" not in row
    assert row["size image"] == pytest.approx(3)
    assert row["condition noisy"] == row["wanted text"] == row["language de"] == row["a on noisy"] == 1
    assert row["a x size image"] == pytest.approx(3)


def test_features_never_seen_in_training_are_left_out() -> None:
    space = FeatureSpace(StepPrices())
    width = space.fit(pages(50)).shape[1]
    strange = replace(pages(1)[0], options=(Option("o", "o", (StepUse("strange", ()),)),), conditions=("odd",))
    assert space.matrix(strange).shape == (1, width)
    assert not any("strange" in name or "odd" in name for name in space.names)
