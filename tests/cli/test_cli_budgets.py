"""`catp budgets` and what a budget does to `catp run`, as a user meets them: processes, exit codes, clean stdout."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import warm

SHOP = Path(__file__).resolve().parents[1] / "agent" / "shop.py"
PLAN = "in text: text\nmood = mood_fine(text)\ngist = gist(text)\nout mood, gist?\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copy(SHOP, tmp_path / "shop.py")
    (tmp_path / "catp.toml").write_text(
        f'tools = "shop:CATALOGUE"\nstore = "{tmp_path}/runs.db"\nproject = "demo"\nreserve = "p99"\n'
    )
    (tmp_path / "day.plan").write_text(PLAN)
    return tmp_path


def catp(folder: Path, *args: str) -> "subprocess.CompletedProcess[str]":
    return warm.catp(folder, *args, env=warm.environment(folder))


def ok_json(folder: Path, *args: str) -> Any:
    done = catp(folder, *args, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_set_list_show_remove(project: Path) -> None:
    made = ok_json(project, "budgets", "set", "project:demo", "$5", "--per", "day", "--warn", "50%,80%")
    assert (made["cap_usd"], made["available_usd"], made["period"], made["warn"]) == ("5.00", "5.00", "day", [0.5, 0.8])
    ok_json(project, "budgets", "set", "agent:me", "0.5")
    listed = ok_json(project, "budgets", "list")["budgets"]
    assert [(one["scope"], one["name"], one["period"]) for one in listed] == [
        ("agent", "me", "total"), ("project", "demo", "day"),
    ]  # fmt: skip
    again = ok_json(project, "budgets", "set", "project:demo", "6", "--per", "day")
    assert (again["cap_usd"], len(ok_json(project, "budgets", "list")["budgets"])) == ("6.00", 2)
    table = catp(project, "budgets", "list")
    assert "project:demo (per day)" in table.stdout
    assert ok_json(project, "budgets", "remove", "agent:me")["removed"] == 1
    gone = catp(project, "budgets", "remove", "agent:me")
    assert gone.returncode == 1
    assert gone.stdout == ""
    assert "agent:me has no budget" in gone.stderr
    assert "project:demo" in gone.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["set", "team:x", "1"], "write project:NAME or agent:NAME"),
        (["set", "project:", "1"], "write project:NAME or agent:NAME"),
        (["set", "project:x", "much"], "not a decimal amount"),
        (["set", "project:x", "0"], "more than $0"),
        (["set", "project:x", "1", "--per", "year"], "write day, week, month"),
        (["set", "project:x", "1", "--warn", "150%"], "at most 100%"),
        (["set", "project:x", "1", "--warn", "half"], "write percentages"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_fix(project: Path, args: list[str], message: str) -> None:
    done = catp(project, "budgets", *args)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_runs_of_a_project_draw_on_its_budget_until_it_is_spent(project: Path) -> None:
    assert catp(project, "budgets", "set", "project:demo", "0.07", "--warn", "50%").returncode == 0
    run = ("run", "day.plan", "--input", "text=good")
    first = ok_json(project, *run)
    assert (first["status"], first["spent_usd"], first["refusals"]) == ("complete", "0.025", [])
    second = catp(project, *run)
    assert second.returncode == 0
    assert "warning: project:demo has spent $0.05 of $0.07 (50% reached)" in second.stderr
    third = catp(project, *run)  # 0.02 are left: the optional output is given up
    assert third.returncode == 0, third.stderr
    assert "output `gist` is given up ($0.005)" in third.stdout
    assert "Degraded: $0.02" in third.stdout
    fourth = catp(project, *run)
    assert fourth.returncode == 4
    assert "exceeds the $0.00 that project:demo has left" in fourth.stderr
    shown = ok_json(project, "budgets", "show", "project:demo")["budgets"][0]
    amounts = [shown[f"{name}_usd"] for name in ("spent", "available", "over")]
    assert (amounts, shown["held"]) == (["0.07", "0.00", "0.00"], [])
    assert [one["level"] for one in shown["warned"]] == [0.5]
    free = catp(project, *run, "--project", "other")
    assert free.returncode == 0, free.stderr
    assert catp(project, *run, "--project", "other", "--budget", "0.021").stdout.count("given up") >= 1
    strict = catp(project, *run, "--project", "other", "--budget", "0.001", "--strict")
    assert strict.returncode == 4
    assert "the least it can be done for" in strict.stderr


def test_a_run_that_is_not_saved_cannot_pass_by_a_budget(project: Path) -> None:
    run = ("run", "day.plan", "--input", "text=good", "--no-save")
    assert catp(project, *run).returncode == 0
    assert not (project / "runs.db").exists()
    assert catp(project, "budgets", "set", "project:demo", "0.07").returncode == 0
    done = catp(project, *run)
    assert done.returncode == 2
    assert "project:demo has a budget, which cannot count a run that is not saved" in done.stderr
    assert catp(project, *run, "--project", "other").returncode == 0


def test_a_refused_step_is_told_once_and_plan_files_are_checked_against_the_tools_of_the_settings(
    project: Path,
) -> None:
    text = "in text: text\nmood = mood_fine(text) @budget($0.001)\ngist = gist(text)\nout mood, gist\n"
    (project / "tight.plan").write_text(text)
    checked = catp(project, "plan", "check", "tight.plan")  # shop.py, as catp.toml says
    assert checked.returncode == 0, checked.stderr
    done = catp(project, "run", "tight.plan", "-i", "text=lovely")
    assert done.returncode == 4
    told = [line for line in done.stderr.splitlines() if "refused" in line]
    assert len(told) == 1
    assert "the step's @budget of $0.001 has $0.001 left" in told[0]
    total = next(line for line in done.stdout.splitlines() if line.lstrip().startswith("total"))
    assert "unknown" in total  # nothing was measured before, and that is not 0 ms


def test_without_the_built_in_tools_the_command_says_so(project: Path) -> None:
    hide = "import sys; sys.modules.update(cv2=None, rapidocr=None); from catp.cli.main import main; main()"
    environment = {"PATH": os.environ["PATH"], "HOME": str(project), "NO_COLOR": "1", "CATP_TOOLS": "zoo"}
    done = subprocess.run(
        [sys.executable, "-c", hide, "run", "day.plan", "-i", "text=x"],
        cwd=project, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: built-in tools: not installed here")
    assert "--tools" in done.stderr
