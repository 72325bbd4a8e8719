"""Configurations: what is read, what is refused and how, and that the resolved form is read as the same."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.training.caorl.config import ModelConfig, OptimConfig, TrainConfig
from catp.training.caorl.settings import SettingsError, config_toml, load_config

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "train"
FILE = """
name = "mine"
seed = 3
[optim]
lr = 0.01
[data]
paths = ["a.jsonl", "b"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(FILE)
    return path


def refused(path: Path, *sets: str) -> str:
    with pytest.raises(SettingsError) as error:
        load_config(path, sets)
    return str(error.value)


def test_file_and_sets(file: Path) -> None:
    found = load_config(file, [
        "optim.lr=3e-4", "model.base=smollm2", "data.limit=10", "optim.bf16=true",
        "track=['tensorboard', 'wandb']", "name=7", "optim.lr=1e-5", "model.dtype='bfloat16'", "device=cpu # not cuda",
    ])  # fmt: skip
    assert (found.name, found.seed, found.optim.lr, found.optim.bf16) == ("7", 3, 1e-5, True)
    assert (found.data.paths, found.data.limit) == (("a.jsonl", "b"), 10)
    assert (found.model.base, found.model.dtype, found.track) == ("smollm2", "bfloat16", ("tensorboard", "wandb"))
    assert found.optim.steps == OptimConfig().steps


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["optim.ir=1"], "--set optim.ir=1: there is no key 'optim.ir'; did you mean 'optim.lr'?"),
        (["lr=1"], "did you mean 'optim.lr'?"),
        (["optmi=1"], "did you mean 'optim'?"),
        (["model.learning_rate=1"], "there is no key 'model.learning_rate'"),
        (["optim.lr.x=1"], "there is no key 'optim.lr.x'"),
        (["optim.lr"], "write key=value"),
        (["=3"], "write key=value"),
        (["optim.lr=-1"], "--set optim.lr=-1: optim.lr: found -1; allowed is greater than 0"),
        (["optim.lr=fast"], 'optim.lr: found "fast"; allowed is a valid number'),
        (["method.name=ppo"], "method.name: found \"ppo\"; allowed is 'awr', 'bc', 'filtered-bc'"),
        (["data.paths=catp-bench"], 'data.paths: found "catp-bench"; allowed is a valid tuple'),
        (["data.paths=[catp-bench]"], "a list is written ['a', 'b']"),
        (["optim=5"], "optim: found 5; allowed is a table of keys"),
        (["track=['tensorbord']"], "track.0: found \"tensorbord\"; allowed is 'tensorboard'"),
        (["optim.steps=1.5", "optim.batch=0"], "optim.batch: found 0"),
    ],
)
def test_mistakes_in_sets(file: Path, sets: list[str], said: str) -> None:
    assert said in refused(file, *sets)


def test_mistakes_in_the_file_name_it(file: Path) -> None:
    file.write_text("[optim]\nlearning_rate = 1\n")
    assert refused(file).startswith(f"{file}: there is no key 'optim.learning_rate'")
    file.write_text("[modle]\nhidden = 1\n")
    assert "did you mean 'model.hidden'?" in refused(file)
    file.write_text("[model]\nhidden = 'big'\n")
    assert refused(file).startswith(f'{file}: model.hidden: found "big"; allowed is a valid integer')
    file.write_text("optim = 3\n[model]\nhidden = ['a']\n")
    assert refused(file).count("\n") == 1  # both are told
    file.write_text("[model\n")
    assert str(file) in refused(file)
    assert "no such file" in refused(file.with_name("other.toml"))
    assert "a configuration is a .toml file" in refused(file.with_suffix(".yaml"))


def test_a_part_that_is_no_table_cannot_be_changed(file: Path) -> None:
    file.write_text("optim = 3\n")
    assert "optim: found 3; allowed is a table" in refused(file, "optim.lr=1")


TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(name=TEXTS, base=st.none() | TEXTS, seed=st.integers(0, 2**31), lr=st.floats(1e-12, 1e12), bf16=st.booleans())
def test_the_resolved_form_is_read_as_the_same(
    tmp_path_factory: pytest.TempPathFactory, name: str, base: str | None, seed: int, lr: float, bf16: bool
) -> None:
    config = TrainConfig(name=name, seed=seed, model=ModelConfig(base=base), optim=OptimConfig(lr=lr, bf16=bf16))
    path = tmp_path_factory.getbasetemp() / "resolved.toml"
    path.write_text(config_toml(config), encoding="utf-8", newline="\n")
    assert load_config(path) == config


def test_the_examples_parse() -> None:
    found = {path.stem: load_config(path) for path in EXAMPLES.glob("*.toml")}
    assert set(found) >= {"tiny", "small", "llama-7b", "smoke"}
    assert {name: config.name for name, config in found.items()} == {name: f"catp-{name}" for name in found}
    assert found["small"].model.base == "smollm2"
    assert found["small"].lora.rank == 16
    assert found["llama-7b"].lora.rank == 64
    for path in EXAMPLES.glob("*.toml"):
        said = tomllib.loads(path.read_text())
        assert said, f"{path} says nothing"
