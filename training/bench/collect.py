"""The measured track: every plan of an input's candidate set really run, and written down as a trajectory.

Plans of one input share prefixes. Each distinct call is made once, by a warm worker process, metered, and its result
used by all plans that make the same call; each plan is then run by the real runtime, which charges it that call's
measured use. So every plan's price is what it would have cost alone, and its ledger adds up.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from catp.planlang.compile import compile_plan
from catp.planlang.digest import digest
from catp.planlang.money import Money
from catp.planlang.nodes import Plan as LangPlan
from catp.planlang.registry_view import Size, ValueFacts
from catp.planners.protocol import Candidate, PlanningFailed
from catp.planners.search import SearchPlanner
from catp.runtime.ledger import Ledger
from catp.runtime.run import execute
from catp.tools.catalogue import Catalogue
from catp.tools.errors import ToolError
from catp.tools.spec import BackendResult, ToolBackend
from catp.tools.usage import Usage
from catp.training.bench.draft import KEEP, SKIP, Option, draft_plan, slots_of
from catp.training.bench.families import FAMILIES, Family
from catp.training.bench.grading import grade, truths_of
from catp.training.bench.menus import Drawn, Menu, draw_plans, offer
from catp.training.bench.record import Ran, record
from catp.training.bench.tasks import Task, WarmEstimator
from catp.training.data.canonical import canonical_plan
from catp.training.data.trajectory import Trajectory

__all__ = ["Collector", "Counted"]

_FAMILIES: Mapping[str, Family] = {family.id: family for family in FAMILIES}
_MOST = (6, 16)
"""Least and most plans drawn for an input, before those of the search planner."""
_ALPHAS = (0.5, 0.8, 0.95, 1.0)
"""Weights of quality at which the search planner's best plan is measured, too."""


