"""`catp runs score` and `catp runs cancel`: what people say of runs, and ending those that another process drives."""

import json
import subprocess
import sys
from pathlib import Path

from tests.cli.test_cli_run import catp, ok_json, project
from tests.warm import environment

__all__ = ["project"]


def test_a_run_is_scored_and_shown_with_its_score(project: Path) -> None:
    run = ok_json(project, "run", "day.plan", "--input", "text=x", "--json")["run"]
    assert ok_json(project, "runs", "show", run, "--json")["quality"] is None
    kept = ok_json(project, "runs", "score", run[-6:], "0.4", "--note", "half of it", "--json")
    assert (kept["run"], kept["value"], kept["note"]) == (run, 0.4, "half of it")
    said = catp(project, "runs", "score", run, "0.8")
    assert f"run {run}: quality 0.8" in said.stdout, said.stderr
    assert ok_json(project, "runs", "show", run, "--json")["quality"] == 0.8
    assert [one["quality"] for one in ok_json(project, "runs", "list", "--json")["items"]] == [0.8]
    assert "quality 0.8" in catp(project, "runs", "show", run).stdout


def test_no_other_scores(project: Path) -> None:
    run = ok_json(project, "run", "day.plan", "--input", "text=x", "--json")["run"]
    for value in ("nan", "1.01", "much"):
        assert catp(project, "runs", "score", run, value).returncode == 2
    assert catp(project, "runs", "score", "NOSUCH", "1").returncode == 2
    assert ok_json(project, "runs", "show", run, "--json")["quality"] is None


def test_a_run_of_another_process_is_cancelled(project: Path) -> None:
    command = [sys.executable, "-m", "catp.cli", "run", "day.plan", "--input", "text=hang", "--json"]
    process = subprocess.Popen(
        command, cwd=project, env=environment(project), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if "mood" in line:  # the quick branch is done, the other hangs
                break
        asked = catp(project, "runs", "cancel", ok_json(project, "runs", "list", "--json")["items"][0]["id"],
                     "--reason", "not wanted", "--json")  # fmt: skip
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert asked.returncode == 0, asked.stderr
    assert json.loads(asked.stdout)["status"] == "cancelled"
    assert "asking the process that drives" in asked.stderr
    assert process.returncode == 130, err
    document = json.loads(out)
    assert document["status"] == "cancelled"
    assert ": not wanted" in err
    shown = ok_json(project, "runs", "show", document["run"], "--events", "--json")
    assert shown["status"] == "cancelled"
    assert shown["cost_usd"] == document["spent_usd"]
    assert {row["step"] for row in shown["ledger"]} >= {"mood"}
    last = shown["events"][-1]
    assert (last["type"], last["data"]["reason"].endswith(": not wanted")) == ("run.finished", True)
    assert catp(project, "runs", "cancel", document["run"]).returncode == 2  # it has ended already
