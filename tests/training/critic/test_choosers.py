"""Critics as choosers: proper weights, blind to outcomes, decoded by definition, known to `catp bench eval`."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from catp.training.baselines import BASELINES
from catp.training.baselines.chooser import Prices
from catp.training.baselines.prices import StepPrices
from catp.training.cli.bench_names import CRITICS as NAMES
from catp.training.cli.bench_names import contenders
from catp.training.critic.choosers import CRITICS, CriticChooser
from catp.training.critic.decoding import end_values, greedy
from catp.training.evaluate.regret import regret, uniform
from tests.training.baselines.pages import pages, scrambled
from tests.training.critic.making import tiny

TRAIN, TEST = pages(40), pages(12, seed=9)


@pytest.mark.parametrize("algorithm", ["cql", "bcq", "bc", "dt"])
def test_choices_are_of_one_plan_and_do_not_depend_on_outcomes(algorithm: Any) -> None:
    chooser = CriticChooser(algorithm, tiny(algorithm=algorithm, steps=10))
    with pytest.raises(RuntimeError, match="must be fitted"):
        chooser.choose(TEST[0].hidden(), 0.5)
    chooser.fit(TRAIN)
    for one, other in zip(TEST, scrambled(TEST), strict=True):
        for alpha in (0.5, 1.0):
            weights = chooser.choose(one.hidden(), alpha)
            assert weights.sum() == pytest.approx(1)
            assert sorted(weights)[-1] == 1  # these plans differ in their first steps
            assert chooser.choose(other, alpha).tolist() == weights.tolist()
        predicted = chooser.predict(one.hidden())
        assert (predicted is None) == (algorithm in ("bc", "dt"))
        if predicted is not None:
            assert predicted.shape == (len(one),)
            assert ((predicted >= 0) & (predicted <= 1)).all()


def test_the_critic_learns_which_plan_is_right() -> None:
    """Value at the end, on new pages: well below an even choice at every weight (measured: .04 to .12)."""
    chooser = CriticChooser("critic", tiny(
        decode="end", steps=250, every=50, batch=64, max_sets=None, hidden=(32, 32), patience=9, ends=0.5,
        learning_rate=3e-3,
    ))  # fmt: skip
    chooser.fit(pages(150))
    test = pages(60, seed=9)
    for alpha in (0.5, 0.8, 1.0):
        mine = regret(test, [chooser.choose(one.hidden(), alpha) for one in test], alpha, draws=1).regret
        assert mine < 0.6 * regret(test, uniform(test), alpha, draws=1).regret


def test_the_end_is_the_value_of_stopping_less_the_known_price() -> None:
    chooser = CriticChooser("critic", tiny(decode="end", steps=10))
    chooser.fit(TRAIN)
    assert chooser.critic is not None
    prices, table = StepPrices().fit(TRAIN), Prices({"ocr": 20.0})
    changed = 0
    for one in (one.hidden() for one in TEST):
        tree = chooser.critic.coder.tree(one, table)
        value = end_values(chooser.critic.learner, tree, 0.6)[0]
        best = int(np.argmax(value - 0.4 * prices.price(one, table) / one.price_scale))
        assert chooser.choose(one, 0.6, table)[best] == 1
        changed += int(np.argmax(chooser.choose(one, 0.6))) != best
    assert changed > 0  # the price list matters


@pytest.mark.parametrize("algorithm", ["cql", "bc"])
def test_greedy_follows_the_best_action_that_a_measured_plan_takes(algorithm: Any) -> None:
    """Against asking the scores state by state."""
    chooser = CriticChooser(algorithm, tiny(algorithm=algorithm, steps=10))
    chooser.fit(TRAIN)
    critic = chooser.critic
    assert critic is not None
    for one in TEST:
        tree = critic.coder.tree(one.hidden())
        plans = [path.actions.tolist() for path in tree.paths if path is not None]
        row = {tuple(p.actions[:at].tolist()): p.states[at] for p in tree.paths if p for at in range(len(p.actions))}
        done: tuple[int, ...] = ()
        while list(done) not in plans:
            state = tree.states[row[done]].copy()
            state[0] = 0.8
            scores = critic.learner.scores(state[None])[0]
            done += (max({p[len(done)] for p in plans if tuple(p[: len(done)]) == done}, key=lambda a: scores[a]),)
        weights = greedy(critic.learner, tree, 0.8, critic.targets, np.zeros(len(one)))
        assert int(np.argmax(weights)) == plans.index(list(done))


def test_plans_that_cannot_be_told_are_not_chosen() -> None:
    chooser = CriticChooser("cql", tiny(slots=3, steps=10))  # plans of two steps
    chooser.fit(TRAIN)
    for one in TEST:
        short = np.array([len(option.steps) <= 2 for option in one.options])
        weights = chooser.choose(one.hidden(), 0.8)
        assert weights[~short].sum() == 0 or not short.any()
        assert weights.sum() == pytest.approx(1)
        none = replace(one, options=tuple(o for o in one.options if len(o.steps) > 2))
        if len(none):
            assert chooser.choose(none.hidden(), 0.8) == pytest.approx(np.full(len(none), 1 / len(none)))


def test_bench_eval_knows_them_but_not_under_all() -> None:
    assert set(NAMES) == set(CRITICS)
    for name in NAMES:
        (found,) = contenders([name], "kfold", with_search=False)
        assert found.chooser is not None
        assert found.chooser().name == name
    everybody = {one.name for one in contenders(["all"], "kfold", with_search=False)}
    assert everybody.isdisjoint(NAMES)
    assert everybody <= set(BASELINES)


def test_torch_is_imported_when_the_first_is_fitted() -> None:
    code = (
        "import sys; import catp.training.cli.bench_names, catp.training.critic.choosers as c; c.CRITICS['cql']();"
        "print(sorted({'torch', 'd3rlpy', 'safetensors', 'sklearn'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
