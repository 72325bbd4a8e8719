"""What only whole records tell of a data set, counted as they pass by: shapes of plans, licences, what was simulated.

tally = Tally()
sets = list(candidate_sets(tally.watch(records)))       # one pass, and no record is kept
tally.shape()
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from catp.planlang.errors import PlanError
from catp.planlang.parser import parse
from catp.training.data.trajectory import Plan, Trajectory

__all__ = ["Shape", "Tally", "together"]


@dataclass(frozen=True)
class Shape:
    """Shares of plans, each in [0, 1]; None where no record says.

    chain     one step after the other, nothing used twice
    fork      an input or a step that several steps use
    join      a step that uses several steps
    map       a step that is called once per element of a list
    optional  an output that may be left out
    repeat    a tool in several steps
    """

    plans: int
    chain: float | None
    fork: float | None
    join: float | None
    map: float | None
    optional: float | None
    repeat: float | None
    steps: dict[int, int]
    """How many plans have so many steps."""


@dataclass
class Tally:
    """Counts records; `watch` passes them on."""

    records: int = 0
    simulated: int = 0
    suspect: int = 0
    unscored: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    licenses: Counter[str] = field(default_factory=Counter)
    hardware: Counter[str] = field(default_factory=Counter)
    metrics: Counter[str] = field(default_factory=Counter)
    propensities: int = 0
    toolsets: set[str] = field(default_factory=set)
    _shapes: Counter[str] = field(default_factory=Counter)
    _steps: Counter[int] = field(default_factory=Counter)
    _texts: int = 0
    _features: dict[str, frozenset[str]] = field(default_factory=dict)

    def watch(
        self, records: Iterable[Trajectory], progress: Callable[[int], None] = lambda done: None
    ) -> Iterator[Trajectory]:
        """Count each record and pass it on; `progress` is told how many there were."""
        for record in records:
            self._facts(record)
            self._plan(record)
            progress(self.records)
            yield record

    def shape(self) -> Shape:
        """Return the shares of shapes so far."""

        def share(name: str, of: int) -> float | None:
            return self._shapes[name] / of if of else None

        maps = share("map", self.records) if self._texts == self.records or self._shapes["map"] else None
        return Shape(
            self.records, share("chain", self.records), share("fork", self.records), share("join", self.records), maps,
            share("optional", self._texts), share("repeat", self.records), dict(sorted(self._steps.items())),
        )  # fmt: skip

    def _facts(self, record: Trajectory) -> None:
        outcome, origin = record.outcome, record.provenance
        self.records += 1
        self.simulated += (origin.source or "").lower().startswith("simulated")
        self.suspect += outcome.score_suspect
        self.unscored += outcome.score is None or outcome.price_usd is None
        self.statuses[outcome.status] += 1
        self.toolsets.add(record.toolset if isinstance(record.toolset, str) else record.toolset.id)
        self.propensities += record.policy.propensity is not None
        named = (
            (self.licenses, origin.license), (self.hardware, origin.hardware), (self.metrics, outcome.metric),
        )  # fmt: skip
        for counter, name in named:
            if name is not None:
                counter[name] += 1

    def _plan(self, record: Trajectory) -> None:
        features = _graph_features(record.plan)
        if any(event.element is not None for event in record.events):
            features.add("map")
        if record.plan.text is not None:
            if record.plan.text not in self._features:
                self._features[record.plan.text] = _text_features(record.plan.text)
            said = self._features[record.plan.text]
            features |= said - {"read"}
            self._texts += "read" in said
        self._shapes.update(features)
        self._steps[len(record.plan.nodes)] += 1


def together(tallies: Iterable[Tally]) -> Tally:
    """Return a tally of all records that some tallies counted."""
    total = Tally()
    for tally in tallies:
        for name in ("records", "simulated", "suspect", "unscored", "propensities", "_texts"):
            setattr(total, name, getattr(total, name) + getattr(tally, name))
        for name in ("statuses", "licenses", "hardware", "metrics", "_shapes", "_steps"):
            getattr(total, name).update(getattr(tally, name))
        total.toolsets |= tally.toolsets
    return total


def _graph_features(plan: Plan) -> set[str]:
    nodes = {node.id for node in plan.nodes}
    links = {(edge[0], edge[1]) for edge in plan.edges if edge[1] in nodes}  # two ports of one step are one link
    fan_out = Counter(source for source, _ in links)
    fan_in = Counter(target for source, target in links if source in nodes)
    tools = Counter(node.tool for node in plan.nodes)
    found = {
        "fork": any(count > 1 for count in fan_out.values()),
        "join": any(count > 1 for count in fan_in.values()),
        "repeat": any(count > 1 for count in tools.values()),
    }
    starts = sum(fan_in[node] == 0 for node in nodes)
    found["chain"] = not found["fork"] and not found["join"] and starts == 1
    return {name for name, there in found.items() if there}


def _text_features(text: str) -> frozenset[str]:
    """What a plan in the plan language shows beyond its graph, and `read`; nothing for text that is no plan."""
    try:
        plan = parse(text)
    except PlanError:
        return frozenset()
    found = {"read"}
    if any(step.mapped for step in plan.steps):
        found.add("map")
    if any(output.optional for output in plan.outputs):
        found.add("optional")
    return frozenset(found)
