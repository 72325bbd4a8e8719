"""The whole way, as a user walks it: train, break off, resume, look, measure, export; on the shipped benchmark."""

import gzip
import json
import os
import subprocess
import sys
from contextlib import chdir
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from catp.cli.main import app
from catp.training.caorl.metrics import read_metrics

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("smoke")]

ROOT = Path(__file__).resolve().parents[3]
SMOKE = ROOT / "examples" / "train" / "smoke.toml"
TRAJECTORIES = ROOT / "datasets" / "catp-bench" / "measured" / "train.jsonl.gz"


def process(folder: Path, *args: object) -> Any:
    """A command in a process of its own, which loads everything anew."""
    command = [sys.executable, "-m", "catp.cli", *map(str, args), "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=500, check=False,
                          env={**os.environ, "NO_COLOR": "1"})  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def catp(folder: Path, *args: object) -> Any:
    """A command in this process, which has loaded torch already."""
    torch.set_num_threads(1)
    with chdir(folder):
        done = CliRunner().invoke(app, [*map(str, args), "--json"], env={"NO_COLOR": "1"})
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained for half of the steps in one process, for the rest in another."""
    folder = tmp_path_factory.mktemp("smoke")
    half = process(folder, "train", "--config", SMOKE, "--out", "out", "--set", "optim.steps=4")
    assert (half["reason"], half["step"]) == ("finished", 4)
    whole = process(folder, "train", "--config", SMOKE, "--out", "out", "--resume", "auto")
    assert (whole["reason"], whole["step"]) == ("finished", 8)
    return folder


def test_what_a_run_leaves_behind(run: Path) -> None:
    events = read_metrics(run / "out" / "metrics.jsonl")
    assert [event["step"] for event in events if event["event"] == "step"] == list(range(1, 9))
    assert all(0 <= event["figures"]["regret"] <= 1 for event in events if event["event"] == "evaluated")
    for name in ("curves.png", "config.toml", "best/README.md", "last/README.md", "last/state/state.json"):
        assert (run / "out" / name).stat().st_size > 0
    shown = catp(run, "models", "show", "out/best")
    assert shown["manifest"]["config"]["name"] == "catp-smoke"
    assert all("catp-bench" in name for name in shown["manifest"]["data"])
    assert "catp-bench" in (run / "out" / "best" / "README.md").read_text()
    for name in ("out/best", "out/last"):
        figures = catp(run, "models", "show", name)["manifest"]["figures"]
        assert 0 <= figures["mixed_regret"] <= figures["regret"]


def test_its_tokens(run: Path) -> None:
    found = catp(run, "data", "show", TRAJECTORIES, "--tokens", "--model", "out/best")
    parts = dict(found["prompt"])
    assert {"tools", "inputs", "goals", "request", "objective"} <= set(parts)
    assert parts["tools"][:2] == ["<catp:tools>", "<t0>"]
    targets = [token for token in found["plan"] if token["choices"] is not None]
    forced = [token for token in found["plan"] if token["choices"] is None]
    assert targets
    assert all(token["choices"] > 1 for token in targets)
    assert "<score>" in {token["token"] for token in forced}
    (read, *_) = [token for token in found["plan"] if token["score"] is not None]
    assert 0 <= read["score"] <= 1
    assert found["weight"] > 0


def first_inputs(name: str, count: int) -> str:
    """The lines of the first inputs of a file of the benchmark: rating all of them takes minutes."""
    with gzip.open(TRAJECTORIES.with_name(name), "rt", encoding="utf-8") as lines:
        inputs = groupby(lines, key=lambda line: json.loads(line)["candidate_set"])
        return "".join(line for _, group in islice(inputs, count) for line in group)


def test_it_is_measured_like_any_planner(run: Path) -> None:
    (run / "few.jsonl").write_text(first_inputs("train.jsonl.gz", 2) + first_inputs("test.jsonl.gz", 12))
    found = catp(run, "eval", "--model", "out/best", "--data", "few.jsonl", "--alpha", "0.8", "--protocol", "split")
    (one,) = found["evaluations"]
    assert one["planner"] == "policy:out/best"
    assert one["sets"] == 12
    assert 0 <= one["rows"][0]["regret"]["regret"] <= 1


def test_its_export_answers_the_same(run: Path) -> None:
    found = process(run, "export", "--model", "out/best", "--out", "whole", "--merge")
    assert found["logit_difference"] <= found["tolerance"]
    assert catp(run, "models", "show", "whole")["problem"] is None
