import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.training.evaluate.candidates import CandidateSet, Floats
from catp.training.evaluate.logged import Logged, draw_log, from_records
from catp.training.evaluate.ope import (
    REFUSE_BELOW,
    Estimate,
    Method,
    Refused,
    bare_value,
    effective_sample_size,
    estimate,
)
from catp.training.evaluate.regret import best_of, oracle, uniform
from tests.training.evaluate.making import leaning, made, pool, random_weights

ALPHA = 0.5


def truth(sets: Sequence[CandidateSet], weights: Sequence[Floats]) -> float:
    return float(np.mean([w @ one.utility(ALPHA) for one, w in zip(sets, weights, strict=True)]))


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def exact(sets: Sequence[CandidateSet]) -> list[Floats]:
    return [one.utility(ALPHA) for one in sets]


# --- what the estimators promise ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["ips", "dr"])
def test_ips_and_dr_are_unbiased_on_a_bandit_whose_truth_is_known(method: Method) -> None:
    """Mean of 400 logs within 4 standard errors; predictions that are badly off do not bias dr."""
    sets = pool(150, 1)
    behaviour, target = leaning(sets), oracle(sets, ALPHA)
    wrong = [one.utility(ALPHA) * 0.3 + 0.4 for one in sets]
    found = np.array([
        bare_value(method, draw_log(sets, behaviour, ALPHA, rng(2, n)), target, wrong) for n in range(400)
    ])  # fmt: skip
    standard_error = found.std(ddof=1) / np.sqrt(len(found))
    assert abs(found.mean() - truth(sets, target)) < 4 * standard_error
    assert standard_error < 0.02


def test_snips_is_steadier_than_ips() -> None:
    sets = pool(150, 2)
    behaviour, target = leaning(sets), oracle(sets, ALPHA)
    logs = [draw_log(sets, behaviour, ALPHA, rng(3, n)) for n in range(200)]
    errors = {
        method: np.sqrt(np.mean([(bare_value(method, log, target) - truth(sets, target)) ** 2 for log in logs]))
        for method in ("ips", "snips")
    }
    assert errors["snips"] < 0.75 * errors["ips"]


def test_dr_is_exact_where_the_predictions_are() -> None:
    sets = pool(200, 3)
    target = random_weights(sets, 1)
    for n in range(3):
        log = draw_log(sets, leaning(sets), ALPHA, rng(4, n))
        assert bare_value("dr", log, target, exact(sets)) == pytest.approx(truth(sets, target), abs=1e-12)
        assert bare_value("dm", log, target, exact(sets)) == pytest.approx(truth(sets, target), abs=1e-12)


def test_snips_shifts_with_rewards_and_ips_does_not() -> None:
    sets = pool(200, 4)
    target = random_weights(sets, 2)
    log = draw_log(sets, leaning(sets), ALPHA, rng(5))
    shifted = replace(log, reward=log.reward + 10)
    assert bare_value("snips", shifted, target) == pytest.approx(bare_value("snips", log, target) + 10)
    assert abs(bare_value("ips", shifted, target) - bare_value("ips", log, target) - 10) > 0.1


def test_on_policy_all_of_them_are_the_mean_reward() -> None:
    sets = pool(200, 5)
    behaviour = leaning(sets)
    log = draw_log(sets, behaviour, ALPHA, rng(6))
    for method in ("ips", "snips"):
        found = estimate(method, log, behaviour)
        assert isinstance(found, Estimate)
        assert found.value == pytest.approx(log.reward.mean())
        assert found.ess == pytest.approx(200)
        assert found.unsupported == 0
        assert found.warnings == ()


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """200 fresh families with one row per group: 95 % intervals hold the mean of the family in 90-99 %."""
    methods: tuple[Method, ...] = ("ips", "snips", "dr")
    held = dict.fromkeys(methods, 0)
    mean = truth(large := pool(4000, 99, groups=4000), uniform(large))
    for n in range(200):
        sets = pool(80, 1000 + n, groups=80)
        log = draw_log(sets, leaning(sets, 0.5), ALPHA, rng(7, n))
        for method in methods:
            found = estimate(method, log, uniform(sets), [one.utility(ALPHA) * 0.5 for one in sets])
            assert isinstance(found, Estimate)
            assert found.low is not None
            assert found.high is not None
            held[method] += found.low <= mean <= found.high
            assert found.high - found.low < 0.3
    assert all(0.90 <= count / 200 <= 0.99 for count in held.values()), held


