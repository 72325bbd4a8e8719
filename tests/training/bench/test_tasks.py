"""Tasks: what ships is what the seed makes, and has what the benchmark promises."""

import json
from collections import Counter, defaultdict
from importlib.resources import files
from pathlib import Path

import pytest

from catp.training.bench.families import FAMILIES
from catp.training.bench.outputs import KINDS
from catp.training.bench.recipes import PHOTOS, fingerprint, make
from catp.training.bench.scoring import METRICS
from catp.training.bench.tasks import Task, generate, load_tasks, save_tasks, tasks_digest

pytestmark = [pytest.mark.zoo, pytest.mark.xdist_group("bench-tasks")]


@pytest.fixture(scope="module")
def tasks() -> dict[str, Task]:
    return load_tasks()


def test_enough_tasks_of_enough_families(tasks: dict[str, Task]) -> None:
    families = Counter(task.family for task in tasks.values())
    assert len(tasks) >= 3000
    assert len(families) >= 40
    assert min(families.values()) >= 10
    assert {len(task.inputs) for task in tasks.values()} == {1, 2, 4}
    assert {len(task.wants) for task in tasks.values()} == {1, 2, 3, 4}
    assert any(want.optional for task in tasks.values() for want in task.wants)
    assert any(want.many for task in tasks.values() for want in task.wants)
    languages = Counter(task.lang for task in tasks.values())
    assert languages["en"] > 0.7 * len(tasks)
    assert min(languages[lang] for lang in ("de", "fr", "es", "it")) > 50


def test_the_seed_makes_the_shipped_tasks_again(tasks: dict[str, Task], tmp_path: Path) -> None:
    again = {task.id: task for task in generate(0, share=0.001)}
    assert len(again) == len(FAMILIES)
    for id_, task in again.items():
        assert json.dumps(task.to_json(), sort_keys=True) == json.dumps(tasks[id_].to_json(), sort_keys=True), id_
    save_tasks(tmp_path / "a.jsonl.gz", again.values())
    save_tasks(tmp_path / "b.jsonl.gz", load_tasks(tmp_path / "a.jsonl.gz").values())
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()


def test_the_shipped_digest_is_that_of_the_shipped_tasks(tasks: dict[str, Task]) -> None:
    digests = json.loads((files("catp") / "datasets" / "catp-bench" / "digests.json").read_text(encoding="utf-8"))
    assert tasks_digest(tasks.values()) == digests["tasks.jsonl.gz"]


def test_inputs_come_out_as_when_the_benchmark_was_built(tasks: dict[str, Task]) -> None:
    one_of_each = {task.family: task for task in tasks.values()}
    for task in one_of_each.values():
        made = task.materialise()
        assert made.keys() == {given.name for given in task.inputs}


def test_an_input_that_comes_out_otherwise_is_refused(tasks: dict[str, Task]) -> None:
    task = tasks["photo-clean-000"]
    data = json.loads(json.dumps(task.to_json()))
    data["inputs"][0]["recipe"]["seed"] += 1
    data["inputs"][0]["recipe"]["damage"] = [["noise", 30.0]]
    with pytest.raises(ValueError, match=r"photo-clean-000: input 'photo' came out different.*versions"):
        Task.from_json(data).materialise()


def test_no_unit_is_on_two_sides(tasks: dict[str, Task]) -> None:
    families: dict[str, set[str]] = defaultdict(set)
    patterns: dict[str, set[str]] = defaultdict(set)
    for task in tasks.values():
        families[task.family].add(task.split["name"])
        for pattern in task.template.split("+"):
            patterns[pattern].add(task.split["phrasing"])
    assert {name for name, sides in families.items() if len(sides) > 1} == set()
    assert {name for name, sides in patterns.items() if len(sides) > 1} == set()
    assert {task.split["name"] for task in tasks.values()} == {"train", "val", "test"}


def test_held_out_inputs_use_photographs_of_their_own(tasks: dict[str, Task]) -> None:
    used: dict[str, set[str]] = defaultdict(set)
    for task in tasks.values():
        for given in task.inputs:
            for recipe in given.recipe.get("items", [given.recipe]):
                if "photo" in recipe:
                    used["test" if task.split["inputs"] == "test" else "train"].add(recipe["photo"])
    assert used["test"] & used["train"] == set()
    assert used["test"] | used["train"] == set(PHOTOS)


def test_requests_differ_and_inputs_differ(tasks: dict[str, Task]) -> None:
    assert len({task.text for task in tasks.values()}) > 0.97 * len(tasks)
    repeated = Counter(given.sha256 for task in tasks.values() for given in task.inputs)
    assert sum(count - 1 for count in repeated.values()) < 0.04 * sum(repeated.values())


def test_every_kind_of_output_has_a_metric() -> None:
    assert {kind.metric for kind in KINDS.values()} <= METRICS.keys()


def test_fingerprints_tell_content_apart() -> None:
    recipe = {"kind": "photo", "photo": "camera", "box": [0, 0, 300], "size": 64, "damage": [], "seed": 1}
    image = make(recipe)
    assert fingerprint(image) == fingerprint(make(recipe)) != fingerprint(image.rotate(90))
    assert fingerprint(["ab", "c"]) != fingerprint(["a", "bc"])
