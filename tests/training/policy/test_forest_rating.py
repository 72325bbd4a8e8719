"""A forest beside the network: chooser and writer add the same to the same plans, and checkpoints keep it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from catp.planlang.parser import parse
from catp.training.bench.joins import bench_catalogue
from catp.training.bench.tasks import load_tasks
from catp.training.caorl.algorithm import PlanLearning
from catp.training.caorl.config import MethodConfig
from catp.training.caorl.finish import WithForest
from catp.training.caorl.rating import SHARES, Rated
from catp.training.critic.forest import FOREST, Forest
from catp.training.critic.grow import correction, grow
from catp.training.evaluate.candidates import candidate_sets
from catp.training.policy import checkpoint
from catp.training.policy.checkpoint import Policy
from catp.training.policy.chooser import PolicyChooser
from catp.training.policy.errors import CheckpointError
from catp.training.policy.manifest import read_manifest
from catp.training.policy.merge import export
from catp.training.policy.models import show_model
from catp.training.policy.writer import LocalWriter
from tests.training.caorl.cases_making import CONFIG, cases, records, tokens
from tests.training.policy.writing import write


@pytest.fixture(scope="module")
def forest() -> Forest:
    found = grow(cases(), tokens().vocabulary)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def bench_policy(forest: Forest) -> Policy:
    """A small policy for the benchmark, whose network has no say."""
    policy = checkpoint.new(CONFIG, [case.view.text for case in cases()])
    return replace(policy, manifest=policy.manifest.updated(trust=0.0, forest=0.75), forest=forest)


@pytest.fixture
def with_forest(bench_policy: Policy, tmp_path: Path) -> Path:
    checkpoint.save(bench_policy, tmp_path / "policy")
    return tmp_path / "policy"


def test_chooser_and_writer_rate_the_same_plans_alike(with_forest: Path, forest: Forest) -> None:
    chooser, plain = PolicyChooser(with_forest), PolicyChooser(with_forest, share=0.0)
    writer = LocalWriter(checkpoint.load(with_forest), threads=1)
    sets = [one for one in candidate_sets(records()) if len(one) > 3][:2]
    assert sets
    chooser.fit(sets)
    for one in sets:
        request = load_tasks()[one.id].request(bench_catalogue(), 0.8, one.price_scale)
        draft = write(writer, request, samples=2, shown=[parse(option.text) for option in one.options])
        theirs, without = chooser.predict(one), plain.predict(one)
        assert theirs is not None
        assert without is not None
        assert np.ptp(theirs - without) > 1e-3  # the forest says something
        for rating, expected in zip(draft.rated, theirs, strict=True):
            assert rating is not None
            assert rating.quality == pytest.approx(expected, abs=1e-6)
        again = write(writer, request, samples=0, shown=[written.plan for written in draft.written])
        assert [rating and rating.quality for rating in again.rated[: len(draft.written)]] == pytest.approx(
            [written.rating.quality for written in draft.written]
        )


def test_a_checkpoint_keeps_its_forest(with_forest: Path, forest: Forest, tmp_path: Path) -> None:
    manifest = read_manifest(with_forest)
    assert manifest.forest == 0.75
    assert set(manifest.weights) == {"model.safetensors", FOREST}
    loaded = checkpoint.load(with_forest).forest
    assert loaded is not None
    vocabulary = tokens().vocabulary
    assert (correction(loaded, cases()[0], vocabulary) == correction(forest, cases()[0], vocabulary)).all()
    export(with_forest, tmp_path / "out", dtype="float16")
    assert (tmp_path / "out" / FOREST).read_bytes() == (with_forest / FOREST).read_bytes()
    alone = sum(p.numel() for p in checkpoint.load(with_forest).model.parameters())
    assert show_model(str(with_forest)).parameters == alone


def test_damaged_forests_are_refused(with_forest: Path) -> None:
    path = with_forest / FOREST
    whole = path.read_bytes()
    for damage in (whole[:-9], whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(damage)
        with pytest.raises(CheckpointError, match=FOREST):
            checkpoint.load(with_forest)
    path.unlink()
    with pytest.raises(CheckpointError, match=f"{FOREST} is missing"):
        checkpoint.load(with_forest)
    content = json.loads((with_forest / "catp.json").read_text())
    del content["weights"][FOREST]
    (with_forest / "catp.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="counts on"):
        checkpoint.load(with_forest)


def test_the_shares_are_the_best_on_the_validation_side(tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    policy = checkpoint.new(CONFIG, [case.view.text for case in cases()])
    learning = PlanLearning(CONFIG, policy.tokens, cases()[:8], cases()[8:], "0" * 64)
    checkpoint.save(policy, folder)
    weights = (folder / "model.safetensors").read_bytes()
    found = WithForest(learning)(folder)
    assert found == read_manifest(folder)
    assert (folder / "model.safetensors").read_bytes() == weights
    assert (FOREST in found.weights) == (found.forest > 0) == (folder / FOREST).is_file()
    assert (found.trust, found.forest) == (found.figures["mixed_trust"], found.figures["mixed_share"])
    forest = grow(learning.train, policy.tokens.vocabulary, seed=CONFIG.seed)
    assert forest is not None
    rated = learning.rated(found.figures)
    assert rated is not None
    mixed = [
        Rated(one.quality, one.composed, one.sd, one.logpi, correction(forest, case, policy.tokens.vocabulary)[:24])
        for one, case in zip(rated, learning.val, strict=True)
    ]
    tried = [float(np.mean(list(learning.regrets(mixed, t, s).values()))) for t in SHARES for s in SHARES]
    assert found.figures["mixed_regret"] == pytest.approx(min(tried))
    regret = found.figures["regret"]
    assert regret is not None
    assert min(tried) <= regret
    assert WithForest(learning)(folder) == found
    checkpoint.load(folder)


def test_a_policy_that_decides_by_likelihood_stays_as_it_is(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"method": MethodConfig(name="filtered-bc")})
    policy = checkpoint.new(config, [case.view.text for case in cases()])
    checkpoint.save(policy, tmp_path / "policy")
    before = shutil.copytree(tmp_path / "policy", tmp_path / "before")
    learning = PlanLearning(config, policy.tokens, cases()[:8], cases()[8:], "0" * 64)
    WithForest(learning)(tmp_path / "policy")
    names = sorted(path.name for path in (tmp_path / "policy").iterdir())
    assert names == sorted(path.name for path in before.iterdir())
    assert all((tmp_path / "policy" / name).read_bytes() == (before / name).read_bytes() for name in names)


def test_a_share_adds_the_forest_and_nothing_else() -> None:
    rated = Rated(np.array([0.5, 0.7]), np.array([0.4, 0.8]), np.zeros(2), np.zeros(2), np.array([0.2, -0.1]))
    np.testing.assert_allclose(rated.trusted(0.0, 0.5), [0.5, 0.75])
    np.testing.assert_allclose(rated.trusted(1.0, 1.0), [0.7, 0.6])
    np.testing.assert_allclose(rated.trusted(0.5), [0.45, 0.75])
