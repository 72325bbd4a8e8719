"""Tasks: what the benchmark asks, one JSON object per input, in `datasets/catp-bench/tasks.jsonl.gz`.

A task holds the request in words, the recipes of its inputs with the digests of what they make, the wanted outputs
with their truths, and the side of every split. `materialise` makes the inputs; `request` is what a planner is given.
"""

import gzip
import hashlib
import importlib.resources
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from catp.planlang.money import Money
from catp.planlang.nodes import ToolName
from catp.planlang.registry_view import CallEstimate, Size, ValueFacts
from catp.planlang.types import parse_type
from catp.planners.protocol import Objective, PlanRequest, Wanted
from catp.tools.bench.damage import Random
from catp.tools.builtin.facts import describe
from catp.tools.catalogue import Catalogue
from catp.training.bench.draft import slots_of
from catp.training.bench.families import FAMILIES, Family
from catp.training.bench.lines import write_lines
from catp.training.bench.outputs import Want, truth_of
from catp.training.bench.phrasing import Ask, phrase
from catp.training.bench.recipes import Recipe, fingerprint, make
from catp.training.bench.sources import SOURCES, Side

__all__ = [
    "FOLDER", "LANGUAGES", "Given", "Task", "WarmEstimator", "generate", "load_tasks", "save_tasks", "tasks_digest",
    "tools_of",
]  # fmt: skip

FOLDER = "catp-bench"
LANGUAGES = ("en",) * 12 + ("de", "fr", "es", "it")
"""Languages of requests: a quarter is not in English."""

_VAL, _TEST = 0.1, 0.2
_PHRASING_TEST = 0.2


