"""What planning took, and who did it, as `catp` tells it: reports, JSON documents, settings."""

import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from catp.cli.main import app

TOOLS = """
from catp.tools import Catalogue, PerCall, tool

@tool(price=PerCall("0.01"), accuracy=0.6)
async def plain(text: str) -> str:
    "Say it plainly."
    return text.lower()

CATALOGUE = Catalogue([plain])
"""
TASK = ("say it", "-i", "text=HELLO", "--want", "said=text")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "planning_shop.py").write_text(TOOLS)
    (tmp_path / "catp.toml").write_text(f'tools = "planning_shop:CATALOGUE"\nstore = "{tmp_path}/runs.db"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("CATP_PLANNER")
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    return tmp_path


def catp(*args: str, **environment: str) -> Result:
    done = CliRunner().invoke(app, args, env={"NO_COLOR": "1", **environment})
    assert done.exit_code == 0, done.output
    return done


def test_reports_and_documents_tell_of_planning(project: Path) -> None:
    run = json.loads(catp("run", *TASK, "--planner", "search", "--budget", "0.02", "--json").stdout)
    planning = run["quote"]["planning"]
    assert (planning["planner"], run["quote"]["planner"]) == ("search", "search")
    assert planning["ms"] > 0
    first = run["ledger"][0]
    assert (first["step"], first["kind"], first["tool"], first["seq"]) == ("plan", "planning", "search", 1)
    assert first["amount_usd"] == planning["price_usd"]
    amounts = [Decimal(row["amount_usd"]) for row in run["ledger"]]
    assert sum(amounts) == Decimal(run["spent_usd"]) == Decimal("0.01") + Decimal(planning["price_usd"])

    shown = json.loads(catp("runs", "show", run["run"], "--json").stdout)
    assert (shown["cost_usd"], shown["policy"]) == (run["spent_usd"], "search")
    assert [row["kind"] for row in shown["ledger"]] == ["planning", "call"]
    lines = [line.split() for line in catp("runs", "show", run["run"]).stdout.splitlines()]
    assert ["plan", "1", "search", "planning"] in [line[:4] for line in lines]

    replay = json.loads(catp("runs", "replay", run["run"], "--json").stdout)
    assert (replay["now"]["cost_usd"], replay["planning"]) == (run["spent_usd"], [planning])
    table = catp("runs", "replay", run["run"]).stdout.splitlines()
    assert table[2].split()[:2] == ["plan", "search"]
    catp("db", "check")


def test_the_report_of_a_run_has_a_row_for_planning(project: Path) -> None:
    told = catp("run", *TASK, "--planner", "search", "--no-save").stdout
    rows = [
        line.split() for line in told.splitlines() if line.split()[:2] in (["plan", "search"], ["planning", "search,"])
    ]
    assert [row[0] for row in rows] == ["planning", "plan"]
    assert rows[0][-1] == rows[1][2]  # the price in the quote and in the ledger
    assert rows[1][-1] == "ok"


def test_events_carry_it(project: Path) -> None:
    lines = catp("run", *TASK, "--planner", "search", "--jsonl").stdout.splitlines()
    created, result = json.loads(lines[0]), json.loads(lines[-1])
    assert created["type"] == "run.created"
    assert created["data"]["planning"]["rows"][0]["amount"] == result["ledger"][0]["amount_usd"]


def test_plans_of_a_task_tell_who_planned(project: Path) -> None:
    found = json.loads(catp("plan", *TASK, "--planner", "search", "--json").stdout)
    assert found["planning"]["planner"] == "search"
    assert [one["planning"] for one in found["candidates"]] == [found["planning"]] * len(found["candidates"])
    assert "planning  search, " in catp("plan", *TASK, "--planner", "search").stdout


def planner_of(document: dict[str, Any]) -> str:
    return str(document["candidates"][0]["planner"])


def test_the_setting_comes_from_file_environment_and_flag(project: Path) -> None:
    settings = project / "catp.toml"
    settings.write_text(settings.read_text() + 'planner = "/no/such/model"\n')
    found = json.loads(catp("plan", *TASK, "--json").stdout)
    assert planner_of(found) == "search"
    assert any(note.startswith("policy: ") and "search" in note for note in found["notes"])
    for flags, environment in (((), {"CATP_PLANNER": "search"}), (("--planner", "search"), {})):
        found = json.loads(catp("plan", *TASK, *flags, "--json", **environment).stdout)
        assert planner_of(found) == "search"
        assert not any(note.startswith("policy: ") for note in found["notes"])
    shown = json.loads(catp("config", "show", "--json").stdout)["settings"]["planner"]
    assert (shown["value"], shown["source"]) == ("/no/such/model", str(settings))


def test_doctor_says_who_plans(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def finding(planner: str) -> tuple[str, str]:
        found = json.loads(catp("doctor", "--json", CATP_PLANNER=planner).stdout)["findings"]
        (one,) = [one for one in found if one["what"] == "planner"]
        return one["state"], one["detail"]

    assert finding("search") == ("ok", "search")
    state, detail = finding("/no/such/model")
    assert (state, detail.partition(";")[0]) == ("warn", "search")
    assert "/no/such/model" in detail
    monkeypatch.setitem(sys.modules, "torch", None)
    state, detail = finding("policy")
    assert (state, detail.partition(";")[0]) == ("warn", "search")
    assert "torch" in detail
    assert "pip install 'catp[policy]'" in detail


SEVERAL = TOOLS.replace(
    "CATALOGUE = Catalogue([plain])",
    """
@tool(price=PerCall("0.03"), accuracy=0.95)
async def fine(text: str) -> str:
    "Say it well."
    return text.upper()

@tool(price=PerCall("0.05"), accuracy=0.7)
async def beaten(text: str) -> str:
    "Say it for too much."
    return text.upper()

CATALOGUE = Catalogue([plain, fine, beaten])
""",
)


@pytest.mark.parametrize("alpha", ["0.1", "1"])
def test_the_front_has_every_plan_that_may_be_worth_it(project: Path, alpha: str) -> None:
    (project / "planning_several.py").write_text(SEVERAL)
    args = ("plan", *TASK, "--planner", "search", "--tools", "planning_several:CATALOGUE", "--alpha", alpha, "--front")
    found = json.loads(catp(*args, "--json").stdout)
    assert (found["schema"], found["front"]) == ("catp.plans/1", True)
    plans = {(one["price_usd"]["expected"], one["quality"]) for one in found["candidates"]}
    assert plans == {("0.01", 0.6), ("0.03", 0.95)}
    lines = catp(*args).stdout.splitlines()
    begin = lines.index("Pareto front, cheapest first; * is the plan above")
    rows = [line.split() for line in lines[begin + 2 :]]
    assert [row[-1] for row in rows] == ["plain", "fine"]
    assert [row[0] == "*" for row in rows] == [alpha == "0.1", alpha == "1"]
    assert json.loads(catp(*args[:-1], "--json").stdout)["front"] is False


def test_a_planner_without_a_front_says_so(project: Path) -> None:
    done = CliRunner().invoke(app, ["plan", *TASK, "--planner", "openai:gpt@http://127.0.0.1:9/v1", "--front"])
    assert done.exit_code == 2
    assert "shows no Pareto front; use search or policy" in done.stderr
