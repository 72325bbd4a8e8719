"""`catp eval` on data that is not CATP-Bench, and what it says where nothing is held out from a policy."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from catp.cli.main import app
from catp.training.caorl.config import DataConfig
from catp.training.data.trajectory import Split
from catp.training.digest import file_digest
from catp.training.policy.checkpoint import new, save
from tests.training.caorl.cases_making import CONFIG, records
from tests.training.caorl.test_source_files import FORK, PLAIN, TOOLS, record


@pytest.fixture(autouse=True)
def one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))


def catp(*args: object) -> Result:
    return CliRunner().invoke(app, [*map(str, args)])


def document(*args: object) -> Any:
    done = catp(*args, "--alpha", "0.8", "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def policy(folder: Path, data: DataConfig | None = None, files: tuple[Path, ...] = ()) -> Path:
    """A new policy whose manifest says that it was trained on `data`."""
    made = new(CONFIG.model_copy(update={"data": data or DataConfig()}), ["say what it shows image text"])
    manifest = made.manifest.updated(data={file.name: file_digest(file) for file in files})
    save(replace(made, manifest=manifest), folder / "model")
    return folder / "model"


def graphs(path: Path) -> Path:
    """Plans as graphs, as OpenCATP's pool has them: 4 tasks of 2 plans."""
    path.parent.mkdir(exist_ok=True)
    found = [
        {**record(number, plan, score=score, set_=f"s{task}"), "group": f"task-{task}"}
        for task in range(4)
        for number, (plan, score) in enumerate([(FORK, 0.9), (PLAIN, 0.4)])
    ]
    path.write_text("".join(json.dumps(one) + "\n" for one in found))
    return path


def test_other_data_needs_nothing_but_its_toolset_beside_it(tmp_path: Path) -> None:
    data = graphs(tmp_path / "data" / "mine.jsonl")
    (data.parent / "toolset.json").write_text(json.dumps(TOOLS))
    found = document("eval", "--model", policy(tmp_path), "--data", data)
    (one,) = found["evaluations"]
    assert (one["sets"], one["groups"]) == (4, 4)
    assert 0 <= one["rows"][0]["regret"]["regret"] <= 1
    assert one["calibration"] is not None  # it rated the plans
    assert found["warnings"] == []


def test_the_toolset_may_be_anywhere(tmp_path: Path) -> None:
    data = graphs(tmp_path / "data" / "mine.jsonl")
    model = policy(tmp_path)
    done = catp("eval", "--model", model, "--data", data)
    assert done.exit_code == 2
    assert "toolset 'pictures' is needed" in done.stderr
    assert "--toolset" in done.stderr
    elsewhere = tmp_path / "tools.json"
    done = catp("eval", "--model", model, "--data", data, "--toolset", elsewhere)
    assert (done.exit_code, "tools.json" in done.stderr) == (2, True)
    elsewhere.write_text(json.dumps(TOOLS))
    beside = document("bench", "eval", "--planner", f"policy:{model}", "--data", data, "--toolset", elsewhere)
    assert beside["evaluations"][0]["sets"] == 4


def some_of_the_benchmark(path: Path, **split: str) -> Path:
    sides = {"name": "train", "inputs": "train", "phrasing": "train", **split}
    found = [one.model_copy(update={"split": Split.model_validate(sides)}) for one in records()]
    path.write_text("".join(one.to_line() + "\n" for one in found))
    return path


def test_what_it_was_trained_on_is_told_by_name_of_the_benchmark(tmp_path: Path) -> None:
    model, data = policy(tmp_path), some_of_the_benchmark(tmp_path / "few.jsonl")
    done = catp("eval", "--model", model, "--data", data, "--protocol", "loo", "--alpha", "0.8")
    assert done.exit_code == 0, done.stderr
    count = len({one.candidate_set for one in records()})
    said = f"warning: policy:{model}: {count} of the {count} inputs that it is judged on under protocol loo are ones"
    assert said in done.stderr
    assert "--protocol split" in done.stderr
    (told,) = document("eval", "--model", model, "--data", data, "--protocol", "loo")["warnings"]
    assert f"warning: {told}" in done.stderr


def test_tools_it_knows_are_named(tmp_path: Path) -> None:
    data = some_of_the_benchmark(tmp_path / "few.jsonl")
    (told,) = [
        text
        for text in document("eval", "--model", policy(tmp_path), "--data", data, "--protocol", "tools")["warnings"]
        if "tools held out" in text
    ]
    assert "upscale_bicubic" in told
    assert "data.without_tools" in told
    held = {tool for one in records() for tool in (node.tool for node in one.plan.nodes)}
    fair = policy(tmp_path / "fair", DataConfig(without_tools=tuple(sorted(held))))
    told = document("eval", "--model", fair, "--data", data, "--protocol", "tools")["warnings"]
    assert not [text for text in told if "tools held out" in text]


def test_a_file_it_was_trained_on_is_known_by_its_digest(tmp_path: Path) -> None:
    data = graphs(tmp_path / "data" / "mine.jsonl")
    (data.parent / "toolset.json").write_text(json.dumps(TOOLS))
    model = policy(tmp_path, DataConfig(paths=("elsewhere/mine.jsonl",)), (data,))
    (told,) = document("eval", "--model", model, "--data", data, "--protocol", "kfold")["warnings"]
    assert "4 of the 4 inputs" in told
    data.write_text(data.read_text() + "\n")
    assert document("eval", "--model", model, "--data", data, "--protocol", "kfold")["warnings"] == []


def test_sides_it_was_not_trained_on_are_no_matter(tmp_path: Path) -> None:
    data = some_of_the_benchmark(tmp_path / "few.jsonl", name="test")
    assert document("eval", "--model", policy(tmp_path), "--data", data, "--protocol", "loo")["warnings"] == []
