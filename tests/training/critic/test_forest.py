"""The forest of a policy: as scikit-learn says, the same after a stay on the disk, and never read if it is damaged."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from catp.planlang.vocabulary import Vocabulary
from catp.training.caorl.cases import CaseMaker
from catp.training.critic.features import PlanFeatures
from catp.training.critic.forest import FOREST, Forest, read_forest, write_forest
from catp.training.critic.grow import correction, grow, grow_rows
from catp.training.evaluate.candidates import candidate_sets
from catp.training.policy.errors import CheckpointError
from tests.training.caorl.cases_making import cases, records, request_of

Rows = list[dict[str, float]]


def made(count: int, seed: int = 0) -> tuple[Rows, "np.ndarray[Any, np.dtype[np.float64]]"]:
    """Rows with a rule in them, thresholds that values meet exactly, and a name that is too rare for a column."""
    random = np.random.default_rng(seed)
    x = random.integers(0, 6, (count, 12)) / 4
    rows = [{f"f{place}": float(value) for place, value in enumerate(row) if value} for row in x]
    rows[0]["rare"] = 1.0
    return rows, np.where(x[:, 0] > 0.5, x[:, 1], -x[:, 2]) + 0.01 * random.normal(size=count)


@pytest.fixture(scope="module")
def forest() -> Forest:
    return grow_rows(*made(400))


def test_it_says_what_scikit_learn_says(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.ensemble import HistGradientBoostingRegressor as Model

    grown: list[Model] = []
    fit = Model.fit

    def fit_and_keep(self: Model, *args: Any, **more: Any) -> Model:
        grown.append(self)
        return fit(self, *args, **more)

    monkeypatch.setattr(Model, "fit", fit_and_keep)
    forest = grow_rows(*made(400))
    assert len(grown) > 1
    assert len(forest) == sum(model.n_iter_ for model in grown)
    rows, _ = made(300, seed=1)
    x = np.array([[row.get(name, 0.0) for name in forest.columns] for row in rows])
    theirs = np.mean([model.predict(x) for model in grown], axis=0)
    assert np.ptp(theirs) > 0.5
    np.testing.assert_allclose(forest.predict(rows), theirs, rtol=0, atol=1e-12)


def test_what_has_no_column_plays_no_part_and_rows_do_not_see_each_other(forest: Forest) -> None:
    rows, _ = made(50, seed=2)
    assert "rare" not in forest.columns
    strangers = [{**row, "tool never seen": 3.0} for row in rows]
    assert (forest.predict(strangers) == forest.predict(rows)).all()
    assert [forest.predict([row])[0] for row in rows] == forest.predict(rows).tolist()
    assert forest.predict([]).shape == (0,)


def test_the_same_rows_grow_the_same_bytes(forest: Forest, tmp_path: Path) -> None:
    write_forest(tmp_path / "a", forest)
    write_forest(tmp_path / "b", grow_rows(*made(400)))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    write_forest(tmp_path / "c", grow_rows(*made(400), seed=1))
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()
    rows, _ = made(50, seed=2)
    assert (read_forest(tmp_path / "a").predict(rows) == forest.predict(rows)).all()


def _set(name: str, place: int, value: float) -> Callable[[dict[str, Any]], None]:
    def change(tensors: dict[str, Any]) -> None:
        tensors[name][place] = value

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_set("left", 5, 0), "leads back"),
        (_set("right", 0, 10**6), "leads back, or nowhere"),
        (_set("roots", 0, -1), "leads back, or nowhere"),
        (_set("feature", 0, 99), "column that is not there"),
        (_set("value", 3, np.nan), "no number"),
        (_set("threshold", 0, np.nan), "no number"),
        (lambda tensors: tensors.pop("value"), "value is not there"),
        (lambda tensors: tensors.update(value=tensors["value"][:-1]), "not of one length"),
        (lambda tensors: tensors.update(left=tensors["left"].astype(np.float64)), "left is not there as"),
        (lambda tensors: tensors.update(roots=tensors["roots"][:0]), "no tree"),
    ],
)
def test_damaged_trees(forest: Forest, tmp_path: Path, change: Callable[[dict[str, Any]], None], says: str) -> None:
    path = tmp_path / FOREST
    write_forest(path, forest)
    tensors = load_file(str(path))
    change(tensors)
    about = {"schema": "catp.forest/1", "base": 0.0, "columns": list(forest.columns)}
    save_file(tensors, str(path), metadata={"catp": json.dumps(about)})
    with pytest.raises(CheckpointError, match=says) as caught:
        read_forest(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("about", "says"),
    [
        ({"schema": "catp.forest/2", "base": 0.0, "columns": []}, "schema"),
        ({"schema": "catp.forest/1", "base": 0.0, "columns": "abc"}, "names no columns"),
        ({"schema": "catp.forest/1", "base": float("nan"), "columns": []}, "base"),
        (None, "schema"),
    ],
)
def test_another_header(forest: Forest, tmp_path: Path, about: Any, says: str) -> None:
    path = tmp_path / FOREST
    write_forest(path, forest)
    save_file(load_file(str(path)), str(path), metadata={"catp": json.dumps(about)})
    with pytest.raises(CheckpointError, match=says):
        read_forest(path)


@pytest.mark.parametrize("keep", [0, 7, -20])
def test_cut_short_or_missing(forest: Forest, tmp_path: Path, keep: int) -> None:
    path = tmp_path / FOREST
    write_forest(path, forest)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="damaged or cut short"):
        read_forest(path)
    with pytest.raises(CheckpointError, match="missing"):
        read_forest(tmp_path / "nowhere")


def test_features_are_those_of_the_measured_graph() -> None:
    """Which tool follows which is read off plan tokens; the records have it as edges."""
    options = {option.id: option for one in candidate_sets(records()) for option in one.options}
    seen = 0
    for case in CaseMaker(request_of, Vocabulary()).cases(records()):
        features = PlanFeatures(case.view, Vocabulary())
        for branch in case.branches:
            row, steps = features.row(branch.told), options[branch.id].steps
            edges = Counter(f"{steps[p].tool} -> {step.tool}" for step in steps for p in set(step.parents))
            assert {name: count for name, count in row.items() if " -> " in name} == edges
            assert {name[5:]: n for name, n in row.items() if name.startswith("tool ")} == Counter(
                s.tool for s in steps
            )
            used = {parent for step in steps for parent in step.parents}
            ends = Counter(step.tool for place, step in enumerate(steps) if place not in used)
            assert {name[4:]: count for name, count in row.items() if name.startswith("end ")} == ends
            assert row["joins"] == sum(len(set(step.parents)) > 1 for step in steps)
            expected = sum(case.weights[output.goal] * output.score for output in branch.told.outputs)
            assert row["composed"] == pytest.approx(expected)
            seen += len(edges)
    assert seen > 30


def test_a_price_list_changes_no_feature() -> None:
    case = cases()[0]
    dearer = replace(case.view, tools=tuple(replace(tool, price=10 * (tool.price or 1.0)) for tool in case.view.tools))
    for branch in case.branches:
        steps = tuple(
            replace(step, price=None if step.price is None else 10 * step.price) for step in branch.told.steps
        )
        told = replace(branch.told, steps=steps)
        assert PlanFeatures(dearer, Vocabulary()).row(told) == PlanFeatures(case.view, Vocabulary()).row(branch.told)


def test_it_learns_which_plan_of_an_input_is_better() -> None:
    """Against the promise: the forest's order of the plans it was grown on is nearer to the measured one."""
    forest = grow(cases(), Vocabulary())
    assert forest is not None
    assert grow([replace(case, branches=case.branches[:1]) for case in cases()], Vocabulary()) is None
    before = after = 0.0
    for case in cases():
        features = PlanFeatures(case.view, Vocabulary())
        composed = np.array([features.row(branch.told)["composed"] for branch in case.branches])
        score = np.array([branch.score for branch in case.branches])
        for value, told in ((composed, "before"), (composed + correction(forest, case, Vocabulary()), "after")):
            error = float((((value - value.mean()) - (score - score.mean())) ** 2).sum())
            before, after = (before + error, after) if told == "before" else (before, after + error)
    assert after < 0.8 * before
