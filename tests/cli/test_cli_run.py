"""`catp run`, `plan TASK`, `runs`, `config`, `doctor` as a user meets them: processes, exit codes, clean stdout."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests import warm
from tests.warm import environment

SHOP = Path(__file__).resolve().parents[1] / "agent" / "shop.py"
PLAN = "in text: text\nmood = mood_cheap(text)\ngist = gist(text)\nout mood, gist\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copy(SHOP, tmp_path / "shop.py")
    (tmp_path / "catp.toml").write_text(f'tools = "shop:CATALOGUE"\nstore = "{tmp_path}/runs.db"\nalpha = 0.0\n')
    (tmp_path / "day.plan").write_text(PLAN)
    return tmp_path


def catp(folder: Path, *args: str) -> "subprocess.CompletedProcess[str]":
    return warm.catp(folder, *args, env=environment(folder))


def ok_json(folder: Path, *args: str) -> Any:
    done = catp(folder, *args)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_run_shows_plan_quote_outputs_and_ledger_and_saves(project: Path) -> None:
    done = catp(project, "run", "day.plan", "--input", "text=a good day")
    assert done.returncode == 0, done.stderr
    for heading in ("Plan", "Quote", "Outputs", "Ledger", "Complete: $0.006"):
        assert heading in done.stdout
    assert "label=good" in done.stdout
    assert "mood" in done.stderr  # progress goes there
    listed = ok_json(project, "runs", "list", "--json")
    assert [run["cost_usd"] for run in listed["items"]] == ["0.006"]
    shown = catp(project, "runs", "show", listed["items"][0]["id"], "--events")
    assert shown.returncode == 0
    assert "node.finished" in shown.stdout


def test_json_is_one_document_whose_ledger_adds_up(project: Path) -> None:
    document = ok_json(project, "run", "day.plan", "--input", "text=a good day", "--json")
    assert document["schema"] == "catp.run/1"
    total = sum(float(row["amount_usd"]) for row in document["ledger"])
    assert total == pytest.approx(float(document["spent_usd"]))
    assert document["outputs"][0]["value"] == {"label": "good", "score": 0.6}


def test_jsonl_streams_events_and_ends_with_the_result(project: Path) -> None:
    done = catp(project, "run", "day.plan", "--input", "text=x", "--jsonl")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["seq"] for line in lines[:-1]] == list(range(1, len(lines)))
    assert lines[-1]["schema"] == "catp.run/1"


def test_plan_task_compares_without_spending(project: Path) -> None:
    args = ("plan", "judge it", "--input", "text=x", "--want", "mood=Mood", "--alpha", "0.5")
    document = ok_json(project, *args, "--json")
    assert {c["price_usd"]["expected"] for c in document["candidates"]} == {"0.001", "0.02"}
    assert not (project / "runs.db").exists()
    drawn = catp(project, *args, "--svg", "plan.svg")
    assert drawn.returncode == 0
    assert (project / "plan.svg").read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("args", "code", "complaint"),
    [
        (("run", "day.plan", "--input", "text=x", "--budget", "0.001"), 4, "exceeds the limit"),
        (("run", "day.plan", "--input", "text=x", "--budget", "0"), 2, "more than $0"),
        (("run", "day.plan", "--input", "text=x", "--alpha", "7"), 2, "between 0 and 1"),
        (("run", "day.plan"), 2, "'text' (text) is missing"),
        (("run", "day.plan", "--input", "text=@nothing.txt"), 2, "there is no file"),
        (("run", "none.plan", "--input", "text=x"), 2, "does not exist"),
        (("run", "broken.plan"), 3, "error[E"),
        (("run", "frobnicate the quux", "--input", "text=x"), 1, "frobnicate"),
        (("run", "x", "--want", "m=Mood", "--input", "text=x", "--budget", "0.0001"), 4, "the cheapest is expected"),
        (("run", "", "--input", "text=x"), 2, "task is empty"),
        (("run", "day.plan", "--input", "text=x", "--store", "day.plan"), 6, "--no-save"),
        (("run", "day.plan", "--input", "text=x", "--deadline", "3x"), 2, "--deadline"),
        (("plan", "day.plan", "--input", "text=x"), 2, "catp plan show day.plan"),
        (("run", "x", "--input", "text=x", "--tools", "shop:NOTHING"), 2, "has no 'NOTHING'"),
        (("run", "x", "--input", "text=x", "--tools", "no_such_module:X"), 2, "cannot import"),
        (("run", "x", "--input", "text=x", "--want", "mood"), 2, "NAME=TYPE"),
        (("run", "day.plan", "--input", "text=raise", "--approve", "maybe"), 2, "ask, later, auto or never"),
        (("runs", "show", "01ZZZZ"), 2, "no run"),
        (("plan", "x", "--input", "text=x", "--want", "mood=Mod"), 1, "Mod"),
    ],
)
def test_errors_have_their_exit_code_and_name_the_thing(
    project: Path, args: tuple[str, ...], code: int, complaint: str
) -> None:
    (project / "broken.plan").write_text("a = = b\n")
    done = catp(project, *args)
    assert (done.returncode, complaint in done.stderr) == (code, True), done.stderr
    assert done.stdout == "" or "day.plan" in args  # a plan that was compiled is shown before it is refused
    assert "Traceback" not in done.stderr


def test_a_store_that_is_no_database_is_exit_6(project: Path) -> None:
    (project / "runs.db").write_text("this is no database, but it is long enough to be looked at as one" * 20)
    done = catp(project, "runs", "list")
    assert done.returncode == 6
    assert "runs.db" in done.stderr


def test_a_required_output_that_fails_is_exit_1(project: Path) -> None:
    (project / "one.plan").write_text("in text: text\ngist = gist(text)\nout gist\n")
    done = catp(project, "run", "one.plan", "--input", "text=raise")
    assert done.returncode == 1
    assert "no gist today" in done.stdout


def test_one_missing_required_output_is_a_failure_an_optional_one_is_not(project: Path) -> None:
    done = catp(project, "run", "day.plan", "--input", "text=raise")
    assert done.returncode == 1
    assert "Degraded" in done.stdout
    (project / "optional.plan").write_text(PLAN.replace("gist\n", "gist?\n").replace("gist? = ", "gist = "))
    assert catp(project, "run", "optional.plan", "--input", "text=raise").returncode == 0


def test_a_plan_from_stdin_and_the_name_of_a_plan_file(project: Path) -> None:
    command = [sys.executable, "-m", "catp.cli", "run", "-", "--input", "text=x", "--no-save"]
    done = subprocess.run(
        command,
        cwd=project,
        env=environment(project),
        input=PLAN,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert catp(project, "run", "day.plan", "--input", "text=x").returncode == 0
    assert [run["task"] for run in ok_json(project, "runs", "list", "--json")["items"]] == ["day"]
    assert catp(project, "--version").stdout == catp(project, "version").stdout


def test_an_assumed_price_admits_an_unpriced_tool(project: Path) -> None:
    (project / "free.py").write_text(
        "from catp.tools import tool\n\n\n@tool()\nasync def length(text: str) -> int:\n    return len(text)\n\n\n"
        "ALL = [length]\n"
    )
    (project / "n.plan").write_text("in text: text\nn = length(text)\nout n\n")
    args = ("run", "n.plan", "--input", "text=four", "--tools", "free:ALL", "--budget", "0.05")
    refused = catp(project, *args)
    assert refused.returncode == 4
    assert "--assume-price" in refused.stderr
    allowed = catp(project, *args, "--assume-price", "0.01")
    assert allowed.returncode == 0, allowed.stderr
    assert "assumed to cost $0.01 each: n" in allowed.stdout
    assert "unpriced" in allowed.stdout
    assert catp(project, *args, "--assume-price", "0.06").returncode == 4


def test_deadline_missed_is_exit_5(project: Path) -> None:
    (project / "one.plan").write_text("in text: text\ngist = gist(text)\nout gist\n")
    done = catp(project, "run", "one.plan", "--input", "text=hang", "--deadline", "0.5")
    assert done.returncode == 5


def test_interrupt_stops_work_completes_the_ledger_and_is_exit_130(project: Path) -> None:
    command = [sys.executable, "-m", "catp.cli", "run", "day.plan", "--input", "text=hang", "--json"]
    process = subprocess.Popen(
        command, cwd=project, env=environment(project), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if "mood" in line:  # the quick branch is done, the other hangs
                break
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, err
    document = json.loads(out)
    assert document["status"] == "cancelled"
    assert document["spent_usd"] >= "0.001"
    assert ok_json(project, "runs", "list", "--json")["items"][0]["status"] == "cancelled"


def test_config_names_the_source_of_each_value(project: Path) -> None:
    settings = ok_json(project, "config", "show", "--json")["settings"]
    assert settings["alpha"] == {"value": "0.0", "source": str(project / "catp.toml")}
    assert settings["budget"] == {"value": None, "source": "default"}


def test_doctor_reports_what_is_broken(project: Path) -> None:
    done = catp(project, "doctor", "--json")
    findings = {f["what"]: f["state"] for f in json.loads(done.stdout)["findings"]}
    assert findings["run store"] == "ok"
    assert findings["tools"] == "ok"
    (project / "data").mkdir(exist_ok=True)
    assert catp(project, "version").stdout.startswith("catp ")


def test_output_folder_gets_one_file_per_output(project: Path) -> None:
    done = catp(project, "run", "day.plan", "--input", "text=a good day", "--output", "out")
    assert done.returncode == 0
    assert json.loads((project / "out" / "mood.json").read_text())["label"] == "good"


@pytest.mark.parametrize("flag", ["--json", "--jsonl"])
def test_errors_are_json_for_those_who_read_json(flag: str, project: Path) -> None:
    failed = catp(project, "run", "no_such.plan", flag)
    assert failed.returncode == 2
    error = json.loads(failed.stdout)
    assert error["schema"] == "catp.error/1"
    assert error["exit_code"] == 2
    assert "no_such.plan" in error["error"]
    assert "error: " in failed.stderr
    assert catp(project, "run", "no_such.plan").stdout == ""
    (project / "bad.plan").write_text("out nothing\n")
    invalid = catp(project, "run", "bad.plan", flag)
    assert invalid.returncode == 3
    assert json.loads(invalid.stdout)["exit_code"] == 3
