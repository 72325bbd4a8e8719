"""Building a plan, one decision at a time: the MDP of training.md 5.5, for DAGs with any number of parents.

    idle --TOOL k--> open --LINK j ... LINK j--> open --END--> idle      the step gets the next value slot
    idle --STOP--> done

Rewards: a step that closes costs `-(1 - alpha) * price / price_scale`, its measured price; STOP earns
`alpha * score`. Discount 1. So the return is the utility of the plan. What a run paid beside its steps (planning,
steps of a plan given up) is charged at STOP. A failed run has score 0 and pays what it spent.

The mask (the last A entries of an observation) holds what the types allow: LINK to values that fit a parameter of the
open tool and are not linked yet; TOOL if something fits it and a slot is free; END once something is linked (or
nothing could be); STOP once every wanted type is there. `PlanState` is the same for logged plans and for new ones.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from graphlib import CycleError, TopologicalSorter
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from catp.training.data.mdp_layout import Layout, Prices
from catp.training.data.mdp_state import PlanState
from catp.training.data.mdp_types import Types
from catp.training.data.toolset import Toolset
from catp.training.data.trajectory import Trajectory, nano

__all__ = ["Encoder", "Episode", "PlanState", "encode"]

Floats32 = NDArray[np.float32]


class LeftOut(ValueError):
    """A record that the MDP cannot tell; the message is a reason to count."""


@dataclass(frozen=True)
class Episode:
    """One plan as decisions. `observations` (T, D) float32 with alpha 0, `actions` (T,) int; see `at` for the rest.

    `prices` (T,) is what each decision cost in shares of the price scale; `final` (D,) is the complete plan.
    """

    id: str
    candidate_set: str
    observations: Floats32
    actions: NDArray[np.int64]
    prices: NDArray[np.float64]
    score: float
    final: Floats32

    def at(self, alpha: float) -> tuple[Floats32, Floats32]:
        """Return observations and rewards (T,) for a weight of quality; the rewards add up to the utility."""
        observations = self.observations.copy()
        observations[:, 0] = alpha
        rewards = -(1 - alpha) * self.prices
        rewards[-1] += alpha * self.score
        return observations, rewards.astype(np.float32)

    def utility(self, alpha: float) -> float:
        """Return `alpha * score - (1 - alpha) * price / price_scale`."""
        return alpha * self.score - (1 - alpha) * float(self.prices.sum())


@dataclass
class Encoder:
    """Turns records into episodes. `left_out` counts by reason the records that cannot be told as decisions.

    Args:
        layout: What the numbers mean.
        toolset: The tools; without it the masks know no types.
        prices: What steps are expected to cost, fitted on data that may be looked at.
        price_scale: In USD, for records that name none.
    """

    layout: Layout
    toolset: Toolset | None
    prices: Prices
    price_scale: Decimal | None = None
    left_out: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._types = Types(self.toolset)
        self._accuracy = {t.name: t.accuracy_prior or 0.0 for t in (self.toolset.tools if self.toolset else ())}

    def episodes(self, records: Iterable[Trajectory]) -> Iterator[Episode]:
        """Yield an episode per record, set by set; the tools of a set's plans come first into the tool slots."""
        for _, group in groupby(records, key=lambda record: record.candidate_set):
            together = list(group)
            offered = self._offered(together)
            for record in together:
                try:
                    yield self._episode(record, offered)
                except LeftOut as reason:
                    self.left_out[str(reason)] += 1

    def state(self, record: Trajectory, offered: Sequence[str]) -> PlanState:
        """Return an empty plan for a record's request, with these tools in the slots."""
        scale = self._scale(record)
        shares = [self.prices.expected(tool, record) / scale for tool in offered]
        accuracies = [self._accuracy.get(tool, 0.0) for tool in offered]
        return PlanState(self.layout, self._types, record, offered, shares, accuracies)

    def _offered(self, records: list[Trajectory]) -> list[str]:
        """The tools of a set's plans, then others of the toolset while there is room; by name within each."""
        used = sorted({node.tool for record in records for node in record.plan.nodes})
        others = sorted(self._accuracy.keys() - set(used))
        return sorted([*used, *others[: max(0, self.layout.tools - len(used))]])

    def _episode(self, record: Trajectory, offered: list[str]) -> Episode:
        score, price = _score(record), record.outcome.price_usd
        if price is None:
            raise LeftOut("the price is not known")
        if len(offered) > self.layout.tools:
            raise LeftOut(f"more than {self.layout.tools} tools in the plans of one input")
        scale, steps = self._scale(record), _steps(record)
        state, charged = self.state(record, offered), _charged(record)
        if len(state.slots) + len(steps) > self.layout.slots:
            raise LeftOut(f"more than {self.layout.slots} inputs and steps")
        place = {node: len(state.slots) + number for number, (node, _, _) in enumerate(steps)}
        observations, actions, prices = [], [], []
        for node, action in _decisions(self.layout, record, steps, place, offered):
            observations.append(state.observation())
            if not observations[-1][self.layout.width - self.layout.actions + action]:
                raise LeftOut(self._why(action))
            state.step(action)
            actions.append(action)
            prices.append(charged.get(node, 0.0) / scale if action == self.layout.end else 0.0)
        prices[-1] += (nano(price) - sum(charged.get(node, 0.0) for node, _, _ in steps)) / scale
        return Episode(
            record.trajectory_id, record.candidate_set, np.array(observations), np.array(actions, dtype=np.int64),
            np.array(prices), score, state.observation(),
        )  # fmt: skip

    def _why(self, action: int) -> str:
        layout = self.layout
        if action == layout.stop:
            return "the plan does not give all that was wanted"
        return "a tool that nothing fits" if action < layout.tools else "a link between types that do not fit"

    def _scale(self, record: Trajectory) -> float:
        scale = record.objective.price_scale_usd or self.price_scale
        if not scale:
            raise ValueError(f"{record.trajectory_id}: no objective.price_scale_usd, and no price scale was given")
        return float(nano(scale))


