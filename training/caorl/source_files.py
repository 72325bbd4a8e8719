"""Trajectory files of any tools as training examples: plans as text or as graphs, tools from the toolset beside them.

request     inputs and wanted outputs of the record; where outputs are not named, those of the set's plans
plan        its text; without one, its graph (OpenCATP's form), whose outputs are the results nothing uses
estimator   prices and times of steps fitted on the training side; accuracies are unknown, so all of quality is learned
score       by output if the record has `quality_parts`, else the whole
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from catp.planlang.money import Money
from catp.planlang.nodes import Arg, Attempt, Input, Literal, Output, Plan, Ref, Step, StepName, ToolName
from catp.planlang.parser import parse
from catp.planlang.registry_view import (
    UNPRICED,
    CallEstimate,
    Latency,
    PriceRange,
    RegistryView,
    Size,
    ValueFacts,
)
from catp.planlang.types import Type, parse_type
from catp.planners.protocol import Objective, PlanRequest, Wanted
from catp.training.baselines.prices import StepPrices
from catp.training.caorl.source_sim import narrowed
from catp.training.data.files import read
from catp.training.data.toolset_files import Toolsets
from catp.training.data.trajectory import Trajectory, nano
from catp.training.evaluate.candidates import CandidateSet, candidate_sets

__all__ = ["FileRequests", "FittedEstimator"]

_INPUT = "input"
"""What records call the only input, if it has no name."""


class FittedEstimator:
    """Predicts calls of one request from measured steps; implements `catp.planlang.registry_view.Estimator`.

    The condition of a result is the tool it came from, which is what prices of the next step depend on.
    """

    def __init__(self, prices: StepPrices, view: RegistryView, units: Mapping[str, float]) -> None:
        self._prices, self._view, self._units = prices, view, units

    def estimate(self, tool: ToolName, args: Mapping[str, ValueFacts]) -> CallEstimate:
        """Predict one call; raise `KeyError` for a tool that is not in the toolset."""
        sig = self._view.get(tool)
        if sig is None:
            raise KeyError(tool)
        after = [facts.condition for facts in args.values() if self._view.get(facts.condition) is not None]
        size = max((facts.size.units for facts in args.values()), default=1)
        output = ValueFacts(sig.returns, Size(size), str(tool))
        found = self._prices.step(str(tool), after, self._units)
        if found is None:
            return CallEstimate(UNPRICED, Latency(), output, timed=False)
        price, ms = Money(max(0, round(found[0]))), max(0.0, found[1])
        return CallEstimate(PriceRange(price, price, price), Latency(ms, ms), output)


class FileRequests:
    """Gives requests and plans of the records in some files.

    Args:
        files: trajectories (`catp.trajectory/1`), set by set.
        tool_slots: the most tools a request may offer.
        without_tools: tools that are never offered.
        learned: says of a record whether prices may be learned from it; by default all may.
        toolset: the file of the tools; else it is looked for beside the data.

    Raises:
        ValueError: a file is not of trajectories, or a toolset is missing or cannot be used.
        OSError: the toolset file cannot be read.
    """

    def __init__(
        self, files: Sequence[Path], tool_slots: int, without_tools: Collection[str] = (),
        learned: Callable[[Trajectory], bool] = lambda record: True, toolset: Path | None = None,
    ) -> None:  # fmt: skip
        self._slots, self._without = tool_slots, frozenset(without_tools)
        self._sets: dict[str, list[Trajectory]] = defaultdict(list)
        self._views: dict[str, RegistryView] = {}
        self._wanted: dict[str, tuple[Wanted, ...] | None] = {}
        toolsets, measured = Toolsets(toolset), []
        self.priced_by: set[Path] = set()
        """The files that prices were learned from."""
        for file in files:
            for record in read(file):
                self._sets[record.candidate_set].append(record)
                if record.candidate_set not in self._views:
                    self._views[record.candidate_set] = _view(toolsets, record, file)
                if learned(record):
                    measured.append(record)
                    self.priced_by.add(file)
        # the scale plays no part in prices of steps
        self.fit(list(candidate_sets(measured, price_scale=Money(1))))

    def fit(self, sets: Sequence[CandidateSet]) -> None:
        """Learn prices from other sets."""
        self.prices = StepPrices().fit(sets)

    def __call__(self, record: Trajectory) -> PlanRequest | None:
        """Return a record's request; None if it has no price scale, its inputs or outputs cannot be told, or its tools
        do not fit the slots."""
        return self.request(record.candidate_set)

    def request(self, id_: str) -> PlanRequest | None:
        """Return the request of a candidate set by its id; see `__call__`.

        Raises:
            ValueError: the files have no such set.
        """
        if id_ not in self._sets:
            raise ValueError(f"{id_}: no such candidate set in the files given; name the file it is in")
        first = self._sets[id_][0]
        scale, inputs, wanted = first.objective.price_scale_usd, _inputs(first), self._outputs(id_)
        if scale is None or inputs is None or wanted is None:
            return None
        view = self._views[id_]
        if self._without:
            view = RegistryView(tuple(sig for sig in view if sig.name not in self._without), view.types)
        estimator = FittedEstimator(self.prices, view, _units(first))
        objective = Objective(alpha=0.8, price_scale=nano(scale))
        whole = PlanRequest(first.request.text or "", inputs, wanted, objective, view, estimator)
        kept = narrowed(whole, self._slots)
        if kept is None:
            return None
        return PlanRequest(whole.task, inputs, wanted, objective, kept, estimator)

    def plan(self, record: Trajectory) -> Plan:
        """Return the plan of a record.

        Raises:
            PlanError, ValueError: it cannot be read.
        """
        if record.plan.text:
            return parse(record.plan.text)
        wanted, inputs = self._outputs(record.candidate_set), _inputs(record)
        if wanted is None or inputs is None:
            raise ValueError(f"{record.trajectory_id}: inputs or outputs are not known")
        view = self._views[record.candidate_set]
        given = tuple(Input(name, facts.type) for name, facts in inputs.items())
        outputs = zip(_named(_ends(record, view)), _end_nodes(record, view), strict=True)
        return Plan(
            tuple(_steps(record, view)),
            tuple(Output(name, Ref(node), _optional(wanted, name)) for name, node in outputs), given,
        )  # fmt: skip

    def plan_by_id(self, set_id: str, id_: str) -> Plan:
        """Return the plan of the record `id_` in a candidate set."""
        return self.plan(next(record for record in self._sets[set_id] if record.trajectory_id == id_))

    def _outputs(self, id_: str) -> tuple[Wanted, ...] | None:
        if id_ not in self._wanted:
            self._wanted[id_] = _wanted(self._sets[id_], self._views[id_])
        return self._wanted[id_]


def _view(toolsets: Toolsets, record: Trajectory, file: Path) -> RegistryView:
    offer, problems = toolsets.offer(record, file)
    if offer is not None:
        return offer.view
    id_ = record.toolset if isinstance(record.toolset, str) else record.toolset.id
    why = "; ".join(problem.why for problem in problems) or "there is no file of it"
    raise ValueError(
        f"{file}: record {record.trajectory_id}: toolset {id_!r} is needed to read its plan, but {why}; "
        f"put it beside the data as toolset.json or toolsets/{id_}.json, or name its file (catp eval --toolset)"
    )


def _inputs(record: Trajectory) -> dict[str, ValueFacts] | None:
    """What is known of the inputs by name; None if several have no name."""
    given = record.request.inputs
    names = [one.name or _INPUT for one in given]
    if len(set(names)) < len(names):
        return None
    return {
        name: ValueFacts(
            parse_type(one.type), Size(max(1, one.units or 1), max(1, (one.size or {}).get("items", 1))),
            one.condition or "",
        )
        for name, one in zip(names, given, strict=True)
    }  # fmt: skip


def _units(record: Trajectory) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    unknown = {one.type for one in record.request.inputs if one.units is None}
    for one in record.request.inputs:
        if one.units is not None and one.type not in unknown:
            found[one.type] += one.units
    return dict(found)


def _wanted(records: Sequence[Trajectory], view: RegistryView) -> tuple[Wanted, ...] | None:
    """The outputs asked for, by name and type; of graphs, what their results come to.

    What only some of the plans make is optional; what an output is for is what the tools that make it are for.
    """
    request = records[0].request
    if request.outputs and len(request.outputs) == len(request.wanted):
        optional = _left_out_by_some(records, request.outputs)
        return tuple(
            Wanted(name, parse_type(type_), name in optional)
            for name, type_ in zip(request.outputs, request.wanted, strict=True)
        )
    if any(record.plan.text for record in records):
        return None
    makers: dict[str, dict[str, None]] = defaultdict(dict)
    types: dict[str, Type] = {}
    made: Counter[str] = Counter()
    for record in records:
        ends = _ends(record, view)
        for name, (type_, tool) in zip(_named(ends), ends, strict=True):
            types[name] = type_
            makers[name][tool] = None
            made[name] += 1
    return tuple(
        Wanted(name, types[name], made[name] < len(records), tuple(sorted(makers[name]))) for name in sorted(types)
    )


def _left_out_by_some(records: Sequence[Trajectory], names: Iterable[str]) -> set[str]:
    texts = [parse(record.plan.text) for record in records if record.plan.text]
    return {name for name in names if any(name not in {out.name for out in plan.outputs} for plan in texts)}


def _end_nodes(record: Trajectory, view: RegistryView) -> list[str]:
    """The steps whose results nothing uses, by type and tool."""
    used = {edge[0] for edge in record.plan.edges}
    ends = [node for node in record.plan.nodes if node.id not in used]
    return [node.id for node in sorted(ends, key=lambda node: (str(_returns(view, node.tool)), node.tool, node.id))]


def _ends(record: Trajectory, view: RegistryView) -> list[tuple[Type, str]]:
    tools = {node.id: node.tool for node in record.plan.nodes}
    return [(_returns(view, tools[node]), tools[node]) for node in _end_nodes(record, view)]


def _returns(view: RegistryView, tool: str) -> Type:
    sig = view.get(tool)
    if sig is None:
        raise ValueError(f"tool {tool!r} is not in the toolset; add it there, or leave its plans out")
    return sig.returns


def _named(ends: Sequence[tuple[Type, str]]) -> list[str]:
    """A name for each: its type, counted."""
    counts: Counter[str] = Counter()
    found = []
    for type_, _ in ends:
        counts[type_.name] += 1
        found.append(f"{type_.name}_{counts[type_.name]}")
    return found


def _optional(wanted: Sequence[Wanted], name: str) -> bool:
    return next(want.optional for want in wanted if want.name == name)


def _steps(record: Trajectory, view: RegistryView) -> Iterable[Step]:
    """The nodes as steps: edges are arguments, by port, else in the order of the parameters."""
    for node in record.plan.nodes:
        args = [
            Arg(Ref(edge[0]), edge[2] if len(edge) > 2 else None) for edge in record.plan.edges if edge[1] == node.id
        ]
        args += [Arg(Literal(value), name) for name, value in sorted(node.args.items())]
        _returns(view, node.tool)
        yield Step(StepName(node.id), (Attempt(ToolName(node.tool), tuple(args)),))
