"""A tiny policy and a tiny pretrained model, made once, and copies of their folders to damage."""

import shutil
from pathlib import Path

import pytest
import torch

from catp.training.policy import checkpoint
from catp.training.policy.checkpoint import Policy
from tests.training.policy.tiny import CONFIG, TEXTS, make_base


@pytest.fixture(autouse=True)
def one_thread_and_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="session")
def policy() -> Policy:
    return checkpoint.new(CONFIG, TEXTS)


@pytest.fixture(scope="session")
def saved(policy: Policy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "tiny"
    checkpoint.save(policy, folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A sound checkpoint that a test may damage."""
    return Path(shutil.copytree(saved, tmp_path / "tiny"))


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("bases") / "tied")


@pytest.fixture(scope="session")
def untied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("bases") / "untied", tied=False)
