import shutil
from pathlib import Path

import pytest

from catp.training.policy import checkpoint, models
from catp.training.policy.checkpoint import Policy
from catp.training.policy.errors import CheckpointError
from catp.training.policy.models import default_model, find_model, list_models, models_dir, show_model
from tests.training.policy.tiny import lora_config


@pytest.fixture
def two(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shipped policy `catp-tiny`, and one of the user's, `mine`."""
    shipped = tmp_path / "package"
    shutil.copytree(saved, shipped / "catp-tiny")
    shutil.copytree(saved, models_dir() / "mine")
    monkeypatch.setattr(models, "shipped_dir", lambda: shipped)
    return shipped


def test_both_places_are_listed(two: Path, policy: Policy) -> None:
    found = {info.name: info for info in list_models()}
    assert list(found) == ["catp-tiny", "mine"]
    assert (found["catp-tiny"].origin, found["mine"].origin) == ("shipped", "yours")
    tiny = found["catp-tiny"]
    assert tiny.parameters == sum(parameter.numel() for parameter in policy.model.parameters())
    assert tiny.bytes == sum(path.stat().st_size for path in (two / "catp-tiny").iterdir())
    assert (tiny.base, tiny.adapter, tiny.figures, tiny.problem) == (None, False, {}, None)


def test_a_users_policy_hides_a_shipped_one(two: Path, saved: Path) -> None:
    assert default_model() == find_model("catp-tiny") == two / "catp-tiny"
    shutil.copytree(saved, models_dir() / "catp-tiny")
    assert default_model() == find_model("catp-tiny") == models_dir() / "catp-tiny"
    assert len(list_models()) == 2


def test_no_policy_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "shipped_dir", lambda: tmp_path / "nothing")
    assert default_model() is None
    assert list_models() == ()
    with pytest.raises(CheckpointError, match="none are installed: `catp models pull`"):
        find_model("catp-tiny")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("catp-tny", r"no policy 'catp-tny'; did you mean `catp-tiny`\?"),
        ("zzz", "no policy 'zzz'; known are catp-tiny, mine"),
        ("some/where", "there is no folder some/where"),
    ],
)
def test_unknown_names(two: Path, name: str, says: str) -> None:
    with pytest.raises(CheckpointError, match=says):
        find_model(name)


def test_a_folder_by_its_path(two: Path, saved: Path) -> None:
    assert find_model(str(saved)) == saved
    assert (show_model(str(saved)).origin, show_model("mine").origin) == ("folder", "yours")


def test_a_damaged_policy_is_listed_with_its_problem(two: Path) -> None:
    path = models_dir() / "mine" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:500])
    found = {info.name: info for info in list_models()}
    assert found["mine"].problem is not None
    assert "cut short" in found["mine"].problem
    assert found["catp-tiny"].problem is None


def test_an_adapter_names_its_base(two: Path, base: Path) -> None:
    policy = checkpoint.from_base(lora_config(base))
    checkpoint.save(policy, models_dir() / "small")
    found = show_model("small")
    assert found.adapter
    assert found.base == str(base)
    assert found.parameters == sum(p.numel() for p in policy.model.parameters() if p.requires_grad)


def test_the_shipped_policies_are_sound() -> None:
    assert [info.problem for info in list_models() if info.problem is not None] == []
