"""Candidate sets as decisions: the micro-step MDP of `catp.training.data.mdp` over the measured plans of an input.

    coder = Coder.fit(sets, toolset_of(sets), tools=24, slots=16)
    coder.tree(one)          the plans of an input as paths through a tree of states

Two entries are put before the mask of an observation: which known tool made the value in each value slot, and which
known tool is in each tool slot (0: none, or one that no training plan used). They are numbers for an embedding, and
all that tells two tools of equal type, price and accuracy apart.

A candidate set does not say which input a first step reads. Steps without parents are linked to the input, of those
whose type fits, that the fewest such steps were linked to before them; this is the same in training and in use.
"""

import importlib.resources
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property, partial
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catp.training.baselines.chooser import LISTED, Prices
from catp.training.data import mdp_layout, opencatp_tools
from catp.training.data.mdp_layout import Layout
from catp.training.data.mdp_state import PlanState
from catp.training.data.mdp_types import Types
from catp.training.data.toolset import Toolset
from catp.training.data.trajectory import InputInfo, Objective, Outcome, Plan, Request, Trajectory
from catp.training.evaluate.candidates import CandidateSet, Floats, StepUse

__all__ = ["Coder", "PathOf", "Space", "Tree", "toolset_of"]

Floats32 = NDArray[np.float32]
Ints = NDArray[np.intp]

_MOST_TYPES = 12
_UNITS = {"image": "pixels", "text": "chars"}


@dataclass(frozen=True)
class Space:
    """What an observation of a critic means: that of a layout, with the tools of slots told by number."""

    layout: Layout
    tools: tuple[str, ...]
    """Known tools by number, from 1."""

    @property
    def width(self) -> int:
        """Entries of an observation (D)."""
        return self.layout.width + self.layout.slots + self.layout.tools

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        """The number of each known tool."""
        return {tool: number for number, tool in enumerate(self.tools, 1)}


@dataclass(frozen=True)
class PathOf:
    """One plan: the states it passes (rows of the tree), what is done in each, and what each decision cost.

    `prices` (T,) are shares of the price scale, nan where the set is hidden.
    """

    states: Ints
    actions: Ints
    prices: Floats


@dataclass(frozen=True)
class Tree:
    """All measured plans of an input. `states` (S, D) have alpha 0; `paths` is None for a plan that is left out."""

    id: str
    group: str
    states: Floats32
    paths: tuple[PathOf | None, ...]
    scores: Floats


@dataclass(frozen=True)
class Coder:
    """Turns candidate sets into trees of decisions. `left_out` counts, by reason, the plans that cannot be told."""

    space: Space
    lines: Mapping[str, tuple[float, float]]
    """The expected price of a step with each tool, nano-USD: `a + b * units` of the inputs."""
    toolset: Toolset | None
    left_out: Counter[str] = field(default_factory=Counter, compare=False)

    @classmethod
    def fit(cls, sets: Sequence[CandidateSet], toolset: Toolset | None, *, tools: int, slots: int) -> "Coder":
        """Learn alphabets, tool numbers and step prices from measured sets."""
        kinds: Counter[str] = Counter()
        names: set[str] = set()
        for one in sets:
            kinds.update(one.input_types)
            kinds.update(one.wanted)
            names.update(tool for option in one.options for tool in option.tools)
        for tool in toolset.tools if toolset is not None else ():
            kinds.update({tool.output, *(parameter.type for parameter in tool.parameters)})
        common = sorted(kinds, key=lambda kind: (-kinds[kind], kind))[: _MOST_TYPES - 1]
        conditions = sorted({condition for one in sets for condition in one.conditions if condition})
        layout = Layout(tools, slots, (*sorted(common), "other"), tuple(conditions))
        return cls(Space(layout, tuple(sorted(names))), _lines(sets), toolset)

    @cached_property
    def _types(self) -> Types:
        return Types(self.toolset)

    @cached_property
    def _accuracy(self) -> Mapping[str, float]:
        return {tool.name: tool.accuracy_prior or 0.0 for tool in (self.toolset.tools if self.toolset else ())}

    def tree(self, one: CandidateSet, prices: Prices = LISTED) -> Tree:
        """Return the plans of a set as paths; prices are as the public price list says."""
        walk = _Walk(self, one, self._start(one, prices))
        paths = tuple(walk.path(place) for place in range(len(one)))
        return Tree(one.id, one.group, np.array(walk.rows), paths, one.scores)

    def expected(self, one: CandidateSet, prices: Prices = LISTED) -> Floats:
        """Return the expected price of each option in shares of the price scale; nan if a tool is not known."""
        record, book = _stand_in(one), self._book(prices)
        return np.array([
            sum(book.expected(tool, record) for tool in option.tools) / one.price_scale for option in one.options
        ])  # fmt: skip

    def _start(self, one: CandidateSet, prices: Prices) -> Callable[[], PlanState]:
        offered = sorted({tool for option in one.options for tool in option.tools})[: self.space.layout.tools]
        record, book = _stand_in(one), self._book(prices)
        shares = [book.expected(tool, record) / one.price_scale for tool in offered]
        accuracies = [self._accuracy.get(tool, 0.0) for tool in offered]
        return partial(PlanState, self.space.layout, self._types, record, offered, shares, accuracies)

    def _book(self, prices: Prices) -> mdp_layout.Prices:
        lines = {tool: (price, 0.0) for tool, price in prices.listed.items()} | dict(self.lines)
        return mdp_layout.Prices({
            tool: (base * prices.factor(tool), slope * prices.factor(tool)) for tool, (base, slope) in lines.items()
        })  # fmt: skip


