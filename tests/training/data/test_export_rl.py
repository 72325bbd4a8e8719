"""The MDP as d3rlpy and Minari read it: real libraries, real fits, returns that are utilities."""

import importlib
import json
import warnings
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catp.training.data import d3rlpy_hdf5, minari
from catp.training.data.trajectory import Trajectory
from tests.training.data.mdp_records import JOIN, MAP, SHORT, TOOLS, record

pytestmark = pytest.mark.xdist_group("export-rl")

ALPHAS = (0.0, 0.5, 0.95)
SIZES: dict[str, Any] = {"tools": 6, "slots": 8}
RECORDS = [
    record(JOIN, "join", score=0.9, prices={"one": "0.031", "two": "0.07"}, candidate_set="a"),
    record(SHORT, "short", score=0.6, candidate_set="a"),
    record(SHORT, "failed", score=None, status="failed", candidate_set="a"),
    record(SHORT, "unscored", score=None, candidate_set="a"),
    record(MAP, "map", wanted=["json"], score=0.8, candidate_set="b"),
]
TOLD = ["join", "short", "failed", "map"]


def utilities() -> list[float]:
    """What each episode must return: plan by plan, alpha by alpha, computed from the records alone."""
    by_id = {one.trajectory_id: one for one in RECORDS}
    return [utility(by_id[name], alpha) for name in TOLD for alpha in ALPHAS]


def utility(one: Trajectory, alpha: float) -> float:
    share = (one.outcome.price_usd or Decimal(0)) / (one.objective.price_scale_usd or Decimal(1))
    return alpha * (one.outcome.score or 0.0) - (1 - alpha) * float(share)


@pytest.fixture(scope="module")
def d3rlpy() -> Any:
    """The library, without the notice that its import prints and with one thread."""
    importlib.import_module("gym_notices.notices").notices.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library = pytest.importorskip("d3rlpy")
        import torch
    torch.set_num_threads(1)
    return library


def load(d3rlpy: Any, path: Path) -> Any:
    with path.open("rb") as file:
        return d3rlpy.dataset.ReplayBuffer.load(file, d3rlpy.dataset.InfiniteBuffer())


def test_d3rlpy_reads_the_file(tmp_path: Path, d3rlpy: Any) -> None:
    path = tmp_path / "small.h5"
    count = d3rlpy_hdf5.write(path, iter(RECORDS), alphas=ALPHAS, toolset=TOOLS, **SIZES)
    dataset = load(d3rlpy, path)
    assert count == len(dataset.episodes) == len(TOLD) * len(ALPHAS)
    assert dataset.dataset_info.action_size == 6 + 8 + 2
    assert [episode.compute_return() for episode in dataset.episodes] == pytest.approx(utilities(), abs=1e-6)
    for episode in dataset.episodes:
        masks = episode.observations[:, -16:]
        assert masks[np.arange(len(episode)), episode.actions[:, 0]].all()
        assert episode.terminated
        assert episode.actions[-1, 0] == 15  # STOP
        assert episode.observations.dtype == episode.rewards.dtype == np.float32