def test_standard_errors_are_over_groups() -> None:
    """Copies of a row in its group say nothing new: the standard error stays what it was."""
    sets = [made([0.2, 0.8], [1, 1], f"s{n}", f"g{n}") for n in range(60)]
    log = draw_log(sets, uniform(sets), 1.0, rng(8))
    three = [np.tile(column, 3) for column in (log.propensity, log.reward, log.price, log.alpha)]
    thrice = Logged(log.sets * 3, np.tile(log.chosen, 3), three[0], three[1], three[2], three[3])
    once, more = estimate("ips", log, uniform(sets)), estimate("ips", thrice, uniform(sets) * 3)
    assert isinstance(once, Estimate)
    assert isinstance(more, Estimate)
    assert once.se == pytest.approx(np.std(log.reward, ddof=1) / np.sqrt(60))
    assert more.se == pytest.approx(once.se)
    one = replace(log, sets=tuple(replace(s, group="g") for s in log.sets))
    alone = estimate("ips", one, uniform(sets))
    assert isinstance(alone, Estimate)
    assert (alone.se, alone.low, alone.high) == (None, None, None)


# --- effective sample size and refusal ------------------------------------------------------------------------------


@settings(derandomize=True, deadline=None)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=50))
def test_effective_sample_size_is_between_1_and_n(weights: list[float]) -> None:
    found = effective_sample_size(np.array(weights))
    if sum(w * w for w in weights) > 0:
        assert found == pytest.approx(sum(weights) ** 2 / sum(w * w for w in weights))
        assert 1 - 1e-9 <= found <= len(weights) + 1e-9
    else:
        assert found == 0


def test_effective_sample_size_of_equal_and_of_single_weights() -> None:
    assert effective_sample_size(np.full(80, 3.0)) == pytest.approx(80)
    assert effective_sample_size(np.array([5.0, 0, 0])) == 1
    assert effective_sample_size(np.zeros(4)) == 0


@pytest.mark.parametrize("method", ["ips", "snips", "dr"])
def test_too_few_effective_rows_are_refused(method: Method) -> None:
    sets = pool(REFUSE_BELOW - 1, 6)
    log = draw_log(sets, uniform(sets), ALPHA, rng(9))
    found = estimate(method, log, uniform(sets), exact(sets))
    assert isinstance(found, Refused)
    assert found.ess == pytest.approx(REFUSE_BELOW - 1)
    assert "effective sample size is 49.0 of 49 rows, below 50" in found.reason
    assert not hasattr(found, "value")
    one_more = pool(REFUSE_BELOW, 6)
    enough = estimate(method, draw_log(one_more, uniform(one_more), ALPHA, rng(9)), uniform(one_more), exact(one_more))
    assert isinstance(enough, Estimate)


def test_a_target_that_was_never_logged_is_refused_and_dm_says_it_weighs_nothing() -> None:
    sets = [made([0.1, 0.9], [1, 1], f"s{n}", f"g{n}") for n in range(100)]
    first, second = [[np.eye(2)[place] for _ in sets] for place in (0, 1)]
    log = draw_log(sets, first, ALPHA, rng(10))
    refused = estimate("dr", log, second, exact(sets))
    assert isinstance(refused, Refused)
    assert refused.ess == 0
    found = estimate("dm", log, second, exact(sets))
    assert isinstance(found, Estimate)
    assert (found.ess, found.unsupported) == (None, 1)
    assert any("no effective sample size" in text for text in found.warnings)
    assert any("100.0% of the target's choices are never logged" in text for text in found.warnings)


def test_choices_the_log_cannot_show_are_reported() -> None:
    sets = [made([0.1, 0.9], [1, 1], f"s{n}", f"g{n}") for n in range(100)]
    log = draw_log(sets, [np.array([1.0, 0.0])] * 100, 1.0, rng(11))
    found = estimate("ips", log, [np.array([0.75, 0.25])] * 100)
    assert isinstance(found, Estimate)
    assert found.unsupported == pytest.approx(0.25)
    assert found.value == pytest.approx(0.075)  # the truth is 0.3
    assert found.warnings == ("25.0% of the target's choices are never logged: they count as utility 0",)
    blind = estimate("ips", replace(log, behaviour=None), [np.array([0.75, 0.25])] * 100)
    assert isinstance(blind, Estimate)
    assert blind.unsupported is None
    assert "weights have the mean 0.750 and should have 1" in blind.warnings[0]


# --- logs -----------------------------------------------------------------------------------------------------------


