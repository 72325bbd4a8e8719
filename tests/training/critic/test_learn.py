"""Training: exact resume, refusals, early stopping, and what is on the disk."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from catp.training.critic import learn
from catp.training.critic.algorithms import Learner
from catp.training.critic.checkpoint import CheckpointError, snapshot
from catp.training.critic.critic import Critic
from catp.training.critic.learn import NotANumber, data_digest, train_critic
from catp.training.data.files import replacing
from catp.training.evaluate.candidates import CandidateSet
from tests.training.baselines.pages import pages
from tests.training.critic.making import tiny

SETS = pages(40)


def same(one: Learner, other: Learner) -> bool:
    mine, its = snapshot(one, optimiser=True), snapshot(other, optimiser=True)
    return (
        mine[1] == its[1] and mine[0].keys() == its[0].keys() and all((mine[0][k] == its[0][k]).all() for k in mine[0])
    )


@pytest.mark.parametrize("algorithm", ["cql", "bcq", "bc", "dqn", "dt"])
def test_twenty_steps_are_ten_and_ten_more(algorithm: Any, tmp_path: Path) -> None:
    """Bit for bit: files of weights and of Adam's state, and everything of the manifest but the number of steps."""
    config = tiny(algorithm=algorithm, patience=9)
    train_critic(config, SETS, tmp_path / "whole")
    train_critic(config.model_copy(update={"steps": 10}), SETS, tmp_path / "halves")
    train_critic(config, SETS, tmp_path / "halves", resume=True)
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "halves").iterdir())
    assert "state-000020.safetensors" in names
    for name in names:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "halves" / name).read_bytes(), name


def test_what_is_read_back_is_what_was_trained(tmp_path: Path) -> None:
    critic = train_critic(tiny(algorithm="cql"), SETS, tmp_path)
    again = Critic.load(tmp_path)
    assert (again.config, again.targets, again.best_step) == (critic.config, critic.targets, critic.best_step)
    for one in SETS[:5]:
        hidden = one.hidden()
        assert again.tree(hidden).states.tolist() == critic.tree(hidden).states.tolist()
        for mine, its in zip(again.quality(again.tree(hidden)), critic.quality(critic.tree(hidden)), strict=True):
            assert mine.tolist() == its.tolist()


def test_equal_seeds_are_equal_and_the_global_state_is_left_alone() -> None:
    import torch

    before = torch.random.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"].copy()
    one, two = (train_critic(tiny(algorithm="dt", steps=10), SETS).learner for _ in range(2))
    other = train_critic(tiny(algorithm="dt", steps=10, seed=1), SETS).learner
    assert same(one, two)
    assert not same(one, other)
    assert (torch.random.get_rng_state() == before[0]).all()
    assert (np.random.get_state(legacy=False)["state"]["key"] == before[1]).all()


def changed(sets: list[CandidateSet]) -> list[CandidateSet]:
    first = sets[0]
    options = (replace(first.options[0], score=first.options[0].score / 2), *first.options[1:])
    return [replace(first, options=options), *sets[1:]]


def test_a_run_is_not_resumed_on_other_data_or_with_another_config(tmp_path: Path) -> None:
    config = tiny(steps=10, max_sets=None)
    train_critic(config, SETS, tmp_path)
    before = (tmp_path / "critic.json").read_bytes()
    with pytest.raises(CheckpointError, match="trained on other data"):
        train_critic(config, changed(SETS), tmp_path, resume=True)
    with pytest.raises(CheckpointError, match=r"conservatism is 0\.7, was 0\.1"):
        train_critic(config.model_copy(update={"conservatism": 0.7}), SETS, tmp_path, resume=True)
    with pytest.raises(CheckpointError, match="holds a critic already"):
        train_critic(config, SETS, tmp_path)
    assert (tmp_path / "critic.json").read_bytes() == before
    assert data_digest(SETS) != data_digest(changed(SETS))


def test_resuming_what_is_not_there_starts(tmp_path: Path) -> None:
    assert train_critic(tiny(steps=10), SETS, tmp_path / "new", resume=True).learner.step == 10


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def other_schema(path: Path) -> None:
    path.write_text(json.dumps({"schema": "catp.policy/1"}))


