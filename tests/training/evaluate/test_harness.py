"""The harness: what is held out under each protocol, what choosers get to see, and the figures against sums by hand."""

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from catp.training.baselines import BASELINES, LISTED, Prices, StepPrices
from catp.training.evaluate import Evaluation, evaluate
from catp.training.evaluate.candidates import CandidateSet, Floats
from catp.training.evaluate.protocols import PROTOCOLS, folds, price_tables
from catp.training.evaluate.regret import regret, uniform
from tests.training.baselines.pages import RATE, pages

SETS = pages(120)


class Spy:
    """A chooser that writes down what it is shown."""

    name = "spy"

    def __init__(self) -> None:
        self.fitted: list[CandidateSet] = []
        self.shown: list[tuple[CandidateSet, Prices]] = []

    def fit(self, sets: Sequence[CandidateSet]) -> None:
        self.fitted = list(sets)

    def choose(self, set: CandidateSet, alpha: float, prices: Prices = LISTED) -> Floats:
        self.shown.append((set, prices))
        first: Floats = np.eye(len(set))[0]
        return first

    def predict(self, set: CandidateSet) -> Floats:
        return np.full(len(set), 0.5)


# --- what is held out -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_input_is_on_both_sides_and_folds_are_the_same_for_a_seed(protocol: str) -> None:
    found = folds(SETS, protocol, seed=3)
    for fold in found:
        assert not {one.id for one in fold.train} & {one.id for one in fold.test}
        assert fold.train
        assert fold.test
    again = folds(SETS, protocol, seed=3)
    assert [[one.id for one in fold.test] for fold in found] == [[one.id for one in fold.test] for fold in again]
    assert [fold.prices for fold in found] == [fold.prices for fold in again]


def test_kfold_holds_out_every_task_once() -> None:
    found = folds(SETS, "kfold")
    assert len(found) == 5
    for fold in found:
        assert not {one.group for one in fold.train} & {one.group for one in fold.test}
        assert len(fold.train) + len(fold.test) == len(SETS)
    assert sorted(one.id for fold in found for one in fold.test) == sorted(one.id for one in SETS)
    other = folds(SETS, "kfold", seed=1)
    assert [one.id for one in found[0].test] != [one.id for one in other[0].test]


def test_loo_judges_every_input_once_and_knows_every_task() -> None:
    found = folds(SETS, "loo")
    assert sorted(one.id for fold in found for one in fold.test) == sorted(one.id for one in SETS)
    for fold in found:
        assert {one.group for one in fold.test} <= {one.group for one in fold.train}


@pytest.mark.parametrize(("protocol", "key"), [("split", "name"), ("inputs", "inputs"), ("phrasing", "phrasing")])
def test_own_splits(protocol: str, key: str) -> None:
    (fold,) = folds(SETS, protocol)
    assert {one.split[key] for one in fold.test} == {"test"}
    assert "test" not in {one.split[key] for one in fold.train}
    if key != "name":  # held-out tasks stay out of what is known
        assert "test" not in {one.split["name"] for one in [*fold.train, *fold.test]}
    with pytest.raises(ValueError, match=f"split.{key}"):
        folds([replace(one, split={}) for one in SETS], protocol)


@pytest.mark.parametrize("tools", [None, [["denoise"]], [{"ocr_fine"}, {"denoise", "ocr"}]])
def test_held_out_tools_are_in_no_training_plan_and_in_every_set_that_is_judged(tools: list[list[str]] | None) -> None:
    found = folds(SETS, "tools", tools=tools)
    if tools is not None:
        assert len(found) == len(tools)
    for fold in found:
        known = {tool for one in fold.train for option in one.options for tool in option.tools}
        held = set(fold.prices.listed)
        assert held
        assert not known & held
        for one in fold.test:
            assert any(held & set(option.tools) for option in one.options)
        for tool in held:  # the profile of a tool is the mean of its calls on other inputs
            assert fold.prices.listed[tool] / RATE[tool] == pytest.approx(1000, rel=0.25)


def test_price_tables_change_what_is_paid_and_choosers_are_told() -> None:
    found = folds(SETS, "prices")
    assert len(found) == 5
    original = {one.id: one for one in SETS}
    for fold in found:
        assert set(fold.prices.factors) == set(RATE)
        assert all(0.2 <= factor <= 5 for factor in fold.prices.factors.values())
        for one in fold.train:
            assert one is original[one.id]
        for one in fold.test:
            for option, old in zip(one.options, original[one.id].options, strict=True):
                assert option.score == old.score
                assert option.price == pytest.approx(sum(s.price * fold.prices.factor(s.tool) for s in old.steps))
    spies: list[Spy] = []

    def spy() -> Spy:
        spies.append(Spy())
        return spies[-1]

    evaluate(spy, SETS, protocol="prices", alphas=(0.5,))
    told = [prices for one in spies for _, prices in one.shown]
    assert len({tuple(p.factors.values()) for p in told}) == 5
    assert price_tables(SETS, 3, seed=1) == price_tables(SETS, 3, seed=1) != price_tables(SETS, 3, seed=2)


def test_protocols_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="unknown protocol 'kfolds'; one of kfold"):
        folds(SETS, "kfolds")
    with pytest.raises(ValueError, match="only"):
        folds([one for one in SETS if one.group == "task0"], "kfold")
    with pytest.raises(ValueError, match="nothing to learn"):
        folds(SETS, "tools", tools=[["no such tool"]])
    with pytest.raises(ValueError, match="no alphas"):
        evaluate(Spy, SETS, alphas=())


