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

from catp.planners.served import Running, find_engine
from catp.training.policy.models import default_model

pytestmark = pytest.mark.skipif(default_model() is None, reason="no policy is shipped with this checkout")

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
    command = [*CATP, "serve", "--port", "0", "--threads", "1", "--kv-memory", "64M", "--json"]
    with (tmp_path / "serve.err").open("w") as errors:
        served = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment, cwd=tmp_path
        )
    try:
        assert served.stdout is not None
        told = ""
        while not told.rstrip().endswith("}") and (line := served.stdout.readline()):
            told += line
            if line.startswith("}"):
                break
        assert json.loads(told)["schema"] == "catp.serve/1", (tmp_path / "serve.err").read_text()
        yield served
    finally:
        served.kill()
        served.wait(30)
        assert served.stdout is not None
        served.stdout.close()


def catp(environment: dict[str, str], folder: Path, *more: str) -> dict[str, Any]:
    done = subprocess.run(
        [*CATP, *RUN, *more], capture_output=True, text=True, timeout=120, env=environment, cwd=folder, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_an_agent_plans_by_the_engine_that_runs_and_by_itself_once_it_is_killed(
    engine: subprocess.Popen[str], environment: dict[str, str], tmp_path: Path
) -> None:
    running = find_engine()
    assert running is not None
    assert (running.model, running.device, running.pid) == ("catp-tiny", "cpu", engine.pid)

    served = catp(environment, tmp_path, "--eager", "--eager-cap", "0.05")
    assert served["quote"]["planner"] == "served:catp-tiny"
    assert f"planned by the engine at {running.url}" in served["quote"]["notes"]
    assert served["ledger"][0]["tool"] == "served:catp-tiny"
    assert served["eager"]["adopted"] + served["eager"]["lost"] >= 1  # steps came while it was planned

    engine.send_signal(signal.SIGKILL)
    engine.wait(30)
    local = catp(environment, tmp_path)
    assert local["quote"]["planner"] == "policy"
    assert any(f"the engine at {running.url} is not ready" in note for note in local["quote"]["notes"])
    assert [one["value"] for one in local["outputs"]] == [one["value"] for one in served["outputs"]]


async def test_an_engine_that_dies_while_it_plans_leaves_the_plan_to_the_local_policy(
    engine: subprocess.Popen[str], environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from catp.agent import Agent
    from catp.planners import served, shipped
    from tests.agent.shop import CATALOGUE

    found = find_engine()

    def found_alive(model: str | None = None) -> Running | None:
        engine.kill()  # between being found and being asked
        engine.wait(30)
        return found

    monkeypatch.setattr(served, "find_engine", found_alive)
    async with Agent(CATALOGUE, shipped.ServedOrLocal(), eager=True, budget="1") as agent:
        result = await agent.run("judge it", {"text": "a good day"}, wanted={"mood": "Mood", "gist": "Gist"})
    assert result.status == "complete"
    assert result.quote.planner == "policy"
    assert any("EngineUnreachable" in note and "planned by policy instead" in note for note in result.quote.notes)


def test_an_engine_takes_its_announcement_back_when_it_stops(
    engine: subprocess.Popen[str], environment: dict[str, str], tmp_path: Path
) -> None:
    assert (tmp_path / "catp" / "engine.json").exists()
    engine.send_signal(signal.SIGTERM)
    assert engine.wait(30) == 0
    assert not (tmp_path / "catp" / "engine.json").exists()
