"""`catp tools calibrate`: real calls of built-in tools, the calls of saved runs, the picture, and mistakes."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from tests import warm

SHOP = Path(__file__).resolve().parents[1] / "agent" / "shop.py"
PLAN = "in text: text\nmood = mood_cheap(text)\ngist = gist(text)\nout mood, gist\n"
SVG = "{http://www.w3.org/2000/svg}"


def made(tmp_path: Path) -> Path:
    shutil.copy(SHOP, tmp_path / "shop.py")
    (tmp_path / "catp.toml").write_text(f'tools = "shop:CATALOGUE"\nstore = "{tmp_path}/runs.db"\nalpha = 0.0\n')
    (tmp_path / "day.plan").write_text(PLAN)
    return tmp_path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder whose own tools never need a worker; `--tools zoo` asks for the built-in ones."""
    return made(tmp_path)


def catp(folder: Path, *args: str, **extra: str) -> "subprocess.CompletedProcess[str]":
    return warm.catp(folder, *args, env=warm.environment(folder, **extra), timeout=120)


def document(folder: Path, *args: str) -> Any:
    done = catp(folder, "tools", "calibrate", *args, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["schema"] == "catp.calibration/1"
    return found


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which three runs were made; tests only look at them."""
    project = made(tmp_path_factory.mktemp("used"))
    for text in ("a good day", "a bad day", "raise"):
        catp(project, "run", "day.plan", "--input", f"text={text}")
    return project


# --- saved runs -----------------------------------------------------------------------------------------------------


def test_the_calls_of_saved_runs_are_judged_by_what_was_predicted_then(used: Path) -> None:
    found = document(used, "--runs")
    assert found["source"] == "runs"
    assert [one["tool"] for one in found["tools"]] == ["gist", "mood_cheap"]
    gist, mood = found["tools"]
    assert mood["calls"] == 3
    assert mood["price_usd"]["covered"] == {"p95": 1.0}  # a price per call is exact
    assert (mood["price_usd"]["actual"], mood["price_usd"]["predicted"]) == ("0.001", {"p95": "0.001"})
    assert mood["failures"] == 0
    assert gist["price_usd"]["calls"] == gist["calls"] - gist["failures"] == 2
    low, high = gist["failure_interval"]
    assert 0 < low < 1 / gist["calls"] * gist["failures"] < high < 1


def test_runs_are_told_as_a_table_and_can_be_narrowed(used: Path) -> None:
    done = catp(used, "tools", "calibrate", "mood_cheap", "--runs", "--plot", "seen.svg")
    assert done.returncode == 0, done.stderr
    assert "price: the p95 covered 100.0% of 3 calls" in done.stdout
    assert "mood_cheap" in done.stdout
    assert "gist" not in done.stdout
    assert ElementTree.parse(used / "seen.svg").getroot().tag == f"{SVG}svg"


def test_without_saved_calls_it_says_what_to_do(used: Path) -> None:
    done = catp(used, "tools", "calibrate", "mood_fine", "--runs")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no saved run has metered calls of mood_fine" in done.stderr


def test_no_runs_at_all(project: Path) -> None:
    done = catp(project, "tools", "calibrate", "--runs")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no saved run has metered calls" in done.stderr


def test_the_calls_of_a_run_are_learned_with_what_was_predicted(used: Path) -> None:
    (learned,) = (used / "data").rglob("profiles.json")
    found = {entry["tool"]: entry for entry in json.loads(learned.read_text())["profiles"]}
    assert (found["gist"]["calls"], found["gist"]["failures"]) == (3, 1)
    assert found["mood_cheap"]["calibration"]["price"]["held"] == [3, 3]


# --- real calls -----------------------------------------------------------------------------------------------------


@pytest.mark.zoo
def test_real_calls_are_predicted_before_they_are_made(project: Path) -> None:
    tools = ("summary_lead", "phrases_textrank")
    found = document(project, *tools, "--tools", "zoo", "--calls", "30", "--seed", "4", "--plot", "seen.svg")
    assert (found["source"], found["seed"], found["learned_from"]) == ("calls", 4, 30)
    assert {one["tool"]: one["calls"] for one in found["tools"]} == dict.fromkeys(tools, 15)
    assert (found["overall"]["calls"], found["overall"]["failures"]) == (30, 0)
    for quantity in ("price_usd", "latency_ms"):
        covered = found["overall"][quantity]["covered"]
        assert list(covered) == ["p50", "p90", "p95", "p99"]
        assert list(covered.values()) == sorted(covered.values())
        assert covered["p99"] > 0.5
        assert found["frozen"][quantity]["calls"] == 30
    assert 0 < float(found["overall"]["price_usd"]["actual"]) < 0.001
    picture = (project / "seen.svg").read_text()
    assert "predicted 95th percentile" in picture or ElementTree.fromstring(picture).findall(f".//{SVG}path")


@pytest.mark.zoo
def test_the_picture_can_be_a_png_and_progress_stays_off_stdout(project: Path) -> None:
    done = catp(project, "tools", "calibrate", "summary_lead", "--tools", "zoo", "--calls", "4", "--plot", "a.png")
    assert done.returncode == 0, done.stderr
    assert (project / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "4 calls to learn from and 4 measured" in done.stderr
    assert "measured in" not in done.stdout
    assert done.stdout.count("summary_lead") == 1


@pytest.mark.zoo
def test_one_seed_makes_one_set_of_inputs() -> None:
    from catp.tools.bench.varied import CAPABILITIES, varied

    for capability in sorted(CAPABILITIES):
        first, again, other = (varied(capability, np.random.default_rng(seed)) for seed in (1, 1, 2))
        assert first == again
        assert first != other


@pytest.mark.zoo
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("sumary_lead", "--tools", "zoo"), "did you mean `summary_lead`?"),
        (("gist",), "there are no inputs to call it on"),
        ((), "none of these tools has inputs"),
        (("--calls", "0"), "Invalid value for '--calls'"),
        (("--plot", "seen.pdf"), "is neither .svg nor .png"),
    ],
)
def test_mistakes_are_named_before_any_call(project: Path, args: tuple[str, ...], message: str) -> None:
    done = catp(project, "tools", "calibrate", *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_without_matplotlib_a_plot_is_refused_at_once(project: Path) -> None:
    missing = project / "stub" / "matplotlib"
    missing.mkdir(parents=True)
    (missing / "__init__.py").write_text("raise ImportError('not here')\n")
    done = catp(project, "tools", "calibrate", "--runs", "--plot", "seen.svg", PYTHONPATH=str(project / "stub"))
    assert done.returncode == 2
    assert "pip install 'catp[tools]'" in done.stderr


def test_a_picture_that_cannot_be_written_costs_no_figures(used: Path) -> None:
    done = catp(used, "tools", "calibrate", "--runs", "--plot", "nowhere/seen.svg")
    assert done.returncode == 2
    assert "mood_cheap" in done.stdout
    assert "cannot write nowhere/seen.svg" in done.stderr
