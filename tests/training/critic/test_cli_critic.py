"""`catp critic train` and `gate`, from files to answers."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from catp.training.cli.critic import critic_app
from catp.training.data.files import write
from catp.training.data.trajectory import Trajectory

RUN = CliRunner()
SMALL = [
    arg
    for text in ("steps=4", "every=2", "batch=8", "hidden=[8]", "tools=3", "slots=4", "algorithm=bc")
    for arg in ("--set", text)
]


def record(number: int, tool: str, **policy: Any) -> Trajectory:
    score = {"a": 0.4, "b": 0.9, "c": 0.5}[tool]
    return Trajectory.from_json({
        "schema": "catp.trajectory/1", "trajectory_id": f"{number}-{tool}", "dataset": "made",
        "group": f"g{number % 8}", "candidate_set": f"s{number:03d}",
        "request": {"inputs": [{"type": "text", "chars": 10}], "wanted": []},
        "toolset": "made", "objective": {"price_scale_usd": "1"}, "policy": policy,
        "plan": {"nodes": [{"id": "n", "tool": tool}], "edges": [["input", "n"]]},
        "events": [{"node": "n", "status": "ok", "start_ms": 0, "end_ms": 1, "price_usd": "0.1"}],
        "outcome": {"status": "ok", "score": score, "price_usd": "0.1"},
    })  # fmt: skip


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    path = tmp_path / "measured.jsonl"
    write(path, [record(number, tool) for number in range(240) for tool in "abc"])
    return path


@pytest.fixture
def logged(tmp_path: Path) -> Path:
    path = tmp_path / "logged.jsonl"
    write(path, [record(n, "abc"[n // 8 % 3], name="even", propensity=1 / 3) for n in range(240)])
    return path


def test_train_resume_and_refusals(tmp_path: Path, measured: Path) -> None:
    out = tmp_path / "run"
    begun = RUN.invoke(critic_app, ["train", "--out", str(out), "--data", str(measured), *SMALL, "--json"])
    assert begun.exit_code == 0, begun.output
    found = json.loads(begun.stdout)
    assert found["schema"] == "catp.critic.train/1"
    assert found["config"]["algorithm"] == "bc"
    assert "regret on held-out tasks" in begun.stderr
    again = RUN.invoke(critic_app, ["train", "--out", str(out), "--data", str(measured), *SMALL])
    assert again.exit_code == 2
    assert "resume" in again.stderr
    more = [*SMALL, "--set", "steps=6", "--resume"]
    longer = RUN.invoke(critic_app, ["train", "--out", str(out), "--data", str(measured), *more])
    assert longer.exit_code == 0, longer.output
    assert "going on after step 4" in longer.stderr
    other = RUN.invoke(critic_app, ["train", "--out", str(out), "--data", str(measured), *more, "--set", "seed=2"])
    assert other.exit_code == 2
    assert "seed is 2, was 0" in other.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("algorthm=cql", "did you mean algorithm?"),
        ("steps=0", "greater than or equal to 1"),
        ("cql", "write key=value"),
    ],
)
def test_settings_that_make_no_sense(text: str, message: str, tmp_path: Path) -> None:
    found = RUN.invoke(critic_app, ["train", "--out", str(tmp_path / "x"), "--set", text])
    assert found.exit_code == 2
    assert message in found.stderr
    assert not (tmp_path / "x").exists()


def test_the_gate_lets_the_better_policy_pass(measured: Path, logged: Path) -> None:
    """`accurate` always takes b; the log takes each tool a third of the time."""
    files = ["--data", str(measured), "--log", str(logged), "--alpha", "0.9"]
    passed = RUN.invoke(critic_app, ["gate", "accurate", *files, "--json"])
    assert passed.exit_code == 0, passed.output
    verdict = json.loads(passed.stdout)
    assert (verdict["schema"], verdict["promote"], verdict["mode"]) == ("catp.critic.gate/1", True, "live")
    assert verdict["ess"] == pytest.approx(80)
    assert verdict["candidate"]["value"] == pytest.approx(0.9 * 0.9 - 0.1 * 0.1, abs=0.02)
    assert verdict["current_value"] == pytest.approx(0.9 * 0.6 - 0.1 * 0.1)
    seeing = RUN.invoke(critic_app, ["gate", "oracle", *files])
    assert seeing.exit_code == 2
    assert "sees the outcomes" in seeing.stderr


def test_the_gate_keeps_what_is_no_better_in_shadow(measured: Path, logged: Path) -> None:
    files = ["--data", str(measured), "--log", str(logged), "--alpha", "0.9"]
    kept = RUN.invoke(critic_app, ["gate", "random", *files])
    assert kept.exit_code == 1
    assert "shadow only" in kept.stdout
    assert "not above" in kept.stdout
