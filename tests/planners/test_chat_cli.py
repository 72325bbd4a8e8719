"""A chat model as the planner of the command line and of `catp bench eval`."""

import json
import shutil
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from catp.cli.main import app
from catp.planners.chat import ChatPlanner
from catp.planners.chosen import planner_for
from catp.planners.search import SearchPlanner
from catp.training.cli.bench_names import contenders
from tests.planners.scripted_model import KEY, Server, out, says, step

SHOP = Path(__file__).resolve().parents[1] / "agent" / "shop.py"
PLAN = {"planlang": 1, "steps": [step("m", "mood_fine", "text", "text")], "outputs": [out("mood", "m")]}
TASK = ("how does it feel", "-i", "text=good", "--want", "mood=Mood")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(SHOP, tmp_path / "chat_shop.py")
    (tmp_path / "catp.toml").write_text(f'tools = "chat_shop:CATALOGUE"\nstore = "{tmp_path}/runs.db"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    return tmp_path


def catp(*args: str) -> Result:
    return CliRunner().invoke(app, args, env={"NO_COLOR": "1", "CATP_CHAT_API_KEY": KEY})


def test_a_run_planned_by_a_chat_model_pays_for_it(server: Server, project: Path) -> None:
    server.play(says(PLAN))
    done = catp("run", *TASK, "--planner", f"openai:tiny@{server.url}#in=0.15,out=0.60", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["outputs"][0]["value"]["label"] == "good"
    assert [row["tool"] for row in found["ledger"]] == ["openai:tiny", "mood_fine"]
    assert found["spent_usd"] == "0.02027", "0.02 for the tool, 1,000 and 200 tokens for the plan"
    assert KEY not in done.output
    assert KEY.encode() not in b"".join(file.read_bytes() for file in project.glob("runs.db*"))


def test_where_it_fails_search_plans_and_says_so(project: Path) -> None:
    done = catp("plan", "task", *TASK, "--planner", "openai:tiny@http://127.0.0.1:9/v1")
    assert done.exit_code == 0, done.output
    assert "cannot connect" in done.stdout
    assert "planned by search instead" in " ".join(done.stdout.split())


def test_a_spec_that_is_none_ends_the_command(project: Path) -> None:
    done = catp("plan", "task", *TASK, "--planner", "openai:tiny#input=1")
    assert done.exit_code == 2
    assert "no option 'input'" in done.stderr


def test_the_name_of_a_chat_model_is_a_planner_with_search_behind_it() -> None:
    made = planner_for("openai:tiny@http://localhost:1/v1")
    assert isinstance(made, ChatPlanner)
    assert isinstance(made.fallback, SearchPlanner)


def test_bench_eval_takes_one_from_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ("from catp.planners.chat import ChatPlanner", "tiny = ChatPlanner.from_spec('openai:tiny')")
    (tmp_path / "my_chat_model.py").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    (found,) = contenders(["my_chat_model:tiny"], "kfold", with_search=True)
    assert isinstance(found.planner, ChatPlanner)


def test_bench_eval_measures_a_chat_model_alone() -> None:
    (found,) = contenders(["openai:tiny@http://localhost:1/v1"], "kfold", with_search=True)
    assert isinstance(found.planner, ChatPlanner)
    assert found.planner.fallback is None
    with pytest.raises(typer.Exit):
        contenders(["openai:"], "kfold", with_search=True)
