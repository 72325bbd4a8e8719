"""`catp train` as people call it, on something that is learned in no time; mistakes, and dry runs."""

import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from catp.cli.main import app
from catp.training.caorl.config import TrainConfig
from catp.training.caorl.errors import TrainError
from catp.training.caorl.metrics import read_metrics
from catp.training.caorl.run import run_training
from catp.training.caorl.settings import load_config
from catp.training.policy.manifest import read_manifest
from tests.training.cli.learning import CONFIG, Echo, prepare

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "echo.toml").write_text(CONFIG)
    use(monkeypatch, prepare)
    return tmp_path


def use(monkeypatch: pytest.MonkeyPatch, prepare: Any) -> None:
    monkeypatch.setitem(sys.modules, "catp.training.caorl.algorithm", SimpleNamespace(prepare=prepare))


def catp(*args: str) -> Result:
    return CliRunner().invoke(app, ["train", *args], env={"NO_COLOR": "1"})


def as_json(*args: str) -> Any:
    done = catp(*args, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def test_a_run_and_what_it_leaves_behind(project: Path) -> None:
    found = as_json("--config", "echo.toml", "--set", "optim.steps=4", "--seed", "5")
    out = project / "runs" / "echo"
    assert (found["schema"], found["reason"], found["step"], found["out"]) == (
        "catp.train/1", "finished", 4, "runs/echo"
    )  # fmt: skip
    assert sorted(path.name for path in out.iterdir()) == [
        "best", "config.toml", "curves.png", "last", "metrics.jsonl"
    ]  # fmt: skip
    config = load_config(out / "config.toml")
    assert (config.seed, config.optim.steps, config.model.hidden) == (5, 4, 16)
    events = read_metrics(out / "metrics.jsonl")
    assert [event["step"] for event in events if event["event"] == "step"] == [1, 2, 3, 4]
    assert (events[0]["event"], events[-1]["reason"]) == ("started", "finished")
    best = read_manifest(out / "best")
    assert best.step == found["best_step"]
    assert best.figures == found["best_figures"]
    assert best.data == {"echo": "e" * 64}
    for checkpoint in ("best", "last"):
        assert (out / checkpoint / "README.md").read_text().startswith("---\nlicense: apache-2.0\n")


def test_plain_progress(project: Path) -> None:
    done = catp("--config", "echo.toml", "--out", "here")
    assert done.exit_code == 0
    assert "training for 6 steps on cpu: 12 inputs" in done.stderr
    assert "step 1/6  loss " in done.stderr
    assert "tokens/s" in done.stderr
    assert "step 2: regret " in done.stderr
    assert "saved here/best" in done.stderr
    assert done.stdout.startswith("finished after step 6 of 6\nbest regret ")
    quiet = catp("--config", "echo.toml", "--out", "there", "--quiet")
    assert (quiet.exit_code, quiet.stderr) == (0, "")


def test_resume_goes_on_and_ends_where_an_unbroken_run_does(project: Path) -> None:
    whole = as_json("--config", "echo.toml", "--out", "whole")
    as_json("--config", "echo.toml", "--out", "parts", "--set", "optim.steps=6", "--resume", "auto")
    assert (project / "parts/last/model.safetensors").read_bytes() == (
        project / "whole/last/model.safetensors"
    ).read_bytes()
    config = load_config(project / "echo.toml", ["name=broken"])
    seen = []

    def stop(event: Any) -> None:
        seen.append(event)
        if type(event).__name__ == "Step" and event.step == 5:
            raise TrainError("power cut")

    with pytest.raises(TrainError, match="power cut"):
        run_training(prepare(config), config, project / "cut", on_event=stop)
    found = as_json("--config", "echo.toml", "--out", "cut", "--resume", "auto", "--set", "name=broken")
    assert found["figures"] == whole["figures"]
    events = read_metrics(project / "cut" / "metrics.jsonl")
    assert [event["step"] for event in events if event["event"] == "step"] == [1, 2, 3, 4, 5, 6]
    assert [event["step"] for event in events if event["event"] == "started"] == [0, 4]
    again = catp("--config", "echo.toml", "--out", "whole")
    assert again.exit_code == 1
    assert "is not empty" in again.stderr
    other = catp("--config", "echo.toml", "--out", "whole", "--resume", "auto", "--set", "optim.lr=0.5")
    assert other.exit_code == 1
    assert "optim.lr is 0.5, was 0.01" in other.stderr
    nowhere = catp("--config", "echo.toml", "--out", "new", "--resume", "nowhere")
    assert nowhere.exit_code == 1
    assert "nowhere" in nowhere.stderr


def test_dry_run_measures_and_leaves_nothing(project: Path) -> None:
    before = sorted(project.rglob("*"))
    found = as_json("--config", "echo.toml", "--dry-run", "--set", "optim.steps=300", "--set", "optim.accumulate=2")
    assert sorted(project.rglob("*")) == before
    assert (found["schema"], found["steps"], found["epochs"], found["examples"]) == (
        "catp.train.dry-run/1", 300, 100.0, 12
    )  # fmt: skip
    assert found["parameters"] == found["trainable"] > 1000
    assert found["checkpoint"] > 4 * found["parameters"]
    assert found["memory"] > 2**20
    assert found["seconds"] > 300 * found["step_s"]
    text = catp("--config", "echo.toml", "--dry-run")
    assert text.exit_code == 0
    for word in ("tokens/s", "peak memory", "checkpoint", "whole run", "6, 1.00 epochs"):
        assert word in text.stdout


class Impatient(Echo):
    """Somebody presses Ctrl-C while it is measured for the second time."""

    measured = 0

    def evaluate(self, model: Any) -> Mapping[str, float]:
        self.measured += 1
        if self.measured == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return super().evaluate(model)


def test_an_interrupt_saves_and_says_how_to_go_on(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, lambda config, progress: replace(prepare(config), algorithm=Impatient()))
    done = catp("--config", "echo.toml")
    assert done.exit_code == 130
    assert "stopped after step 4: interrupted" in done.stderr
    assert done.stdout.endswith("go on: catp train ... --out runs/echo --resume auto\n")
    use(monkeypatch, prepare)
    assert as_json("--config", "echo.toml", "--resume", "auto")["reason"] == "finished"


def failing(error: Exception) -> Any:
    def prepare(config: TrainConfig, progress: object) -> Any:
        raise error

    return prepare


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("--config", "nobody.toml"), 2, "there is no such file"),
        (("--config", "echo.toml", "--set", "optim.ir=1"), 2, "did you mean 'optim.lr'?"),
        (("--config", "echo.toml", "--set", "optim.lr=0"), 2, "optim.lr: found 0; allowed is greater than 0"),
        (("--config", "echo.toml", "--seed", "one"), 2, "should be a valid integer"),
        (("--config", "echo.toml", "--set", "device=cuda"), 1, "sees no GPU"),
        (("--config", "echo.toml", "--set", "track=['wandb']"), 1, "pip install 'catp[wandb]'"),
        (("--config", "echo.toml", "--set", "model.heads=3"), 2, "must be a multiple of model.heads"),
        (("--config", "echo.toml", "--out", "echo.toml"), 1, "is a file; the run needs a folder"),
        ((), 2, "--config"),
    ],
)
def test_mistakes(project: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], code: int, said: str) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    done = catp(*args)
    assert done.exit_code == code, done.stderr
    assert said in " ".join(done.stderr.split())
    assert isinstance(done.exception, SystemExit)


def test_errors_are_json_for_those_who_read_json(project: Path) -> None:
    done = catp("--config", "echo.toml", "--set", "seeds=1", "--json")
    assert json.loads(done.stdout)["schema"] == "catp.error/1"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (FileNotFoundError(2, "No such file or directory", "data/mine.jsonl"), 1, "data/mine.jsonl: No such file"),
        (ModuleNotFoundError("No module named 'peft'"), 1, "pip install 'catp[train]'"),
        (ValueError("70 tools are offered, and there are 64 slots"), 2, "70 tools are offered"),
    ],
)
def test_what_stops_preparation(
    project: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, said: str
) -> None:
    use(monkeypatch, failing(error))
    done = catp("--config", "echo.toml")
    assert done.exit_code == code
    assert said in done.stderr
    assert not (project / "runs").exists()


def test_an_empty_split(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, partial(prepare, examples=0))
    done = catp("--config", "echo.toml")
    assert done.exit_code == 1
    assert "has no example" in done.stderr
