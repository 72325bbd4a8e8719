"""The gate: a better policy passes, an equal or worse one does not, and too small a log says nothing."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from catp.training.critic.gate import fitted_values, logged_choices, promote
from catp.training.data.trajectory import Trajectory
from catp.training.evaluate.candidates import CandidateSet, Floats, candidate_sets
from catp.training.evaluate.logged import Logged, draw_log
from catp.training.evaluate.ope import Estimate, Refused
from catp.training.evaluate.regret import best_of, uniform, worst
from tests.training.evaluate.making import leaning, pool

ALPHA = 0.8
SETS = [replace(one, input_types=("text",), conditions=("",)) for one in pool(400, 1)]
LOG = draw_log(SETS, uniform(SETS), ALPHA, np.random.default_rng(5))


class Told:
    """A policy that was worked out beforehand, from outcomes that the gate does not show it."""

    def __init__(self, weights: list[Floats]) -> None:
        self._by_id = {one.id: mine for one, mine in zip(SETS, weights, strict=True)}
        self.shown: list[CandidateSet] = []

    def __call__(self, one: CandidateSet) -> Floats:
        self.shown.append(one)
        return self._by_id[one.id]


def most_tools(one: CandidateSet) -> Floats:
    return best_of(np.array([float(len(option.tools)) for option in one.options]))


def true_value(weights: list[Floats]) -> float:
    return float(np.mean([mine @ one.utility(ALPHA) for one, mine in zip(SETS, weights, strict=True)]))


def test_a_better_policy_is_promoted_and_a_worse_one_is_not() -> None:
    good = [most_tools(one) for one in SETS]  # quality is additive in this pool, and weighs most
    bad = worst(SETS, ALPHA)
    assert true_value(good) > true_value(list(uniform(SETS))) + 0.05 > true_value(bad) + 0.1
    candidate = Told(good)
    up = promote(candidate, None, LOG, fqe_steps=60)
    assert up.promote
    assert isinstance(up.candidate, Estimate)
    assert up.candidate.low is not None
    assert up.current_value == pytest.approx(LOG.reward.mean())
    assert up.candidate.low > LOG.reward.mean()
    assert up.candidate.low < true_value(good) < (up.candidate.high or 0)
    assert up.ess >= 50
    assert "above the current policy's" in up.reasons[-1]
    assert all(np.isnan(option.score) and np.isnan(option.price) for one in candidate.shown for option in one.options)
    down = promote(Told(bad), Told(good), LOG, fqe_steps=10)
    assert not down.promote
    assert isinstance(down.current, Estimate)
    assert down.current_value == down.current.value
    assert down.to_json()["mode"] == "shadow"


def test_the_policy_that_was_logged_is_not_better_than_itself() -> None:
    verdict = promote(lambda one: np.full(len(one), 1 / len(one)), None, LOG, fqe_steps=20)
    assert not verdict.promote
    assert verdict.ess == pytest.approx(len(SETS))
    assert "not above" in verdict.reasons[-1]


def test_too_few_effective_rows_are_refused_before_anything_is_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("fitted")

    monkeypatch.setattr("catp.training.critic.gate.fit", never)
    few = Logged(
        LOG.sets[:120], LOG.chosen[:120], LOG.propensity[:120], LOG.reward[:120], LOG.price[:120], LOG.alpha[:120]
    )
    verdict = promote(most_tools, None, few)
    assert not verdict.promote
    assert isinstance(verdict.candidate, Refused)
    assert verdict.ess < 50
    assert verdict.model_value is None
    assert "below 50" in verdict.reasons[0]


def test_fitted_values_follow_the_policy_and_the_estimate_survives_a_bad_model() -> None:
    """Values of a good and a bad policy differ the right way; with no fitting at all the interval still holds."""
    good, bad = [most_tools(one) for one in SETS], worst(SETS, ALPHA)
    mine, its = (fitted_values(LOG, weights, steps=100).mean() for weights in (good, bad))
    assert mine > its
    assert mine == pytest.approx(true_value(good), abs=0.1)
    verdict = promote(Told(good), None, LOG, fqe_steps=1)
    assert isinstance(verdict.candidate, Estimate)
    assert verdict.candidate.value == pytest.approx(true_value(good), abs=0.06)


def test_logs_that_do_not_fit_are_refused() -> None:
    mixed = replace(LOG, alpha=np.where(np.arange(len(LOG)) % 2, 0.5, 0.8))
    with pytest.raises(ValueError, match="one alpha at a time"):
        promote(most_tools, None, mixed)
    with pytest.raises(ValueError, match="weights must be probabilities"):
        promote(lambda one: np.ones(len(one)), None, LOG)
    one_task = replace(LOG, sets=tuple(replace(one, group="only") for one in LOG.sets))
    with pytest.raises(ValueError, match="needs rows of several tasks"):
        promote(lambda one: np.full(len(one), 1 / len(one)), None, one_task)


def record(number: int, tool: str, propensity: float | None) -> Trajectory:
    return Trajectory.from_json({
        "schema": "catp.trajectory/1", "trajectory_id": f"{number}-{tool}", "dataset": "made", "group": f"g{number}",
        "candidate_set": f"s{number}", "request": {"inputs": [{"type": "text", "chars": 10}], "wanted": []},
        "toolset": "made", "objective": {"price_scale_usd": "1"},
        "policy": {} if propensity is None else {"name": "old", "propensity": propensity},
        "plan": {"nodes": [{"id": "n", "tool": tool}], "edges": [["input", "n"]]},
        "events": [{"node": "n", "status": "ok", "start_ms": 0, "end_ms": 1, "price_usd": "0.1"}],
        "outcome": {"status": "ok", "score": 0.5 if tool == "a" else 0.9, "price_usd": "0.1"},
    })  # fmt: skip


def test_choices_are_joined_with_what_was_on_offer() -> None:
    measured = list(candidate_sets([record(0, "a", None), record(0, "b", 0.3), record(1, "a", None)]))
    rows = logged_choices(measured, [record(0, "b", 0.25)], 0.5)
    assert len(rows) == 1
    assert [option.tools for option in rows.sets[0].options] == [("a",), ("b",)]
    assert (rows.chosen[0], rows.propensity[0]) == (1, 0.25)
    assert rows.reward[0] == pytest.approx(0.5 * 0.9 - 0.5 * 0.1)
    with pytest.raises(ValueError, match="which plans were on offer"):
        logged_choices(measured, [record(7, "b", 0.25)], 0.5)
    with pytest.raises(ValueError, match="is not among those on offer"):
        logged_choices(measured, [record(1, "b", 0.25)], 0.5)
    with pytest.raises(ValueError, match="carries a propensity"):
        logged_choices(measured, [record(0, "b", None)], 0.5)


def test_behaviour_that_leans_is_corrected() -> None:
    """A log of long plans overstates them; the estimate of an even choice is still right."""
    log = draw_log(SETS, leaning(SETS, 1.0, explore=0.3), ALPHA, np.random.default_rng(6))
    verdict = promote(lambda one: np.full(len(one), 1 / len(one)), None, log, fqe_steps=20)
    assert isinstance(verdict.candidate, Estimate)
    truth = true_value(list(uniform(SETS)))
    assert abs(verdict.candidate.value - truth) < (log.reward.mean() - truth) / 2