def encode(
    records: Sequence[Trajectory], toolset: Toolset | None = None, *, price_scale: Decimal | None = None,
    tools: int = 24, slots: int = 12,
) -> tuple[Encoder, Iterator[Episode]]:  # fmt: skip
    """Return an encoder fitted to some records, and their episodes."""
    layout = Layout.fitting(records, toolset, tools=tools, slots=slots)
    encoder = Encoder(layout, toolset, Prices.fit(records), price_scale)
    return encoder, encoder.episodes(records)


_Step = tuple[str, str, tuple[str, ...]]
"""A node, its tool, and what it uses (nodes or inputs), each once."""


def _steps(record: Trajectory) -> list[_Step]:
    """The nodes, parents first and in the order of the record where that is free. Order-only edges are no data."""
    nodes = {node.id: node.tool for node in record.plan.nodes}
    uses: dict[str, dict[str, None]] = {node: {} for node in nodes}
    for edge in record.plan.edges:
        if edge[1] in uses and not (len(edge) == 3 and (edge[2].startswith("@") or edge[2] in ("when", "else"))):
            uses[edge[1]][edge[0]] = None
    sorter = TopologicalSorter({node: [p for p in used if p in nodes] for node, used in uses.items()})
    try:
        sorter.prepare()
    except CycleError:
        raise LeftOut("the plan has a cycle") from None
    order = list(nodes)
    found: list[_Step] = []
    ready: list[str] = []
    while sorter.is_active():
        ready = sorted([*ready, *sorter.get_ready()], key=order.index)
        node = ready.pop(0)
        found.append((node, nodes[node], tuple(uses[node])))
        sorter.done(node)
    return found


def _decisions(
    layout: Layout, record: Trajectory, steps: list[_Step], place: Mapping[str, int], offered: list[str]
) -> Iterator[tuple[str, int]]:
    """The actions that build a plan, each with the node it is about."""
    inputs = {one.name: number for number, one in enumerate(record.request.inputs) if one.name is not None}
    for node, tool, uses in steps:
        yield node, offered.index(tool)
        for source in uses:
            slot = place.get(source, inputs.get(source))
            if slot is None and len(record.request.inputs) <= 1:
                slot = 0
            if slot is None:
                raise LeftOut("an edge from an input that the request does not name")
            yield node, layout.tools + slot
        yield node, layout.end
    yield "", layout.stop


def _charged(record: Trajectory) -> dict[str, float]:
    """What each node cost, in nano-USD, as far as it is known."""
    found: dict[str, float] = {}
    for event in record.events:
        if event.price_usd is not None:
            found[event.node] = found.get(event.node, 0.0) + nano(event.price_usd)
    return found


def _score(record: Trajectory) -> float:
    score = record.outcome.score
    if score is None:
        if record.outcome.status != "failed":
            raise LeftOut("the score is not known")
        return 0.0
    return score
