"""The table and the picture: every figure where it belongs, the same bytes every time, gaps said and not drawn."""

import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from catp.training.baselines import BASELINES
from catp.training.evaluate import Evaluation, evaluate
from catp.training.evaluate.pictures import pareto_picture
from catp.training.evaluate.report import table, table_json
from tests.training.baselines.pages import pages

SETS = pages(80)
FOUND = [evaluate(BASELINES[name], SETS, alphas=(0.5, 0.8)) for name in ("oracle", "random", "cheapest")]
SVG = "{http://www.w3.org/2000/svg}"


def named(name: str) -> Evaluation:
    return next(one for one in FOUND if one.planner == name)


def test_rows_are_ranked_and_hold_their_figures() -> None:
    lines = table(FOUND).splitlines()
    assert lines[0].split() == ["planner", "a=0.5", "a=0.8", "hit", "hv", "valid", "covered", "over", "ms", "USD"]
    means = {one.planner: sum(row.regret.regret for row in one.rows) for one in FOUND}
    assert means["random"] < means["cheapest"]
    assert [line.split()[0] for line in lines[1:7:2]] == ["random", "cheapest", "oracle*"]
    row, cells = named("cheapest").rows, lines[3].split()
    assert cells[1:3] == [f"{one.regret.regret:.3f}" for one in row]
    assert lines[4].split() == [f"{one.regret.low:.2f}-{one.regret.high:.2f}" for one in row]
    assert cells[3] == f"{row[1].regret.hit:.2f}"
    assert cells[4] == f"{named('cheapest').hv_ratio:.3f}"
    assert cells[5:7] == ["100.0%", "100.0%"]
    assert "sees the measured outcomes" in lines[-1]
    assert len({len(line.rstrip()) for line in lines[1:7:2]}) == 1  # columns end where they should


def test_markdown_has_a_cell_for_every_column() -> None:
    lines = [line for line in table(FOUND, style="markdown").splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    assert len(lines) == 2 + len(FOUND)
    found = named("random").rows[0].regret
    assert f"{found.regret:.3f} [{found.low:.2f}, {found.high:.2f}]" in lines[2]
    assert "oracle\\*" in lines[4]


def test_what_is_not_known_is_a_dash_and_failures_are_told() -> None:
    gap = replace(
        named("random"), planner="mine", rows=named("random").rows[:1], hv_ratio=None, planner_usd=None, valid=0.5,
        coverage=0.25, budget=None, failures={"PlanningFailed": 3, "KeyError": 1}, notes=("a note",),
    )  # fmt: skip
    lines = table([named("cheapest"), gap]).splitlines()
    row = next(line for line in lines if line.startswith("mine")).split()
    assert row[2:] == ["-", "-", "-", "50.0%", "25.0%", "-", row[8], "-"]
    assert "mine: no valid plan: PlanningFailed 3, KeyError 1" in lines
    assert "mine: a note" in lines


def test_the_json_form_is_complete() -> None:
    data = json.loads(json.dumps(table_json(FOUND), allow_nan=False))
    assert data["schema"] == "catp.evaluations/1"
    assert [one["planner"] for one in data["evaluations"]] == ["oracle", "random", "cheapest"]
    assert data["evaluations"][2]["rows"][0]["regret"]["regret"] == named("cheapest").rows[0].regret.regret


@pytest.mark.parametrize("format", ["svg", "png"])
def test_pictures_are_the_same_bytes_every_time(format: str) -> None:
    first = pareto_picture({"pages": FOUND, "again": FOUND}, format)
    assert first == pareto_picture({"pages": FOUND, "again": FOUND}, format)
    assert first != pareto_picture({"pages": FOUND[:2], "again": FOUND}, format)
    assert first.startswith(b"\x89PNG" if format == "png" else b"<?xml")


def test_the_picture_names_every_planner_and_draws_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    text = pareto_picture({"pages": FOUND}).decode()
    assert ElementTree.fromstring(text).tag == f"{SVG}svg"
    for name in ("random", "cheapest", "oracle", "reference"):
        assert f"<!-- {name}" in text  # matplotlib notes the words beside the outlines of their letters
    assert "Date" not in text
    with pytest.raises(ValueError, match="nothing was covered"):
        pareto_picture({"pages": [replace(named("random"), points=())]})
    with pytest.raises(ValueError, match="'pdf'"):
        pareto_picture({"pages": FOUND}, "pdf")
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'catp\[train\]'"):
        pareto_picture({"pages": FOUND})