def without_layout(path: Path) -> None:
    data = json.loads(path.read_text())
    del data["layout"]
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("best-*", cut, "changed or damaged"),
        ("best-*", Path.unlink, "cannot be read"),
        ("critic.json", cut, "is damaged"),
        ("critic.json", other_schema, "not catp.critic/1"),
        ("critic.json", without_layout, "damaged or of another version"),
        ("critic.json", Path.unlink, "holds no critic"),
    ],
)
def test_damaged_folders_are_told(name: str, damage: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    train_critic(tiny(algorithm="bc", steps=10), SETS, tmp_path)
    damage(next(tmp_path.glob(name)))
    with pytest.raises(CheckpointError, match=message):
        Critic.load(tmp_path)


def test_a_run_killed_while_it_saves_goes_on_from_the_save_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(algorithm="bc", patience=9)
    whole = train_critic(config, SETS, tmp_path / "whole").learner
    train_critic(config.model_copy(update={"steps": 10}), SETS, tmp_path / "killed")

    class Killed(BaseException):
        pass

    written = replacing

    def failing(path: Path) -> Any:
        if path.name == "critic.json":
            raise Killed  # the tensors of step 20 are there, the manifest is still that of step 10
        return written(path)

    with monkeypatch.context() as patch:
        patch.setattr("catp.training.critic.checkpoint.replacing", failing)
        with pytest.raises(Killed):
            train_critic(config, SETS, tmp_path / "killed", resume=True)
    assert Critic.load(tmp_path / "killed").best_step == 10
    assert same(train_critic(config, SETS, tmp_path / "killed", resume=True).learner, whole)


def test_a_loss_that_is_no_number_stops_with_the_batch(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    with pytest.raises(NotANumber, match=r"bc, step \d+: .*loss is (nan|inf).*Lower learning_rate"):
        train_critic(tiny(algorithm="bc", learning_rate=1e25), SETS, tmp_path)
    (path,) = tmp_path.glob("bad-batch-*.safetensors")
    assert load_file(path)["observations"].shape[0] == 16
    assert not (tmp_path / "critic.json").exists()


def test_training_stops_when_held_out_tasks_get_no_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regrets are made up: the lowest is at the second evaluation, and two more are waited for."""
    regrets = iter([0.5, 0.3, 0.4, 0.3, 0.1])
    monkeypatch.setattr(learn._Judge, "regret", lambda *_: next(regrets))
    told: list[str] = []
    config = tiny(algorithm="bc", steps=100, every=5, patience=2)
    critic = train_critic(config, SETS, progress=told.append)
    assert (critic.best_step, critic.regret) == (10, 0.3)
    assert "step 20 of 100" in told[-1]
    assert "regret on held-out tasks 0.300 (best 0.300 at step 10)" in told[-1]
    regrets = iter([0.5, 0.3])
    assert same_weights(critic.learner, train_critic(tiny(algorithm="bc", steps=10, every=5), SETS).learner)


def same_weights(one: Learner, other: Learner) -> bool:
    mine, its = snapshot(one, optimiser=False)[0], snapshot(other, optimiser=False)[0]
    return all((mine[key] == its[key]).all() for key in mine)


def test_held_out_tasks_are_not_learned_from() -> None:
    train, held = learn._split(tiny(max_sets=None, max_holdout=99), SETS)
    assert {one.group for one in train}.isdisjoint(one.group for one in held)
    assert len({one.group for one in held}) == 2  # 15 % of ten tasks
    one_task = [replace(one, group="only") for one in SETS]
    train, held = learn._split(tiny(max_sets=None, max_holdout=99), one_task)
    assert {one.id for one in train}.isdisjoint(one.id for one in held)
    thin, _ = learn._split(tiny(max_sets=16), SETS)
    assert {sum(one.group == group for one in thin) for group in {one.group for one in thin}} == {2}


def test_nothing_to_learn_from() -> None:
    with pytest.raises(ValueError, match="0 inputs of 0 tasks leave 0 to learn from"):
        train_critic(tiny(), [])
    single = [replace(one, options=one.options[:1]) for one in SETS]
    with pytest.raises(ValueError, match="0 with a choice to stop by"):
        train_critic(tiny(), single)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"step": 3}, "Extra inputs"),
        ({"alphas": (0.5, 1.5)}, "weight from 0 to 1, not 1.5"),
        ({"steps": 25, "every": 10}, "must be a multiple of every"),
        ({"algorithm": "bc", "decode": "end"}, "bc has no values"),
        ({"algorithm": "dt", "hidden": (30,), "heads": 4}, "must be a multiple of heads"),
    ],
)
def test_configs_that_make_no_sense(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        tiny(**wrong)