class WarmEstimator:
    """Predicts calls of tools that are loaded, as they are measured here, whatever is loaded at the moment."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._estimator = catalogue.estimator()

    def estimate(self, tool: ToolName, args: Mapping[str, ValueFacts]) -> CallEstimate:
        """Predict one call without what starting its tool would take."""
        return self._estimator.estimate(tool, args).without_startup()


@dataclass(frozen=True)
class Given:
    """One input: its plan type, how to make it, the SHA-256 of what is made, its size and what a look at it says."""

    name: str
    type: str
    recipe: Recipe
    sha256: str
    units: int
    count: int
    condition: str

    @property
    def facts(self) -> ValueFacts:
        """What a planner is told of it."""
        return ValueFacts(parse_type(self.type), Size(self.units, self.count), self.condition)


@dataclass(frozen=True)
class Task:
    """One task of the benchmark. `split` maps `name`, `inputs` and `phrasing` to a side."""

    id: str
    family: str
    text: str
    lang: str
    template: str
    inputs: tuple[Given, ...]
    wants: tuple[Want, ...]
    truths: tuple[Any, ...]
    split: Mapping[str, Side]

    @property
    def types(self) -> dict[str, str]:
        """Plan type of each input."""
        return {given.name: given.type for given in self.inputs}

    @property
    def wanted(self) -> tuple[Wanted, ...]:
        """The wanted outputs as planners are asked for them."""
        return tuple(want.wanted() for want in self.wants)

    def materialise(self) -> dict[str, Any]:
        """Make the inputs.

        Raises:
            ValueError: an input came out otherwise than when the benchmark was built: other versions of the packages
                that draw pictures and print text.
        """
        found = {given.name: make(given.recipe) for given in self.inputs}
        for given in self.inputs:
            if fingerprint(found[given.name]) != given.sha256:
                raise ValueError(
                    f"task {self.id}: input {given.name!r} came out different here from when the benchmark was built; "
                    "install the versions named in datasets/catp-bench/README.md (pillow, numpy, scikit-image, ...)"
                )
        return found

    def request(self, catalogue: Catalogue, alpha: float, price_scale: Money, *, candidates: int = 1) -> PlanRequest:
        """Return what a planner is given: the words, the facts of the inputs, the wanted outputs, the objective.

        Of `catalogue` it is offered the tools that have a place in plans of the task's family.
        """
        objective = Objective(alpha=alpha, price_scale=price_scale)
        names = tools_of(self.family)
        catalogue = Catalogue([spec for spec in catalogue if spec.name in names], catalogue.profiles)
        facts = {given.name: given.facts for given in self.inputs}
        return PlanRequest(
            self.text, facts, self.wanted, objective, catalogue.view(), WarmEstimator(catalogue), candidates
        )

    def to_json(self) -> dict[str, Any]:
        """Return the task as JSON values."""
        return {"schema": "catp.task/1", **asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Task":
        """Read what `to_json` wrote."""
        inputs = tuple(Given(**given) for given in data["inputs"])
        wants = tuple(Want(w["what"], tuple(w["sources"]), w["many"], w["optional"]) for w in data["wants"])
        rest = {key: data[key] for key in ("id", "family", "text", "lang", "template", "split")}
        return cls(inputs=inputs, wants=wants, truths=tuple(data["truths"]), **rest)


@cache
def tools_of(family: str) -> frozenset[str]:
    """Return the tools that have a place in the plans of a family."""
    (found,) = (one for one in FAMILIES if one.id == family)
    return frozenset(tool for options in slots_of(found.types, found.plan).values() for o in options for tool in o)


def generate(seed: int = 0, *, families: Iterable[Family] = FAMILIES, share: float = 1.0) -> Iterator[Task]:
    """Draw the tasks of every family; `share` below 1 makes fewer of each, the same ones first."""
    for family in families:
        count = max(1, round(family.inputs_wanted * share))
        mark = [ord(letter) for letter in family.id]
        for number in range(count):
            yield _task(family, number, np.random.default_rng([seed, number, *mark]))


def _task(family: Family, number: int, random: Random) -> Task:
    side = _side(random)
    recipes: dict[str, Recipe] = {}
    for name, source in family.inputs.items():
        recipes[name] = SOURCES[source](random, side, recipes)
    inputs = tuple(_given(name, family.types[name], recipe) for name, recipe in recipes.items())
    lang = LANGUAGES[int(random.integers(len(LANGUAGES)))]
    phrasing: Literal["train", "test"] = "test" if random.random() < _PHRASING_TEST else "train"
    asks = [Ask(want.what, "+".join(want.sources), want.many or family.types[want.sources[0]].startswith("list"),
                want.optional) for want in family.wants]  # fmt: skip
    text, template = phrase(asks, lang, random, phrasing)
    split: dict[str, Side] = {"name": family.side, "inputs": side, "phrasing": phrasing}
    truths = tuple(truth_of(want, recipes) for want in family.wants)
    return Task(f"{family.id}-{number:03d}", family.id, text, lang, template, inputs, family.wants, truths, split)


def _side(random: Random) -> Side:
    dice = random.random()
    return "test" if dice < _TEST else "val" if dice < _TEST + _VAL else "train"


def _given(name: str, type_: str, recipe: Recipe) -> Given:
    value = make(recipe)
    facts = describe(value)
    return Given(name, type_, recipe, fingerprint(value), facts.size.units, facts.size.count, facts.condition)


def save_tasks(path: Path, tasks: Iterable[Task]) -> None:
    """Write tasks as gzipped JSON lines, the same bytes for the same tasks."""
    write_lines(path, (json.dumps(task.to_json(), ensure_ascii=False, sort_keys=True) for task in tasks))


def tasks_digest(tasks: Iterable[Task]) -> str:
    """Return the SHA-256 of the tasks as they are written."""
    digest = hashlib.sha256()
    for task in tasks:
        digest.update(json.dumps(task.to_json(), ensure_ascii=False, sort_keys=True).encode())
    return digest.hexdigest()


def load_tasks(path: Path | None = None) -> dict[str, Task]:
    """Return the tasks by id, those that ship with the product by default."""
    if path is None:
        file = importlib.resources.files("catp") / "datasets" / FOLDER / "tasks.jsonl.gz"
        with importlib.resources.as_file(file) as found:
            return load_tasks(found)
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        tasks = [Task.from_json(json.loads(line)) for line in lines]
    return {task.id: task for task in tasks}
