import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from catp.cli.main import app

FAST = ["--requests", "40", "--policy", "fcfs,spf", "--load", "0.5,1.5", "--error", "0,0.4", "--capacity", "8"]


def sim(*arguments: str) -> tuple[int, str, str]:
    found = CliRunner().invoke(app, ["sim", *arguments])
    return found.exit_code, found.stdout, found.stderr


def test_json_has_a_row_per_policy_load_and_error() -> None:
    code, out, err = sim("synthetic", *FAST, "--seeds", "2", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["schema"] == "catp.serving.sim/1"
    assert found["capacity"] == 8
    rows = found["rows"]
    assert {(row["policy"], row["load"], row["error"]) for row in rows} == {
        (policy, load, error) for policy in ("fcfs", "spf") for load in (0.5, 1.5) for error in (0.0, 0.4)
    }
    assert all(row["seeds"] == 2 and row["served"] == 40 and 0 <= row["attainment"] <= 1 for row in rows)
    assert set(rows[0]["by_class"]) == {"premium", "standard"}
    assert len(err.splitlines()) >= 16, "progress: a line per simulation"


def test_the_table_has_a_line_per_policy() -> None:
    code, out, _ = sim("bursty", *FAST)
    assert code == 0
    lines = out.splitlines()
    assert "load 1 is 8.00 requests/s" in lines[0]
    assert [line.split()[0] for line in lines[1:] if line.split()[:1] in (["fcfs"], ["spf"])] == ["fcfs", "spf"]
    assert "load 0.5: SLO %" in out
    assert "p/s %" in out


def test_capacity_is_measured_if_not_given(tmp_path: Path) -> None:
    rows = "".join(f"2023-11-16 18:15:{second:02}.0000000,200,20\n" for second in range(40))
    path = tmp_path / "mine.csv"
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + rows)
    code, out, _ = sim(str(path), "--policy", "fcfs", "--load", "0.5", "--error", "0", "--json")
    assert code == 0
    assert json.loads(out)["capacity"] > 5


def test_simulations_in_two_processes_are_the_same() -> None:
    one, two = (sim("synthetic", *FAST, "--jobs", jobs, "--json")[1] for jobs in ("1", "2"))
    clocks = {"decision_p50", "decision_p99"}
    first, second = (
        [{name: value for name, value in row.items() if name not in clocks} for row in json.loads(text)["rows"]]
        for text in (one, two)
    )
    assert first == second


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.csv"], "does not exist"),
        (["synthetic", "--policy", "fifo"], "fifo"),
        (["synthetic", "--policy", ","], "no policy"),
        (["synthetic", "--load", "0.5,x"], "--load"),
        (["synthetic", "--load", "0"], "--load"),
        (["synthetic", "--predictor", "oracle"], "shuffled"),
        (["synthetic", "--budget", "some"], "--budget"),
        (["synthetic", "--profile", "b200"], "a100-llama2-7b"),
    ],
)
def test_wrong_arguments_are_usage_errors(arguments: list[str], said: str) -> None:
    code, _, err = sim(*arguments)
    assert code == 2
    assert said in err
