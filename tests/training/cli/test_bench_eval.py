"""`catp bench eval` as people call it: the table, JSON, the picture, planners of one's own, and mistakes."""

import contextlib
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from catp.cli.main import app
from catp.training.data.files import write
from catp.training.data.trajectory import (
    Event,
    InputInfo,
    Objective,
    Outcome,
    Plan,
    PlanNode,
    Provenance,
    Request,
    Split,
    Trajectory,
)
from tests.training.baselines.pages import SCALE, pages

pytestmark = pytest.mark.xdist_group("bench-eval")

OWN = """
import numpy as np
class First:
    name = "first"
    def fit(self, sets): pass
    def choose(self, set, alpha, prices=None): return np.eye(len(set))[0]
    def predict(self, set): return None
class Needy(First):
    def __init__(self, what): pass
OBJECT, NOTHING = First(), 3
class Broken:
    name = "broken"
    async def plan(self, request): raise RuntimeError("out of order")
"""


def dollars(nano: float) -> Decimal:
    return Decimal(round(nano)).scaleb(-9)


def records(count: int = 60) -> list[Trajectory]:
    found = []
    for one in pages(count):
        for option in one.options:
            nodes = [PlanNode(id=f"n{n}", tool=step.tool) for n, step in enumerate(option.steps)]
            edges = [[f"n{parent}", f"n{n}"] for n, step in enumerate(option.steps) for parent in step.parents]
            events = [Event(node=f"n{n}", status="ok", start_ms=0, end_ms=step.ms, price_usd=dollars(step.price))
                      for n, step in enumerate(option.steps)]  # fmt: skip
            found.append(Trajectory(
                trajectory_id=option.id, dataset="pages", group=one.group, candidate_set=one.id,
                split=Split.model_validate(dict(one.split)),
                request=Request(text=one.text, inputs=[InputInfo(type="image", pixels=one.sizes[0],
                                                                 condition=one.conditions[0])]),
                toolset="made", objective=Objective(price_scale_usd=dollars(SCALE)),
                plan=Plan(nodes=nodes, edges=edges, canonical_hash=option.plan), events=events,
                outcome=Outcome(status="ok", score=option.score, price_usd=dollars(option.price),
                                latency_ms=option.latency_ms, serial_ms=option.serial_ms),
                provenance=Provenance(source="simulated: pages of the tests"),
            ))  # fmt: skip
    return found


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    (folder / "measured").mkdir()
    write(folder / "measured" / "train.jsonl.gz", records())
    (folder / "own.py").write_text(OWN)
    return folder


def catp(folder: Path, *args: str) -> Result:
    """Run the command in `folder`, in this process: a dozen starts of Python would take longer than the tests."""
    with contextlib.chdir(folder):
        return CliRunner().invoke(app, ["bench", "eval", "--data", "measured", *args])