class _LeftOut(ValueError):
    """A plan that cannot be told as decisions."""


class _Walk:
    """Builds the tree of one set: states that several plans pass are described once."""

    def __init__(self, coder: Coder, one: CandidateSet, begin: Callable[[], PlanState]) -> None:
        self.rows: list[Floats32] = []
        self._coder, self._one, self._begin, self._empty = coder, one, begin, begin()
        self._seen: dict[tuple[int, ...], int] = {}

    def path(self, place: int) -> PathOf | None:
        try:
            return self._path(place)
        except _LeftOut as reason:
            self._coder.left_out[str(reason)] += 1
            return None

    def _path(self, place: int) -> PathOf:
        layout, option = self._coder.space.layout, self._one.options[place]
        decisions = list(self._decisions(option.steps))
        state = self._begin()
        made: dict[int, str] = {}
        states: list[int] = []
        actions: list[int] = []
        costs: list[float] = []
        for action, step in decisions:
            prefix = tuple(actions)
            if prefix not in self._seen:
                self._seen[prefix] = len(self.rows)
                self.rows.append(self._row(state, made))
            states.append(self._seen[prefix])
            if action == layout.stop:
                self.rows[states[-1]][-1] = 1.0  # an optional output may be left out: the mask asks for all of them
                actions.append(action)
                costs.append(0.0)
                break
            try:
                state.step(action)
            except ValueError:
                raise _LeftOut(_why(layout, action)) from None
            actions.append(action)
            costs.append(step.price if step is not None and action == layout.end else 0.0)
            if step is not None and action == layout.end:
                made[len(state.slots) - 1] = step.tool
        prices = np.array(costs)
        prices[-1] += option.price - prices.sum()
        return PathOf(np.array(states), np.array(actions), prices / self._one.price_scale)

    def _row(self, state: PlanState, made: Mapping[int, str]) -> Floats32:
        space = self._coder.space
        seen = state.observation()
        numbers = np.zeros(space.layout.slots + space.layout.tools, dtype=np.float32)
        for slot, tool in made.items():
            if slot < space.layout.slots:
                numbers[slot] = space.numbers.get(tool, 0)
        for slot, tool in enumerate(state.offered):
            numbers[space.layout.slots + slot] = space.numbers.get(tool, 0)
        split = space.layout.width - space.layout.actions
        return np.concatenate([seen[:split], numbers, seen[split:]])

    def _decisions(self, steps: Sequence[StepUse]) -> list[tuple[int, StepUse | None]]:
        """The actions that build a plan, each with the step it is about."""
        layout, state = self._coder.space.layout, self._empty
        if len(state.slots) + len(steps) > layout.slots:
            raise _LeftOut(f"more than {layout.slots} inputs and steps")
        place: dict[int, int] = {}
        read: Counter[int] = Counter()
        found: list[tuple[int, StepUse | None]] = []
        for number in _order(steps):
            step = steps[number]
            if step.tool not in state.offered:
                raise _LeftOut(f"more than {layout.tools} tools in the plans of one input")
            found.append((state.offered.index(step.tool), step))
            links = [place[parent] for parent in dict.fromkeys(step.parents)] or self._input(step.tool, read)
            found += [(layout.tools + slot, step) for slot in links]
            found.append((layout.end, step))
            place[number] = len(state.slots) + len(place)
        return [*found, (layout.stop, None)]

    def _input(self, tool: str, read: "Counter[int]") -> list[int]:
        slots = self._empty.slots
        fits = [slot for slot, value in enumerate(slots) if self._coder._types.links(tool, value.type)]
        if not fits:
            return []
        chosen = min(fits, key=lambda slot: (read[slot], slot))
        read[chosen] += 1
        return [chosen]