def test_draws_follow_the_behaviour_policy() -> None:
    sets = [made([0.1, 0.5, 0.9], [1, 2, 3], f"s{n}") for n in range(3000)]
    weights = np.array([0.2, 0.0, 0.8])
    log = draw_log(sets, [weights] * 3000, 1.0, rng(12))
    share = np.bincount(log.chosen, minlength=3) / 3000
    assert share[1] == 0
    assert share[2] == pytest.approx(0.8, abs=4 * math.sqrt(0.16 / 3000))
    assert (log.propensity == weights[log.chosen]).all()
    assert log.reward == pytest.approx(np.array([0.1, 0.5, 0.9])[log.chosen])
    again = draw_log(sets, [weights] * 3000, 1.0, rng(12))
    assert (again.chosen == log.chosen).all()


def recorded(one: CandidateSet, place: int, propensity: float, policy: str = "mine") -> CandidateSet:
    options = list(one.options)
    options[place] = replace(options[place], propensity=propensity, policy=policy)
    return replace(one, options=tuple(options))


def test_records_with_propensities_are_a_log() -> None:
    sets = pool(80, 7)
    behaviour = leaning(sets)
    log = draw_log(sets, behaviour, ALPHA, rng(13))
    written = [recorded(one, int(p), float(b[p])) for one, p, b in zip(sets, log.chosen, behaviour, strict=True)]
    read = from_records(written, ALPHA)
    assert (read.chosen == log.chosen).all()
    assert read.propensity == pytest.approx(log.propensity)
    assert read.reward == pytest.approx(log.reward)
    assert read.behaviour is None
    target = uniform(sets)
    assert bare_value("snips", read, target) == pytest.approx(bare_value("snips", log, target))


def test_a_set_logged_twice_gives_two_rows_and_policies_can_be_told_apart() -> None:
    one = recorded(recorded(made([0.1, 0.9], [1, 2]), 0, 0.25, "a"), 1, 0.5, "b")
    other = recorded(made([0.1, 0.9], [1, 2], "t"), 1, 0.125, "b")
    assert from_records([one, other], 1.0).propensity.tolist() == [0.25, 0.5, 0.125]
    assert [s.id for s in from_records([one, other], 1.0, policy="b").sets] == ["s", "t"]
    assert from_records([one, other], 1.0, policy="b").reward.tolist() == [0.9, 0.9]


def test_records_without_propensities_are_refused() -> None:
    with pytest.raises(ValueError, match=r"none of the records in 1 sets carries a propensity"):
        from_records([made([0.1], [1])], 1.0)
    with pytest.raises(ValueError, match="none of the records of policy 'x'"):
        from_records([recorded(made([0.1], [1]), 0, 0.5)], 1.0, policy="x")


@pytest.mark.parametrize(
    ("propensity", "message"),
    [
        (0.0, "propensity 0.0 must be above 0"),
        (-0.5, "propensity -0.5 must be above 0"),
        (math.nan, "propensity nan must be above 0"),
        (1e-9, "propensity 1e-09 is below 1e-06"),
        (1.5, "propensity 1.5 must be at most 1"),
    ],
)
def test_propensities_that_cannot_be_weighed_by_are_refused(propensity: float, message: str) -> None:
    with pytest.raises(ValueError, match=rf"row 0 \(option 's-1' of set 's'\): {message}"):
        from_records([recorded(made([0.1, 0.2], [1, 1]), 1, propensity)], 1.0)


def test_rows_without_a_reward_are_refused() -> None:
    log = draw_log(pool(5, 8), uniform(pool(5, 8)), ALPHA, rng(14))
    with pytest.raises(ValueError, match="reward nan must be a number"):
        replace(log, reward=np.where(np.arange(5) == 3, math.nan, log.reward))
    with pytest.raises(ValueError, match="has no option 9"):
        replace(log, chosen=np.full(5, 9))
    with pytest.raises(ValueError, match="no logged rows"):
        Logged((), *(np.zeros(0) for _ in range(5)))  # type: ignore[arg-type]


def test_predictions_that_do_not_fit_are_refused() -> None:
    sets = pool(60, 9)
    log = draw_log(sets, uniform(sets), ALPHA, rng(15))
    with pytest.raises(ValueError, match="dm and dr need predicted rewards"):
        estimate("dr", log, uniform(sets))
    with pytest.raises(ValueError, match="predictions for 1 rows"):
        estimate("dm", log, uniform(sets), [np.zeros(3)])
    holes = [one.utility(ALPHA) for one in sets]
    holes[7] = holes[7] * math.nan
    with pytest.raises(ValueError, match="row 7: set 's7' needs"):
        estimate("dm", log, uniform(sets), holes)
    with pytest.raises(ValueError, match="weights for 1 sets"):
        estimate("ips", log, [best_of(np.array([1.0]))])
