"""An agent and an engine as two programs: found by its announcement, planned by it, and without it once it is gone."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catp.agent import Agent
from catp.planners import served
from catp.planners.served import Running, find_engine
from catp.planners.shipped import ServedOrLocal
from catp.training.policy.models import default_model
from tests.agent.shop import CATALOGUE

pytestmark = pytest.mark.skipif(default_model() is None, reason="no policy is shipped with this checkout")

TEXT = {"text": "a good day at the seaside"}
WANT = {"mood": "Mood", "gist": "Gist"}
ROOT = Path(__file__).parents[3]
CATP = [sys.executable, "-c", "from catp.cli.main import app; app()"]
RUN = [
    "run", "judge it", "-i", "text=a good day at the seaside", "--want", "mood=Mood", "--want", "gist=Gist",
    "--tools", "tests.agent.shop:CATALOGUE", "--planner", "policy", "--json",
]  # fmt: skip


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("CATP_ENGINE", raising=False)
    return {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture
def engine(environment: dict[str, str], tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """`catp serve` on a free port, ready."""
    command = [*CATP, "serve", "--port", "0", "--threads", "1", "--kv-memory", "256M", "--json"]
    with (tmp_path / "serve.err").open("w") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment, cwd=tmp_path
        )
    try:
        assert process.stdout is not None
        told = ""
        while not told.rstrip().endswith("}") and (line := process.stdout.readline()):
            told += line
        assert json.loads(told)["schema"] == "catp.serve/1", (tmp_path / "serve.err").read_text()
        yield process
    finally:
        process.kill()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


def catp(environment: dict[str, str], folder: Path, *more: str) -> dict[str, Any]:
    done = subprocess.run(
        [*CATP, *RUN, *more], capture_output=True, text=True, timeout=120, env=environment, cwd=folder, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def test_an_agent_plans_by_the_engine_that_runs_and_by_itself_once_it_is_killed(
    engine: subprocess.Popen[str], environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = find_engine()
    assert running is not None
    assert (running.model, running.device, running.pid) == ("catp-tiny", "cpu", engine.pid)

    found = catp(environment, tmp_path, "--eager", "--eager-cap", "0.05")
    assert found["quote"]["planner"] == "served:catp-tiny"
    assert f"planned by the engine at {running.url}" in found["quote"]["notes"]
    assert found["ledger"][0]["tool"] == "served:catp-tiny"
    assert found["eager"]["adopted"] + found["eager"]["lost"] >= 1  # steps came while it was planned
    by_engine = {one["name"]: one["value"] for one in found["outputs"]}

    def found_alive(model: str | None = None) -> Running | None:
        engine.send_signal(signal.SIGKILL)  # between being found and being asked
        engine.wait(30)
        return running

    async with Agent(CATALOGUE, ServedOrLocal(), eager=True, budget="1") as agent:
        with monkeypatch.context() as patch:
            patch.setattr(served, "find_engine", found_alive)
            result = await agent.run("judge it", TEXT, wanted=WANT)
        assert (result.status, result.quote.planner) == ("complete", "policy")
        assert any("EngineUnreachable" in note and "planned by policy instead" in note for note in result.quote.notes)
        assert by_engine["gist"]["line"] == result.outputs["gist"].line

        later = await agent.run("judge it", TEXT, wanted=WANT)  # its announcement is still there
        assert (later.status, later.quote.planner) == ("complete", "policy")
        assert any(f"the engine at {running.url} is not ready" in note for note in later.quote.notes)