def document(folder: Path, *args: str) -> Any:
    done = catp(folder, *args, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def test_the_table_and_everything_that_is_written(project: Path) -> None:
    names = ("cheapest", "gbm", "oracle", "own:First", "own:OBJECT")
    args = [part for name in names for part in ("--planner", name)]
    done = catp(project, *args, "--alpha", "0.5", "--alpha", "0.8", "--plot", "front.svg", "--out", "all.json")
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("pages: 12 inputs of 2 tasks, protocol split")
    assert lines[2].split()[:3] == ["planner", "a=0.5", "a=0.8"]
    shown = {line.split()[0] for line in lines[3:] if line and not line.startswith(" ")}
    assert {"cheapest", "gbm", "oracle*", "first"} <= shown
    assert "measuring gbm" in done.stderr
    assert (project / "front.svg").read_bytes().startswith(b"<?xml")
    data = json.loads((project / "all.json").read_text())
    assert data["schema"] == "catp.evaluations/1"
    assert len(data["evaluations"]) == len(names)


def test_json_and_the_same_figures_again(project: Path) -> None:
    args = ("--planner", "gbm", "--alpha", "0.8", "--protocol", "kfold", "--seed", "3")
    one, two = document(project, *args), document(project, *args)
    for data in (one, two):
        assert data["schema"] == "catp.evaluations/1"
        data["evaluations"][0].pop("decide_ms")
    assert one == two
    assert one["evaluations"][0]["protocol"] == "kfold"
    assert one["evaluations"][0]["sets"] == 60


def test_all_leaves_out_what_needs_to_know_the_task(project: Path) -> None:
    held = {one["planner"] for one in document(project, "--alpha", "0.8")["evaluations"]}
    assert {"cheapest", "random", "accurate", "shortest", "frequent", "gbm", "ridge", "oracle"} <= held
    assert not {"table", "fixed", "gbm-known", "search"} & held
    known = {one["planner"] for one in document(project, "--alpha", "0.8", "--protocol", "inputs")["evaluations"]}
    assert known == held | {"table", "fixed", "gbm-known"}


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("--planner", "cheepest"), 2, "did you mean cheapest? one of random, cheapest"),
        (("--planner", "own:Missing"), 2, "own has no 'Missing'"),
        (("--planner", "no_such_module:X"), 2, "importing 'no_such_module' failed"),
        (("--planner", "own:NOTHING"), 2, "a int without plan(request)"),
        (("--planner", "own:Needy"), 2, "cannot be made without arguments"),
        (("--planner", "search"), 2, "tasks.jsonl.gz is missing"),
        (("--planner", "cheapest", "--protocol", "split2"), 2, "one of kfold, split, inputs"),
        (("--planner", "cheapest", "--plot", "front.pdf"), 2, ".svg or .png"),
        (("--planner", "cheapest", "--data", "nowhere"), 2, "nowhere"),
        (("--planner", "cheapest", "--alpha", "1.5"), 2, "less than or equal to 1"),
    ],
)
def test_mistakes(project: Path, args: tuple[str, ...], code: int, said: str) -> None:
    done = catp(project, *args)
    assert done.exit_code == code, done.stderr
    assert said in done.stderr.replace("\n", " ")
    assert isinstance(done.exception, SystemExit)


def test_planners_that_plan_freely_are_asked_what_the_tasks_say(tmp_path: Path) -> None:
    """A small CATP-Bench: two tasks, each with what the search planner proposes as a measured plan."""
    from catp.planlang.money import Money
    from catp.planners.search import SearchPlanner
    from catp.training.bench.joins import bench_catalogue
    from catp.training.bench.tasks import generate, save_tasks
    from catp.training.evaluate.answers import plan_key

    tasks = [task for task in generate(seed=0, share=0.01) if "image" not in str(task.types)][:2]
    save_tasks(tmp_path / "tasks.jsonl.gz", tasks)
    (tmp_path / "measured").mkdir()
    (tmp_path / "own.py").write_text(OWN)
    made, catalogue = [], bench_catalogue()
    template = records(1)[0]
    for task in tasks:
        request = task.request(catalogue, 0.8, Money(1_000_000))
        plan = SearchPlanner().search(request).best.plan
        for number, key in enumerate([plan_key(plan, request), "another plan"]):
            made.append(template.model_copy(update={
                "trajectory_id": f"{task.id}-{number}", "group": task.family, "candidate_set": task.id,
                "plan": template.plan.model_copy(update={"canonical_hash": key}),
                "outcome": template.outcome.model_copy(update={"score": 0.9 - number / 2}),
            }))  # fmt: skip
    write(tmp_path / "measured" / "all.jsonl.gz", made)
    args = ("--planner", "search", "--planner", "own:Broken", "--alpha", "0.8", "--protocol", "kfold")
    found = document(tmp_path, *args, "--limit", "2")["evaluations"]
    assert (found[0]["planner"], found[0]["valid"], found[0]["coverage"]) == ("search", 1.0, 1.0)
    assert found[0]["rows"][0]["regret"]["regret"] == 0.0
    assert (found[1]["planner"], found[1]["valid"], found[1]["failures"]) == ("broken", 0.0, {"RuntimeError": 2})
    done = catp(tmp_path, "--planner", "search", "--protocol", "prices")
    assert done.exit_code == 2
    assert "keep their prices" in done.stderr
