"""The commands, in real processes: kill -9, resume, fork, replay, cancel."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests import warm

TOOLS = """
import asyncio
from catp.tools import Catalogue, PerCall, tool

@tool(price=PerCall("0.01"), effects="write", key="key")
async def book(text: str, key: str | None = None) -> str:
    return f"order {key}"

@tool(price=PerCall("0.01"), effects="write")
async def send(text: str) -> str:
    with open("sent.txt", "a") as file:
        file.write("x")
    await asyncio.sleep(0 if open("quick.txt").read() else 60)
    return "sent"

@tool(price=PerCall("0.03"), effects="write")
async def send_dear(text: str) -> str:
    return "sent dearly"

CATALOGUE = Catalogue([book, send, send_dear])
"""
PLAN = 'in page: text\na = book(page) @key(t"order-{page}")\nb = send(a)\nout a, b\n'


class Shell:
    """`catp` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "shop_tools.py").write_text(TOOLS)
        (folder / "work.plan").write_text(PLAN)
        (folder / "quick.txt").write_text("")
        self.env = {**os.environ, "PYTHONPATH": str(folder), "HOME": str(folder)}

    def start(self, *args: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "catp.cli", *args, "--tools", "shop_tools:CATALOGUE", "--store", "runs.db"]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.env, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *args: str, code: int = 0) -> tuple[str, str]:
        done = warm.catp(self.folder, *args, "--tools", "shop_tools:CATALOGUE", "--store", "runs.db", env=self.env)
        assert done.returncode == code, done.stderr
        return done.stdout, done.stderr

    def document(self, *args: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run(*args, "--json")[0])
        return found

    def stopped_by(self, number: int) -> tuple[str, str]:
        """Start the plan, end it by a signal while `send` is at work; return the run's id and what it said."""
        before = self.sent()
        with self.start("run", "work.plan", "-i", "page=p1") as process:
            limit = time.monotonic() + 60
            while self.sent() == before:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < limit
                time.sleep(0.02)
            process.send_signal(number)
            _, err = process.communicate(timeout=60)
        listed = warm.catp(self.folder, "runs", "list", "--store", "runs.db", "--json", env=self.env)
        runs = json.loads(listed.stdout)
        newest = runs["items"][0]
        assert newest["status"] == ("interrupted" if number == signal.SIGKILL else "cancelled")
        return newest["id"], err

    def sent(self) -> int:
        path = self.folder / "sent.txt"
        return len(path.read_text()) if path.exists() else 0


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.mark.slow
def test_kill_resume_replay_fork(shell: Shell) -> None:
    run, _ = shell.stopped_by(signal.SIGKILL)
    _, err = shell.run("runs", "resume", run, code=7)
    assert "b: send was under way when the process stopped" in err
    assert "b=done" in err
    _, err = shell.run("runs", "resume", run, "--in-flight", "b=perhaps", code=2)
    assert "write STEP=again, STEP=done" in err
    result = shell.document("runs", "resume", run[-8:], "--in-flight", "b=done=by hand")
    assert (result["run"], result["status"]) == (run, "complete")
    assert {out["name"]: out["value"] for out in result["outputs"]} == {"a": "order order-p1", "b": "by hand"}
    assert [(row["step"], row["amount_usd"], row["priced"]) for row in result["ledger"]] == [
        ("a", "0.01", True),
        ("b", "0.01", False),
    ]
    assert shell.sent() == 1
    shell.run("runs", "resume", run, code=2)  # complete

    replay = shell.document("runs", "replay", run)
    assert replay["exact"]
    assert replay["now"]["cost_usd"] == replay["then"]["cost_usd"] == "0.02"
    other = shell.document("runs", "replay", run, "--set", "b=send_dear")
    assert (other["now"]["cost_usd"], other["exact"]) == ("0.04", False)
    table, _ = shell.run("runs", "replay", run, "--set", "send=send_dear")
    assert "send > send_dear" in table
    assert "~$0.03" in table
    assert shell.sent() == 1

    fork = shell.document("runs", "fork", run, "--from", "b", "--set", "b=send_dear")
    assert (fork["status"], fork["spent_usd"]) == ("complete", "0.03")
    assert fork["run"] != run


@pytest.mark.slow
def test_interrupt_says_how_to_go_on_and_cancel_ends_a_run(shell: Shell) -> None:
    run, err = shell.stopped_by(signal.SIGINT)
    assert f"go on with: catp runs resume {run} --store runs.db --tools shop_tools:CATALOGUE\n" in err
    (shell.folder / "quick.txt").write_text("yes")
    result = shell.document("runs", "resume", run, "--in-flight", "again")
    assert result["status"] == "complete"
    assert shell.sent() == 2
    (shell.folder / "quick.txt").write_text("")
    run, _ = shell.stopped_by(signal.SIGKILL)
    ended = shell.document("runs", "cancel", run, "--reason", "not wanted")
    assert ended["status"] == "cancelled"
    _, err = shell.run("runs", "resume", run, "--in-flight", "again", code=2)
    assert "not wanted" in err
    assert shell.sent() == 3
