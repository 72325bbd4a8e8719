from dataclasses import replace

import numpy as np
import pytest

from catp.training.evaluate.logged import Logged, draw_log
from catp.training.evaluate.ope import bare_value
from catp.training.evaluate.regret import oracle, uniform
from catp.training.evaluate.reward_model import reward_model
from tests.training.evaluate.making import leaning, pool

ALPHA = 0.5


def logged(seed: int, count: int = 300) -> Logged:
    sets = pool(count, seed)
    return draw_log(sets, leaning(sets, 0.5), ALPHA, np.random.default_rng([seed, 1]))


def test_predictions_follow_what_was_not_logged() -> None:
    log = logged(1)
    guess = np.concatenate(reward_model(log))
    true = np.concatenate([one.utility(ALPHA) for one in log.sets])
    assert np.corrcoef(guess, true)[0, 1] > 0.9
    assert np.sqrt(np.mean((guess - true) ** 2)) < 0.5 * true.std()


def test_outcomes_that_were_not_logged_are_not_looked_at() -> None:
    log = logged(2, 60)
    blind = replace(log, sets=tuple(one.hidden() for one in log.sets), behaviour=None)
    for seen, unseen in zip(reward_model(log), reward_model(blind), strict=True):
        assert (seen == unseen).all()


def test_rows_of_a_group_do_not_teach_its_own_predictions() -> None:
    log = logged(3, 90)
    mine = np.array([one.group == "g4" for one in log.sets])
    changed = replace(log, reward=np.where(mine, log.reward + 5, log.reward), price=np.where(mine, 0, log.price))
    before, after = reward_model(log), reward_model(changed)
    assert all((before[row] == after[row]).all() for row in np.flatnonzero(mine))
    assert any((before[row] != after[row]).any() for row in np.flatnonzero(~mine))


def test_dr_with_the_model_beats_ips_and_dm() -> None:
    sets = pool(150, 4)
    target, behaviour = oracle(sets, 0.8), leaning(sets, 0.7)
    truth = np.mean([w @ one.utility(ALPHA) for one, w in zip(sets, target, strict=True)])
    errors: dict[str, list[float]] = {"ips": [], "dm": [], "dr": []}
    for n in range(12):
        log = draw_log(sets, behaviour, ALPHA, np.random.default_rng([5, n]))
        guess = reward_model(log, seed=n)
        errors["ips"].append(bare_value("ips", log, target))
        errors["dm"].append(bare_value("dm", log, target, guess))
        errors["dr"].append(bare_value("dr", log, target, guess))
    rmse = {method: np.sqrt(np.mean((np.array(found) - truth) ** 2)) for method, found in errors.items()}
    assert rmse["dr"] < 0.6 * rmse["ips"]
    assert rmse["dr"] < rmse["dm"]


def test_prices_may_be_unknown_and_groups_must_not_be_one() -> None:
    log = logged(6, 60)
    guess = np.concatenate(reward_model(replace(log, price=np.full(60, np.nan))))
    assert np.isfinite(guess).all()
    alone = replace(log, sets=tuple(replace(one, group="g") for one in log.sets))
    with pytest.raises(ValueError, match="all logged rows are of group 'g'"):
        reward_model(alone)


def test_many_rows_are_fitted_by_histograms_and_the_same_seed_gives_the_same() -> None:
    sets = pool(6300, 7, groups=20)
    log = draw_log(sets, uniform(sets), ALPHA, np.random.default_rng(8))
    one, two = np.concatenate(reward_model(log, seed=1)), np.concatenate(reward_model(log, seed=1))
    assert (one == two).all()
    true = np.concatenate([s.utility(ALPHA) for s in sets])
    assert np.corrcoef(one, true)[0, 1] > 0.95