@dataclass
class Counted:
    """What collecting took: plans run, calls really made, calls answered from an earlier plan, CPU seconds of tools.

    `cold` calls had to start or load something and were made again.
    """

    plans: int = 0
    calls: int = 0
    shared: int = 0
    cpu_s: float = 0.0
    cold: int = 0

    def __add__(self, other: "Counted") -> "Counted":
        return Counted(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


class Collector:
    """Runs candidate sets over a catalogue of available tools.

    Args:
        catalogue: The tools; calls go through its own backends.
        seed: Decides menus and draws, together with the task.
    """

    def __init__(self, catalogue: Catalogue, seed: int = 0) -> None:
        self.catalogue = catalogue
        self.seed = seed
        self._planner = SearchPlanner()
        self._searched: dict[tuple[Any, ...], tuple[LangPlan, ...]] = {}

    async def collect(self, task: Task) -> tuple[list[Trajectory], Counted]:
        """Run the candidate plans of one task; their price scale is filled in by `catp.training.bench.finish`."""
        inputs = task.materialise()
        shelf = _Shelf(Counted())
        tools, truths = self._remembering(shelf), truths_of(task)
        found: list[Trajectory] = []
        for number, (plan, drawn, offered) in enumerate(await self.candidates(task)):
            found.append(await self._run(task, number, plan, drawn, offered, inputs, tools, truths))
            shelf.counted.plans += 1
        return found, shelf.counted

    async def run(self, task: Task, plan: LangPlan) -> Trajectory:
        """Run one plan on a task's inputs, whoever wrote it."""
        tools = self._remembering(_Shelf(Counted()))
        return await self._run(task, 0, canonical_plan(plan, tools.view()), None, 1, task.materialise(), tools,
                               truths_of(task))  # fmt: skip

    def _remembering(self, shelf: "_Shelf") -> Catalogue:
        return Catalogue([shelf.over(spec.backend, spec) for spec in self.catalogue], self.catalogue.profiles)

    async def candidates(self, task: Task) -> list[tuple[LangPlan, Drawn | None, int]]:
        """Return the plans to measure in canonical form, how each was drawn (None: by search), and how many were
        offered."""
        family, view = _FAMILIES[task.family], self.catalogue.view()
        random = np.random.default_rng([self.seed, 7, *task.id.encode()])
        slots = slots_of(task.types, family.plan)
        worst = max((given.condition for given in task.inputs if "image" in given.type), key=len, default="")
        menu = offer(self._usable(slots), worst, random, chains=family.chains, readers=family.readers)
        size = int(np.prod([len(options) for options in menu.values()]))
        found: dict[str, tuple[LangPlan, Drawn | None, int]] = {}
        most = int(random.integers(_MOST[0], _MOST[1] + 1))
        met = partial(slots_of, task.types, family.plan)
        for drawn in draw_plans(menu, self._price(task), random, most=most, met=met):
            plan = canonical_plan(draft_plan(task.types, family.plan, drawn.choice), view)
            found.setdefault(digest(plan), (plan, drawn, size))
        for plan in await self._search(task):
            found.setdefault(digest(plan), (plan, None, size))
        return list(found.values())

    def _usable(self, slots: Mapping[str, tuple[Option, ...]]) -> Menu:
        """Slots without the tools that are not here (tesseract is a Debian program)."""
        return {
            slot: tuple(o for o in options if o in (KEEP, SKIP) or all(tool in self.catalogue for tool in o)
                        or slot.startswith("raw_"))
            for slot, options in slots.items()
        }  # fmt: skip

    def _price(self, task: Task) -> Callable[[Option], float]:
        estimator = WarmEstimator(self.catalogue)
        units = max(given.units for given in task.inputs)

        def price(option: Option) -> float:
            total = 0.0
            for tool in option:
                if tool in self.catalogue:
                    sig = self.catalogue.get(tool).signature
                    facts = {p.name: ValueFacts(p.type, Size(units)) for p in sig.params if p.required}
                    total += estimator.estimate(sig.name, facts).price.expected or 0
            return total

        return price

    async def _search(self, task: Task) -> tuple[LangPlan, ...]:
        """The search planner's best plans at some alphas for inputs of the usual size in these conditions."""
        key = (task.family, *(given.condition for given in task.inputs))
        slots = slots_of(task.types, _FAMILIES[task.family].plan)
        if sum(options[0][:1] in _FIRST_READERS for options in slots.values()) > 1:
            return ()  # the search is exact, and over two readings of pages it takes minutes
        if key not in self._searched:
            request = task.request(self.catalogue, 0.8, _TYPICAL_SCALE, candidates=_FRONT)
            request = replace(request, inputs={name: _typical(facts) for name, facts in request.inputs.items()})
            try:
                proposal = await self._planner.plan(request)
            except PlanningFailed:
                self._searched[key] = ()
            else:
                best = [max(proposal.candidates, key=partial(_utility, alpha)).plan for alpha in _ALPHAS]
                self._searched[key] = tuple(canonical_plan(plan, self.catalogue.view()) for plan in best)
        return self._searched[key]

    async def _run(
        self, task: Task, number: int, plan: LangPlan, drawn: Drawn | None, offered: int, inputs: Mapping[str, Any],
        tools: Catalogue, truths: Iterable[Any],
    ) -> Trajectory:  # fmt: skip
        compiled = compile_plan(plan, tools.view())
        given = {item.name: inputs[item.name] for item in compiled.plan.inputs}
        events: list[Any] = []
        outcome = await execute(
            compiled, given, tools, ledger=Ledger(), on_event=events.append, run_id=f"{task.id}-{number}"
        )
        parts = grade(task, truths, outcome.outputs)
        return record(task, number, Ran(compiled, outcome, tuple(events), parts, drawn, offered))


def _utility(alpha: float, candidate: Candidate) -> float:
    return alpha * (candidate.quality or 0.0) - (1 - alpha) * (candidate.price.expected or 0) / _TYPICAL_SCALE


def _typical(facts: ValueFacts) -> ValueFacts:
    """The same input in the usual size: what is planned must not depend on which task of its kind comes first."""
    image = "image" in str(facts.type)
    return replace(facts, size=Size(50_000 if image else 200, 3 if facts.type.item is not None else 1))


_FRONT = 40
"""Candidates asked of the search planner: enough to find its best plan at every alpha among them."""

_FIRST_READERS = (("ocr_gocr",), ("ocr_tesseract",))
"""What slots of readers begin with."""

_TYPICAL_SCALE = Money(5_000)
"""Price scale (nano-USD) for the search planner's candidates: about the price of reading a small page."""


class _Shelf:
    """Results of one task's calls by tool and arguments. Pictures and records are told apart by identity: the shelf
    keeps them alive, and equal prefixes hand on the very same object."""

    def __init__(self, counted: Counted) -> None:
        self.counted = counted
        self.results: dict[tuple[Any, ...], asyncio.Task[BackendResult]] = {}
        self.kept: list[Any] = []

    def over(self, backend: ToolBackend, spec: Any) -> Any:
        """Return the tool with a backend that calls once and remembers."""
        return replace(spec, backend=_Remembering(self, backend, spec.name))

    def key(self, value: Any) -> Any:
        """What tells arguments apart."""
        if value is None or isinstance(value, str | int | float | bool):
            return value
        if isinstance(value, list | tuple):
            return tuple(self.key(item) for item in value)
        self.kept.append(value)
        return id(value)


class _Remembering:
    """A backend that makes each distinct call once, on a warm worker."""

    def __init__(self, shelf: _Shelf, backend: ToolBackend, name: str) -> None:
        self.shelf, self.backend, self.name = shelf, backend, name

    async def call(self, args: Mapping[str, Any], *, timeout: float) -> BackendResult:
        """Return the remembered result, or make the call; raises what the tool raised."""
        key = (self.name, *((name, self.shelf.key(args[name])) for name in sorted(args)))
        first = key not in self.shelf.results
        if first:
            self.shelf.results[key] = asyncio.ensure_future(self._warm_call(args, timeout))
        else:
            self.shelf.counted.shared += 1
        return await self.shelf.results[key]

    async def _warm_call(self, args: Mapping[str, Any], timeout: float) -> BackendResult:
        """A call that had to start or load something is made again: the track measures warm tools."""
        for _ in range(3):
            try:
                done = await self.backend.call(args, timeout=timeout)
            except ToolError as error:
                self._count(error.usage)
                raise
            self._count(done.usage)
            if not done.usage.cold_cpu_ms:
                return done
            self.shelf.counted.cold += 1
        return done

    def _count(self, usage: Usage) -> None:
        self.shelf.counted.calls += 1
        self.shelf.counted.cpu_s += (usage.cpu_ms + usage.cold_cpu_ms) / 1e3

    async def close(self) -> None:
        """Leave the real backend's workers to the catalogue it came from."""
