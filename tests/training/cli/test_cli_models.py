"""`catp models` and `catp export`: a small policy of one's own, by name and by folder; and what is wrong with one."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from catp.cli.main import app
from catp.training.caorl.config import ModelConfig, TrainConfig
from catp.training.digest import file_digest
from catp.training.policy.checkpoint import save
from tests.training.cli.learning import prepare

SHAPE = ModelConfig(hidden=16, layers=1, heads=2, kv_heads=2, intermediate=32, text_tokens=270)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "little"
    save(prepare(TrainConfig(name="little", seed=3, model=SHAPE)).policy, folder)
    return folder


@pytest.fixture(autouse=True)
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))


def catp(*args: object) -> Result:
    return CliRunner().invoke(app, [*map(str, args)], env={"NO_COLOR": "1"})


def as_json(*args: object) -> Any:
    done = catp(*args, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def own(found: Any) -> dict[str, Any]:
    return {one["name"]: one for one in found["models"] if one["origin"] == "yours"}


def test_pull_list_show(policy: Path, tmp_path: Path) -> None:
    assert own(as_json("models", "list")) == {}
    pulled = as_json("models", "pull", policy)
    assert pulled == {
        "schema": "catp.models.pull/1", "name": "little", "folder": str(tmp_path / "share/catp/models/little")
    }  # fmt: skip
    archive = tmp_path / "other.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(policy, "whatever")
    assert catp("models", "pull", archive, "--sha256", file_digest(archive)).exit_code == 0
    found = own(as_json("models", "list"))
    assert set(found) == {"little", "other"}
    assert found["little"]["parameters"] == found["other"]["parameters"] > 1000
    assert found["little"]["problem"] is None
    shown = as_json("models", "show", "little")
    assert (shown["schema"], shown["manifest"]["seed"], shown["manifest"]["step"]) == ("catp.model/1", 3, 0)
    assert as_json("models", "show", policy)["origin"] == "folder"
    listed, text = catp("models", "list").stdout, catp("models", "show", "little").stdout
    assert "other" in listed
    assert "yours" in listed
    for fact in ("none, trained from random weights", "0 steps, awr, seed 3", "64 tool slots", "kappa "):
        assert fact in text


def test_pull_by_another_name_and_over_one(policy: Path) -> None:
    assert as_json("models", "pull", policy, "--name", "mine")["name"] == "mine"
    again = catp("models", "pull", policy, "--name", "mine")
    assert again.exit_code == 2
    assert "is there already" in again.stderr
    assert catp("models", "pull", policy, "--name", "mine", "--replace").exit_code == 0


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("show", "littel"), "there is no policy 'littel'; did you mean"),
        (("show", "no/where"), "there is no folder"),
        (("pull", "nowhere"), "there is no folder or archive nowhere"),
        (("pull", "http://example.com/a.zip", "--name", "a"), "no https address"),
        (("pull", "https://example.com/a.zip"), "needs the SHA-256"),
    ],
)
def test_mistakes(policy: Path, args: tuple[str, ...], said: str) -> None:
    as_json("models", "pull", policy)
    done = catp("models", *args)
    assert done.exit_code == 2
    assert said in done.stderr


def test_a_damaged_policy_is_listed_with_its_problem(policy: Path, tmp_path: Path) -> None:
    as_json("models", "pull", policy)
    weights = tmp_path / "share/catp/models/little/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    assert "damaged or cut short" in own(as_json("models", "list"))["little"]["problem"]
    assert "damaged or cut short" in catp("models", "list").stdout
    shown = catp("models", "show", "little")
    assert shown.exit_code == 1
    assert "damaged or cut short" in shown.stdout


def test_export_merged(policy: Path, tmp_path: Path) -> None:
    found = as_json("export", "--model", policy, "--out", tmp_path / "whole", "--merge")
    assert (found["schema"], found["mode"], found["logit_difference"]) == ("catp.export/1", "merge", 0.0)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(str(tmp_path / "whole"), local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(str(tmp_path / "whole"), local_files_only=True)
    assert model.get_input_embeddings().weight.shape[0] >= len(tokenizer)
    assert (tmp_path / "whole" / "README.md").read_text().startswith("---\nlicense: apache-2.0")
    half = catp("export", "--model", policy, "--out", tmp_path / "half", "--dtype", "bfloat16")
    assert half.exit_code == 0
    assert "greatest difference of logits" in half.stdout
    assert "allowed: 0.05" in half.stdout
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("half", "whole")]
    assert sizes[0] < 0.6 * sizes[1]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--merge", "--adapter"), "give one of them"),
        (("--adapter",), "no adapter; export it with mode 'merge'"),
        (("--dtype", "int8"), "float32, float16, bfloat16, not 'int8'"),
    ],
)
def test_exports_that_cannot_be(policy: Path, tmp_path: Path, args: tuple[str, ...], said: str) -> None:
    done = catp("export", "--model", policy, "--out", tmp_path / "out", *args)
    assert done.exit_code == 2
    assert said in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_export_never_overwrites(policy: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    done = catp("export", "--model", policy, "--out", tmp_path)
    assert done.exit_code == 2
    assert "is not empty" in done.stderr
