"""`catp run` twice, `--no-cache`, `catp cache`: as a user meets them."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import warm

TOOLS = """
from catp.tools.catalogue import Catalogue
from catp.tools.decorator import tool
from catp.tools.price import PerCall

@tool(cache="1h", effects="read", placement="thread", price=PerCall("0.004"))
def look(text: str) -> str:
    return text.upper()

@tool(cache=True, placement="thread", price=PerCall("0.001"))
def count(text: str) -> int:
    return len(text)

CATALOGUE = Catalogue([look, count])
"""
PLAN = "in text: text\nseen = look(text)\nn = count(seen)\nout seen, n\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(TOOLS)
    (tmp_path / "catp.toml").write_text(f'tools = "mine:CATALOGUE"\nstore = "{tmp_path}/runs.db"\n')
    (tmp_path / "look.plan").write_text(PLAN)
    return tmp_path


def catp(folder: Path, *args: str) -> "subprocess.CompletedProcess[str]":
    return warm.catp(folder, *args, env=warm.environment(folder))


def ok_json(folder: Path, *args: str) -> Any:
    done = catp(folder, *args, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_second_run_says_what_it_saved(project: Path) -> None:
    run = ("run", "look.plan", "--input", "text=a day")
    first = ok_json(project, *run)
    assert (first["spent_usd"], first["savings_usd"]) == ("0.005", "0.00")
    second = catp(project, *run)
    assert "Complete: $0.00 in" in second.stdout
    assert "saved by 2 kept results: $0.005" in second.stdout
    listed = ok_json(project, "runs", "list")["items"]
    assert [(item["cost_usd"], item["saved_usd"]) for item in listed] == [("0.00", "0.005"), ("0.005", "0.00")]
    shown = catp(project, "runs", "show", listed[0]["id"]).stdout
    assert "saved $0.004" in shown
    assert "saved $0.005" in shown
    costs = ok_json(project, "runs", "show", listed[0]["id"])["ledger"]
    assert [(row["kind"], row["amount_usd"], row["saved_usd"]) for row in costs] == [
        ("cache", "0.00", "0.004"), ("cache", "0.00", "0.001"),
    ]  # fmt: skip
    off = ok_json(project, *run, "--no-cache")
    assert (off["spent_usd"], off["savings_usd"]) == ("0.005", "0.00")


def test_stats_and_clear(project: Path) -> None:
    for text in ("a", "b", "a"):
        ok_json(project, "run", "look.plan", "--input", f"text={text}")
    stats = ok_json(project, "cache", "stats")
    assert (stats["results"], stats["hits"], stats["saved_usd"]) == (4, 2, "0.005")
    assert {(t["tool"], t["results"], t["hits"], t["saved_usd"]) for t in stats["tools"]} == {
        ("look", 2, 1, "0.004"), ("count", 2, 1, "0.001"),
    }  # fmt: skip
    shown = catp(project, "cache", "stats").stdout
    assert "look" in shown
    assert "$0.005" in shown
    assert ok_json(project, "cache", "clear", "--tool", "look")["forgotten"] == 2
    again = ok_json(project, "run", "look.plan", "--input", "text=a")
    assert (again["spent_usd"], again["savings_usd"]) == ("0.004", "0.001")
    unknown = catp(project, "cache", "clear", "--tool", "loko")
    assert unknown.returncode == 2
    assert "no result of 'loko' is kept" in unknown.stderr
    assert "look" in unknown.stderr
    assert "forgot 3 results" in catp(project, "cache", "clear").stdout
    assert ok_json(project, "cache", "stats")["results"] == 0


def test_a_plan_that_asks_to_cache_a_write_is_refused(project: Path) -> None:
    (project / "mine.py").write_text(TOOLS.replace('cache="1h", effects="read"', 'effects="write"'))
    (project / "bad.plan").write_text(PLAN.replace("look(text)", "look(text) @cache(10m)"))
    done = catp(project, "run", "bad.plan", "--input", "text=a")
    assert done.returncode == 3
    assert "`@cache` would leave out what `seen` writes" in done.stderr


def test_tools_say_how_long_their_results_hold(project: Path) -> None:
    assert [ok_json(project, "tools", "show", name)["cache"] for name in ("look", "count")] == ["1h", "for ever"]
    shown = catp(project, "tools", "show", "look").stdout
    assert "results hold" in shown
    assert "1h" in shown
