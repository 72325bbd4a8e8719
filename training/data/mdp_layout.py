"""What the numbers of the plan-construction MDP mean: actions, slots and features (training.md 5.5).

    action   0 .. K-1         TOOL k   begin a step with the tool in tool slot k
             K .. K+N-1       LINK j   the step uses the value in slot j (an input or an earlier step)
             K+N              END      the step is complete and gets the next slot
             K+N+1            STOP     the plan is complete

    observation (float32)     plan | N value slots | K tool slots | mask of the A actions (the last A entries)

Which tool is in which slot, and what each slot holds, is in the observation only: the set of tools may change.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Final

import numpy as np

from catp.training.data.toolset import Toolset
from catp.training.data.trajectory import Trajectory, nano

__all__ = ["Layout", "Prices"]

_PLAN: Final = ("alpha", "placed", "spent", "open", "budget", "has_budget")
_SLOT: Final = ("taken", "input", "units", "items", "depth", "price", "used", "linked")
_TOOL: Final = ("offered", "open", "price", "priced", "accuracy", "params")
_OTHER: Final = "other"
_MOST_TYPES: Final = 12


@dataclass(frozen=True)
class Layout:
    """Sizes and meanings. `types` and `conditions` are the one-hot alphabets; the last type stands for all others."""

    tools: int = 24
    slots: int = 12
    types: tuple[str, ...] = (_OTHER,)
    conditions: tuple[str, ...] = ()

    @classmethod
    def fitting(
        cls, records: Iterable[Trajectory], toolset: Toolset | None, *, tools: int = 24, slots: int = 12
    ) -> "Layout":
        """Return a layout with the types and conditions that occur, the most frequent `_MOST_TYPES - 1` types."""
        kinds: Counter[str] = Counter()
        conditions: set[str] = set()
        for record in records:
            kinds.update(given.type for given in record.request.inputs)
            kinds.update(record.request.wanted)
            conditions.update(given.condition for given in record.request.inputs if given.condition)
        for tool in toolset.tools if toolset is not None else ():
            kinds.update({tool.output, *(one.type for one in tool.parameters)})
        common = sorted(kinds, key=lambda kind: (-kinds[kind], kind))[: _MOST_TYPES - 1]
        return cls(tools, slots, (*sorted(common), _OTHER), tuple(sorted(conditions)))

    @property
    def actions(self) -> int:
        """How many actions there are (A)."""
        return self.tools + self.slots + 2

    @property
    def end(self) -> int:
        """The action END."""
        return self.tools + self.slots

    @property
    def stop(self) -> int:
        """The action STOP."""
        return self.tools + self.slots + 1

    @cached_property
    def features(self) -> tuple[str, ...]:
        """The name of every entry of an observation, in order."""
        plan = (*_PLAN, *(f"wanted.{kind}" for kind in self.types), *(f"missing.{kind}" for kind in self.types))
        slot = (*_SLOT, *(f"type.{kind}" for kind in self.types), *(f"condition.{one}" for one in self.conditions))
        tool = (*_TOOL, *(f"takes.{kind}" for kind in self.types), *(f"gives.{kind}" for kind in self.types))
        return (
            *plan,
            *(f"slot{j}.{name}" for j in range(self.slots) for name in slot),
            *(f"tool{k}.{name}" for k in range(self.tools) for name in tool),
            *(f"mask.{action}" for action in range(self.actions)),
        )

    @cached_property
    def index(self) -> Mapping[str, int]:
        """The place of every feature."""
        return {name: place for place, name in enumerate(self.features)}

    @property
    def width(self) -> int:
        """How many entries an observation has."""
        return len(self.features)

    def type_index(self, kind: str) -> int:
        """The place of a type in the alphabet."""
        return self.types.index(kind) if kind in self.types else len(self.types) - 1

    def to_json(self) -> str:
        """Return the layout as JSON, for the file it is the key to."""
        return json.dumps({"schema": "catp.mdp/1", **asdict(self), "features": self.features}, sort_keys=True)


@dataclass(frozen=True)
class Prices:
    """What a step with each tool is expected to cost, in nano-USD: `a + b * units` of the request's inputs.

    Fitted by least squares to the steps of some records (the training side, if it matters), never below zero.
    """

    lines: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def fit(cls, records: Iterable[Trajectory]) -> "Prices":
        """Fit one line per tool; a constant where sizes are unknown or all the same."""
        seen: dict[str, list[tuple[float, float]]] = {}
        for record in records:
            units = _units(record)
            tools = {node.id: node.tool for node in record.plan.nodes}
            sums: dict[str, float] = {}
            for event in record.events:
                if event.node in tools and event.price_usd is not None:
                    sums[event.node] = sums.get(event.node, 0.0) + nano(event.price_usd)
            for node, price in sums.items():
                seen.setdefault(tools[node], []).append((units, price))
        return cls({tool: _line(np.array(points)) for tool, points in sorted(seen.items())})

    def expected(self, tool: str, record: Trajectory) -> float:
        """Return the expected price of a step; nan if nothing is known of the tool."""
        line = self.lines.get(tool)
        return math.nan if line is None else max(0.0, line[0] + line[1] * _units(record))


def _units(record: Trajectory) -> float:
    return float(sum((one.units or 0) * (one.size or {}).get("items", 1) for one in record.request.inputs))


def _line(points: np.ndarray) -> tuple[float, float]:
    units, prices = points[:, 0], points[:, 1]
    spread = float(np.var(units))
    if len(points) < 3 or spread == 0:
        return float(prices.mean()), 0.0
    slope = float(np.mean((units - units.mean()) * (prices - prices.mean()))) / spread
    return float(prices.mean() - slope * units.mean()), slope