def test_the_file_explains_itself_and_is_the_same_twice(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path, again = tmp_path / "a.h5", tmp_path / "b.h5"
    for target in (path, again):
        d3rlpy_hdf5.write(target, RECORDS, alphas=ALPHAS, toolset=TOOLS, **SIZES)
    assert path.read_bytes() == again.read_bytes()
    with h5py.File(path) as file:
        about = json.loads(file.attrs["catp"])
        width = file["observations_0"].shape[1]
    assert about["schema"] == "catp.mdp/1"
    assert len(about["features"]) == width
    assert about["alphas"] == list(ALPHAS)
    assert about["left_out"] == {"the score is not known": 1}


def test_the_toolset_is_found_beside_the_file(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")

    def masks(name: str) -> float:
        d3rlpy_hdf5.write(tmp_path / name, RECORDS, alphas=(0.5,), **SIZES)
        with h5py.File(tmp_path / name) as file:
            return float(file["observations_0"][:, -16:].sum())

    loose = masks("a.h5")
    TOOLS.save(tmp_path / "toolset.json")
    assert masks("b.h5") < loose


@pytest.mark.parametrize("kind", ["DiscreteBC", "DQN"])
def test_d3rlpy_learns_from_it(tmp_path: Path, d3rlpy: Any, kind: str) -> None:
    path = tmp_path / "small.h5"
    d3rlpy_hdf5.write(path, RECORDS, alphas=(0.5,), toolset=TOOLS, **SIZES)
    dataset = load(d3rlpy, path)
    d3rlpy.seed(1)
    config = getattr(d3rlpy.algos, f"{kind}Config")(batch_size=32, learning_rate=3e-3)
    learner = config.create(device="cpu")
    learner.fit(
        dataset, n_steps=120, n_steps_per_epoch=60, logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
        show_progress=False,
    )  # fmt: skip
    seen = np.concatenate([episode.observations for episode in dataset.episodes])
    chosen = learner.predict(seen)
    assert chosen.shape == (len(seen),)
    if kind == "DiscreteBC":  # it copies the plans it saw, apart from where two plans of one input part
        logged = np.concatenate([episode.actions[:, 0] for episode in dataset.episodes])
        assert np.mean(chosen == logged) > 0.7


def test_minari_reads_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = pytest.importorskip("minari")
    monkeypatch.chdir(tmp_path)
    count = minari.write(
        Path("small-v0"), RECORDS, alphas=ALPHAS, author="A. Person", code_permalink="https://example.org/abc",
        toolset=TOOLS, **SIZES,
    )  # fmt: skip
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    dataset = library.load_dataset("small-v0")
    about = dataset.storage.metadata
    assert count == dataset.total_episodes == len(TOLD) * len(ALPHAS)
    assert set(about["author"]) == {"A. Person"}
    assert about["code_permalink"] == "https://example.org/abc"
    assert about["algorithm_name"] == "mixture"
    assert dataset.action_space.n == 16
    returns = []
    for episode in dataset.iterate_episodes():
        assert len(episode.observations) == len(episode.actions) + 1
        assert episode.terminations.tolist() == [False] * (len(episode.actions) - 1) + [True]
        assert not episode.truncations.any()
        assert dataset.observation_space.contains(episode.observations[0])
        masks = episode.infos["action_mask"]
        assert (masks == episode.observations[:, -16:]).all()
        assert masks[np.arange(len(episode.actions)), episode.actions].all()
        assert not masks[-1].any()  # the plan is complete
        returns.append(float(episode.rewards.sum()))
    assert returns == pytest.approx(utilities(), abs=1e-6)
    told = [one["options"]["trajectory_id"] for one in dataset.storage.get_episode_metadata(range(count))]
    assert told == [name for name in TOLD for _ in ALPHAS]
    assert [path.name for path in tmp_path.iterdir()] == ["small-v0"]


def test_minari_folders_are_named_and_never_overwritten(tmp_path: Path) -> None:
    pytest.importorskip("minari")
    with pytest.raises(ValueError, match="NAME-vN"):
        minari.write(tmp_path / "small", RECORDS)
    (tmp_path / "small-v0").mkdir()
    with pytest.raises(FileExistsError, match="next version"):
        minari.write(tmp_path / "small-v0", RECORDS)


@pytest.mark.parametrize("write", [d3rlpy_hdf5.write, minari.write])
def test_nothing_is_left_behind_when_nothing_can_be_written(tmp_path: Path, write: Any) -> None:
    target = tmp_path / "small-v0"
    with pytest.raises(ValueError, match=r"the score is not known \(1\)"):
        write(target, [record(SHORT, score=None)], toolset=TOOLS, **SIZES)
    for alphas in ((), (1.5,)):
        with pytest.raises(ValueError, match="alpha is a weight"):
            write(target, RECORDS, alphas=alphas, **SIZES)
    assert list(tmp_path.iterdir()) == []
