"""Catalogues made from a seed, and plans found by trying everything: what the search is measured against.

Used by the tests and by `benchmarks/planner.py`. `brute_front` shares no code with the search; it is written from the
rules in `docs/planner.md`, in the plainest way, and is good for a handful of tools.
"""

import itertools
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from catp.planlang.money import Money
from catp.planlang.nodes import ToolName
from catp.planlang.registry_view import (
    UNPRICED,
    CallEstimate,
    Latency,
    Param,
    PriceRange,
    RegistryView,
    Size,
    ToolSig,
    ValueFacts,
)
from catp.planlang.types import Type, TypeDef, TypeTable, list_of
from catp.planners.accuracy import GIVEN, AccuracyModel, ValueQuality
from catp.planners.front import pareto
from catp.planners.protocol import Objective, PlanRequest, Wanted

__all__ = ["SeededEstimator", "brute_front", "brute_points", "page_catalogue", "small_request"]

_IMAGE, _TEXT = Type("image"), Type("text")


@dataclass(frozen=True)
class SeededEstimator:
    """Estimates that depend only on seed, tool and the facts of the arguments; restoring tools extend the condition."""

    registry: RegistryView
    seed: int = 0
    restoring: bool = True
    failing: bool = False
    unpriced: frozenset[str] = frozenset()

    def estimate(self, tool: ToolName, args: Mapping[str, ValueFacts]) -> CallEstimate:
        """See `Estimator`."""
        sig = self.registry.get(tool)
        if sig is None:
            raise KeyError(tool)
        first = next(iter(args.values()))
        rng = random.Random(f"{self.seed} {tool} {[f.condition for f in args.values()]}")
        base = random.Random(f"{self.seed} {tool}")
        price = base.randint(1, 40) * 100
        refines = self.restoring and sig.returns == first.type
        condition = f"{first.condition}/{tool}" if refines else "" if sig.returns != _TEXT else first.condition
        return CallEstimate(
            UNPRICED if tool in self.unpriced else PriceRange(Money(price // 2), Money(price), Money(price * 2)),
            Latency(ms := float(base.randint(1, 50)), ms * 1.5),
            ValueFacts(sig.returns, Size(first.size.units), condition),
            min(0.99, base.uniform(0.5, 0.95) * rng.uniform(0.8, 1.25)),
            rng.choice((0.0, 0.05, 0.2)) if self.failing else 0.0,
            10,
        )


def small_request(
    seed: int, *, max_tools: int = 6, objective: Objective | None = None, failing: bool = False
) -> PlanRequest:
    """A random request over a few tools: refining, chains, joins, records that carry text, up to three outputs."""
    rng = random.Random(seed)
    records = ["Reading", "Label", "Pair"]
    types = TypeTable()
    for name in records:
        fields = (("text", _TEXT),) if name == "Reading" else (("code", _TEXT),)
        types = types.with_type(TypeDef(name, fields))
    pool = [_IMAGE, _TEXT, *(Type(name) for name in records)]
    tools = []
    for number in range(rng.randint(3, max_tools)):
        arity = 2 if rng.random() < 0.2 else 1
        params = tuple(Param(f"arg{i}", rng.choice((_IMAGE, _IMAGE, *pool))) for i in range(arity))
        returns = params[0].type if rng.random() < 0.25 else rng.choice(pool[1:])
        capability = rng.choice(("fix", "ocr", ""))
        tools.append(ToolSig(ToolName(f"tool{number}"), params, returns, capability=capability))
    registry = RegistryView(tuple(tools), types)
    there = {_IMAGE}
    for _ in tools:
        there |= {sig.returns for sig in tools if all(p.type in there for p in sig.params)}
        there |= {_TEXT} if Type("Reading") in there else set()
    makeable = [sig for sig in tools if all(p.type in there for p in sig.params)]
    wanted = tuple(
        Wanted(f"w{i}", rng.choice(makeable or tools).returns, optional=rng.random() < 0.15,
               capability=("fix",) if rng.random() < 0.1 else ())
        for i in range(rng.randint(1, 3))
    )  # fmt: skip
    estimator = SeededEstimator(registry, seed, restoring=rng.random() < 0.8, failing=failing)
    inputs = {"page": ValueFacts(_IMAGE, Size(1000), "noisy")}
    if rng.random() < 0.3:
        inputs["memo"] = ValueFacts(_TEXT, Size(1000), "")
    return PlanRequest("try", inputs, wanted, objective or Objective(), registry, estimator, candidates=50)


def page_catalogue(tools: int, seed: int = 0) -> tuple[RegistryView, SeededEstimator]:
    """A catalogue shaped like real ones: rivals per capability, around reading pages, plus unrelated capabilities.

    About a quarter of the tools deal with pages (restoring, reading, and what is made from text); the rest turns other
    records into each other.
    """
    rng = random.Random(seed)
    kinds = [("denoise", _IMAGE, _IMAGE), ("deblur", _IMAGE, _IMAGE), ("ocr", _IMAGE, Type("Reading")),
             ("language", _TEXT, Type("Language")), ("phrases", _TEXT, Type("KeyPhrases")),
             ("sentiment", _TEXT, Type("Sentiment")), ("codes", _IMAGE, Type("Codes"))]  # fmt: skip
    types = TypeTable().with_type(TypeDef("Reading", (("text", _TEXT), ("confidence", Type("number")))))
    for name in ("Language", "KeyPhrases", "Sentiment", "Codes"):
        types = types.with_type(TypeDef(name, (("items", list_of(_TEXT)),)))
    others = max(1, tools // 12)
    for number in range(others):
        types = types.with_type(TypeDef(f"Thing{number}", (("code", _TEXT),)))
    per_kind = max(1, min(5, tools // (3 * len(kinds)) or 1))
    made = [
        ToolSig(ToolName(f"{capability}_{i}"), (Param(given.name, given),), returns, capability=capability)
        for capability, given, returns in kinds
        for i in range(per_kind)
    ]
    while len(made) < tools:
        given = rng.choice([_IMAGE, _TEXT, *(Type(f"Thing{rng.randrange(others)}") for _ in range(6))])
        returns = Type(f"Thing{rng.randrange(others)}")
        made.append(ToolSig(ToolName(f"other_{len(made)}"), (Param("thing", given),), returns, capability="other"))
    registry = RegistryView(tuple(made[:tools]), types)
    return registry, SeededEstimator(registry, seed)


@dataclass(frozen=True)
class _Node:
    """An input (no tool) or a call, as a nested value: equal calls are equal nodes."""

    tool: str
    args: tuple[tuple["_Node", tuple[str, ...]], ...] = ()

    def calls(self) -> frozenset["_Node"]:
        own = frozenset({self}) if self.args else frozenset()
        return own.union(*(node.calls() for node, _ in self.args))


class _World:
    def __init__(self, request: PlanRequest, accuracy: AccuracyModel, max_refine: int) -> None:
        self.request, self.accuracy, self.max_refine = request, accuracy, max_refine
        self.sigs = {str(sig.name): sig for sig in request.registry}
        self.memo: dict[_Node, tuple[ValueFacts, ValueQuality, CallEstimate | None, float]] = {}

    def facts_of(self, node: _Node, path: tuple[str, ...]) -> ValueFacts:
        facts = self.about(node)[0]
        return ValueFacts(_TEXT, facts.size, facts.condition) if path else facts

    def about(self, node: _Node) -> tuple[ValueFacts, ValueQuality, CallEstimate | None, float]:
        if node not in self.memo:
            if not node.args:
                self.memo[node] = (self.request.inputs[node.tool], GIVEN, None, 0.0)
            else:
                sig = self.sigs[node.tool]
                names = [p.name for p in sig.params]
                facts = [self.facts_of(arg, path) for arg, path in node.args]
                found = self.request.estimator.estimate(sig.name, dict(zip(names, facts, strict=True)))
                qualities = [self.about(arg)[1] for arg, _ in node.args]
                quality = self.accuracy.call(found, dict(zip(names, zip(facts, qualities, strict=True), strict=True)))
                finish = found.latency.expected_ms + max(self.about(arg)[3] for arg, _ in node.args)
                self.memo[node] = (found.output, quality, found, finish)
        return self.memo[node]

    def refined(self, node: _Node) -> int | None:
        """The one argument whose type the call returns."""
        if not node.args:
            return None
        sig = self.sigs[node.tool]
        same = [i for i, p in enumerate(sig.params) if p.type == sig.returns]
        return same[0] if len(same) == 1 else None

    def read(self, node: _Node) -> frozenset[Type]:
        """Types that were consumed on the way to `node`, other than by refining."""
        found = frozenset[Type]().union(*(self.read(arg) for arg, _ in node.args))
        if node.args:
            params = self.sigs[node.tool].params
            found |= {p.type for i, p in enumerate(params) if i != self.refined(node)}
        return found

    def chain(self, node: _Node) -> list[str] | None:
        """Refining tools in a row; None if the chain is not allowed."""
        slot = self.refined(node)
        if slot is None:
            return []
        arg, path = node.args[slot]
        before = self.chain(arg)
        if path or before is None or node.tool in before or len(before) >= self.max_refine:
            return None
        return [*before, node.tool]

    def projections(self, node: _Node) -> Iterator[tuple[tuple[str, ...], Type]]:
        type_ = self.about(node)[0].type
        yield (), type_
        if type_.name == "Reading":
            yield ("text",), _TEXT

    def nodes(self, max_steps: int) -> list[_Node]:
        """Every allowed call, by trying all arguments for all tools until nothing is new."""
        known: dict[_Node, None] = {_Node(name): None for name in self.request.inputs}
        grew = True
        while grew:
            grew = False
            values = [(n, p, t) for n in known for p, t in self.projections(n) if t not in self.read(n)]
            for sig in self.request.registry:
                fitting = [[(n, p) for n, p, t in values if t == param.type] for param in sig.params]
                for args in itertools.product(*fitting):
                    given = [arg for arg in args if not arg[0].args]
                    if len(set(given)) < len(given):
                        continue
                    node = _Node(str(sig.name), args)
                    if node not in known and len(node.calls()) <= max_steps and self.chain(node) is not None:
                        known[node] = None
                        grew = True
        return [node for node in known if node.args]


def _passes(world: _World, node: _Node, steps: tuple[tuple[str, ...], ...]) -> bool:
    """True if `node` derives from calls for these steps in this order."""
    if not steps or not node.args:
        return not steps
    rest = steps[:-1] if world.sigs[node.tool].capability in steps[-1] else steps
    return not rest or any(_passes(world, arg, rest) for arg, _ in node.args)


def brute_front(
    request: PlanRequest, accuracy: AccuracyModel, *, max_steps: int, max_refine: int = 2
) -> list[tuple[int, float, float]]:
    """The front of (expected price, time, quality) over all plans, from single-valued inputs with plain names."""
    points = brute_points(request, accuracy, max_steps=max_steps, max_refine=max_refine)
    return pareto(points, lambda p: (p[0], p[1], -p[2]))


def brute_points(
    request: PlanRequest, accuracy: AccuracyModel, *, max_steps: int, max_refine: int = 2
) -> Iterator[tuple[int, float, float]]:
    """Expected price, time and quality of every plan that fits, in no particular order."""
    world = _World(request, accuracy, max_refine)
    nodes = world.nodes(max_steps)
    choices: list[list[_Node | None]] = []
    for want in request.wanted:
        fitting: list[_Node | None] = [
            n for n in nodes
            if any(t == want.type for _, t in world.projections(n))
            and (not want.capability or world.sigs[n.tool].capability in want.capability)
            and all(any(_passes(world, arg, want.through[:k]) for arg, _ in n.args) for k in [len(want.through)] if k)
        ]  # fmt: skip
        choices.append([*fitting, *([None] if want.optional else [])])
    objective = request.objective
    for picks in itertools.product(*choices):
        chosen = [node for node in picks if node is not None]
        calls = frozenset[_Node]().union(*(node.calls() for node in chosen))
        finish = max((world.about(node)[3] for node in chosen), default=0.0)
        if not chosen or len(calls) > max_steps:
            continue
        estimates = [found for found in (world.about(call)[2] for call in calls) if found is not None]
        price = sum(e.price.expected for e in estimates if e.price.expected is not None)
        p95 = sum(e.price.p95 for e in estimates if e.price.p95 is not None)
        if objective.budget is not None and p95 > objective.budget:
            continue
        if objective.deadline_ms is not None and finish > objective.deadline_ms:
            continue
        quality = accuracy.plan([0.0 if node is None else world.about(node)[1].score for node in picks])
        yield price, finish, quality