def _order(steps: Sequence[StepUse]) -> list[int]:
    """Parents first, otherwise as given."""
    sorter = TopologicalSorter({number: set(step.parents) for number, step in enumerate(steps)})
    try:
        sorter.prepare()
    except CycleError:
        raise _LeftOut("the plan has a cycle") from None
    ready: list[int] = []
    found: list[int] = []
    while sorter.is_active():
        ready = sorted([*ready, *sorter.get_ready()])
        found.append(ready.pop(0))
        sorter.done(found[-1])
    return found


def _why(layout: Layout, action: int) -> str:
    return "a tool that nothing fits" if action < layout.tools else "a link between types that do not fit"


def _stand_in(one: CandidateSet) -> Trajectory:
    """A record with the request of a set, for what reads requests; it has no plan."""
    inputs = [
        InputInfo(
            type=kind, condition=condition or None,
            size=None if size is None else {_UNITS.get(kind, "bytes"): size},  # type: ignore[dict-item]  # a unit
        )
        for kind, size, condition in zip(one.input_types, one.sizes, one.conditions, strict=True)
    ]  # fmt: skip
    return Trajectory(
        trajectory_id=one.id, dataset=one.dataset, group=one.group, candidate_set=one.id,
        request=Request(inputs=inputs, wanted=list(one.wanted)), toolset="",
        objective=Objective(price_scale_usd=Decimal(one.price_scale).scaleb(-9)), plan=Plan(nodes=[], edges=[]),
        events=[], outcome=Outcome(status="ok"),
    )  # fmt: skip


def _lines(sets: Sequence[CandidateSet]) -> dict[str, tuple[float, float]]:
    """Least squares of step prices on the units of the inputs, per tool; a constant where sizes do not vary."""
    seen: dict[str, list[tuple[float, float]]] = {}
    for one in sets:
        units = float(sum(size or 0 for size in one.sizes))
        for option in one.options:
            for step in option.steps:
                if np.isfinite(step.price):
                    seen.setdefault(step.tool, []).append((units, step.price))
    found = {}
    for tool, points in sorted(seen.items()):
        units_, paid = np.array(points).T
        spread = float(units_.var())
        slope = float(((units_ - units_.mean()) * (paid - paid.mean())).mean()) / spread if spread > 0 else 0.0
        found[tool] = (float(paid.mean() - slope * units_.mean()), slope)
    return found


def toolset_of(sets: Sequence[CandidateSet]) -> Toolset | None:
    """Return the tools of a shipped data set or of OpenCATP's pools, for types and masks; None of any other.

    Without a toolset every value fits every tool.
    """
    names = {one.dataset.partition("/")[0] for one in sets}
    if names == {"opencatp"}:
        return opencatp_tools.toolset()
    if names == {"catp-bench"}:
        path = Path(str(importlib.resources.files("catp"))) / "datasets" / "catp-bench" / "toolset.json"
        return Toolset.load(path) if path.is_file() else None
    return None
