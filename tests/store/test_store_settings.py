"""The store in settings and commands: a path or a URL."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from catp.config import ConfigError, load_settings

TOOLS = """
from catp.tools import PerCall, tool

@tool(price=PerCall("0.001"))
async def up(text: str) -> str:
    return text.upper()

TOOLS = (up,)
"""


def catp(folder: Path, *argv: str, code: int = 0) -> Any:
    home = str(folder / "home")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "catp.cli", *argv], cwd=folder, capture_output=True, text=True,
        timeout=60, check=False, env={**os.environ, "XDG_CONFIG_HOME": home, "XDG_DATA_HOME": home},
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if done.stdout else done.stderr


def test_a_run_is_saved_listed_and_shown(target: Path | str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(TOOLS)
    (tmp_path / "catp.toml").write_text(f'tools = "mine:TOOLS"\nstore = "{target}"\n')
    (tmp_path / "my.plan").write_text("in t: text\na = up(t)\nout a\n")
    ran = catp(tmp_path, "run", "my.plan", "--input", "t=hello", "--json")
    assert ran["saved"] is True
    listed = catp(tmp_path, "runs", "list", "--json")["items"]
    assert [run["id"] for run in listed] == [ran["run"]]
    assert (listed[0]["cost_usd"], listed[0]["saved_usd"], listed[0]["project"]) == ("0.001", "0.00", "default")
    shown = catp(tmp_path, "runs", "show", ran["run"][-6:], "--events", "--json")
    assert [output["text"] for output in shown["outputs"]] == ["HELLO"]
    assert [row["amount_usd"] for row in shown["ledger"]] == ["0.001"]
    assert shown["events"][-1]["type"] == "run.finished"
    assert catp(tmp_path, "runs", "list", "--status", "interrupted", "--json")["items"] == []
    finding = next(f for f in catp(tmp_path, "doctor", "--json")["findings"] if f["what"] == "run store")
    assert finding["state"] == "ok"
    assert finding["detail"].endswith("(1 runs)")


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite:///runs.db", "https://example.org"])
def test_urls_of_something_else_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match=r"store = .* must be a file, or the URL of a PostgreSQL database"):
        load_settings({"store": url}, directory=tmp_path)
    assert "PostgreSQL" in catp(tmp_path, "runs", "list", "--store", url, code=2)


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "catp.toml").write_text('store = "postgresql://me:secret@db.example/runs"\n')
    shown = catp(tmp_path, "config", "show", "--json")
    assert shown["settings"]["store"]["value"] == "postgresql://me:***@db.example/runs"


def test_a_server_that_is_away_ends_the_command_before_anything_is_spent(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(TOOLS)
    (tmp_path / "my.plan").write_text("in t: text\na = up(t)\nout a\n")
    argv = ["run", "my.plan", "--input", "t=x", "--tools", "mine:TOOLS", "--store", "postgresql://u:pw@127.0.0.1:1/db"]
    said = catp(tmp_path, *argv, code=6)
    assert "run store postgresql://u:***@127.0.0.1:1/db" in said
    assert "pw" not in said