# --- what choosers see ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_choosers_see_no_outcome_of_what_they_are_judged_on(protocol: str) -> None:
    spies: list[Spy] = []

    def spy() -> Spy:
        spies.append(Spy())
        return spies[-1]

    evaluate(spy, SETS, protocol=protocol, alphas=(0.0, 1.0))
    judged = [one for one in spies if one.shown]
    assert len(judged) == len(folds(SETS, protocol))
    for one in judged:
        for shown, _ in one.shown:
            for option in shown.options:
                figures = [option.score, option.price, option.latency_ms, option.serial_ms]
                figures += [figure for step in option.steps for figure in (step.price, step.ms)]
                assert np.isnan(figures).all()
        assert not {fitted.id for fitted in one.fitted} & {shown.id for shown, _ in one.shown}


# --- the figures ----------------------------------------------------------------------------------------------------


def test_the_oracle_marks_one_end_and_the_worst_the_other() -> None:
    best, worst = evaluate(BASELINES["oracle"], SETS), evaluate(BASELINES["worst"], SETS)
    assert [row.regret.regret for row in best.rows] == [0.0] * 8
    assert best.hv_ratio == pytest.approx(1)
    assert {row.regret.hit for row in best.rows} == {1.0}
    assert [row.regret.regret for row in worst.rows] == pytest.approx([1.0] * 8)
    assert best.sees_outcomes
    assert worst.sees_outcomes
    assert best.sets == len(SETS)
    assert best.groups == 10


def test_random_is_the_mean_over_all_plans() -> None:
    found = evaluate(BASELINES["random"], SETS, alphas=(0.3, 0.8))
    for row in found.rows:
        expected = regret(SETS, uniform(SETS), row.alpha)
        assert row.regret.regret == pytest.approx(expected.regret)
        assert row.regret.score == pytest.approx(expected.score)
    assert not found.sees_outcomes
    assert found.calibration is None


def test_a_chooser_by_hand() -> None:
    """The spy takes the first plan; its figures follow from the sets alone."""
    found = evaluate(Spy, SETS, alphas=(0.6,), protocol="split")
    test = [one for one in SETS if one.split["name"] == "test"]
    lost = sum(one.utility(0.6).max() - one.utility(0.6)[0] for one in test)
    spread = sum(np.ptp(one.utility(0.6)) for one in test)
    row = found.at(0.6)
    assert row is not None
    assert row.regret.regret == pytest.approx(lost / spread)
    assert row.latency.critical is not None
    assert row.latency.critical.mean == pytest.approx(np.mean([one.options[0].latency_ms for one in test]))
    assert row.latency.serial is not None
    assert row.latency.serial.mean == pytest.approx(np.mean([one.options[0].serial_ms for one in test]))
    assert found.calibration is not None
    assert found.calibration.bias == pytest.approx(0.5 - np.mean(np.concatenate([one.scores for one in test])))
    assert found.valid == found.coverage == 1
    assert found.decide_ms is not None
    assert found.decide_ms >= 0
    assert found.at(0.5) is None


def test_budget_violations_by_hand() -> None:
    sets = [
        replace(one, options=tuple(replace(o, price=o.price * (1 + n % 2 * 0.3)) for n, o in enumerate(one.options)))
        for one in SETS
    ]  # fmt: skip
    found = evaluate(BASELINES["oracle-score"], sets, alphas=(0.8,), protocol="split", budget_factor=1.1)
    train, test = ([one for one in sets if (one.split["name"] == "test") is side] for side in (False, True))
    estimates, over = StepPrices().fit(train), []
    for one in test:
        predicted = estimates.price(one.hidden())
        budget = 1.1 * np.median(predicted)
        fits = [option for option, price in zip(one.options, predicted, strict=True) if price <= budget]
        over.append(max(fits, key=lambda option: option.score).price > budget)
    assert found.budget is not None
    assert 0 < np.mean(over) < 1
    assert found.budget.violations == pytest.approx(np.mean(over))
    assert (found.budget.asked, found.budget.refused) == (len(test), 0)
    none = evaluate(BASELINES["oracle-score"], sets, alphas=(0.8,), protocol="split", budget_factor=1e-6).budget
    assert none is not None
    assert (none.refused, none.violations) == (len(test), None)


def test_known_tasks_are_left_out_input_by_input() -> None:
    found = evaluate(BASELINES["table"], SETS, protocol="loo", alphas=(0.8,))
    assert found.sets == len(SETS)
    row, blind = found.at(0.8), evaluate(BASELINES["random"], SETS, protocol="loo", alphas=(0.8,)).at(0.8)
    assert row is not None
    assert blind is not None
    assert row.regret.regret < 0.6 * blind.regret.regret


def test_evaluations_repeat_and_are_json() -> None:
    one, two = (evaluate(BASELINES["gbm"], SETS, alphas=(0.5, 1.0), seed=4) for _ in range(2))

    def bare(found: Evaluation) -> str:
        return json.dumps(replace(found, decide_ms=None).to_json(), allow_nan=False)

    assert bare(one) == bare(two)
    data = json.loads(bare(one))
    assert data["schema"] == "catp.evaluation/1"
    assert data["rows"][0]["regret"]["price_usd"].startswith("0.000")
    assert "price" not in data["rows"][0]["regret"]
    assert data["points"][0]["alpha"] == 0.5


def test_progress_names_every_fold() -> None:
    said: list[str] = []
    evaluate(BASELINES["cheapest"], SETS, alphas=(0.5,), progress=said.append)
    assert [text.partition(",")[0] for text in said] == [f"cheapest: fold {n} of 5" for n in range(1, 6)]
