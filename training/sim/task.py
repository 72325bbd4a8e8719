"""Tasks over a world, and cases of them: what is asked, how big and how damaged the inputs are, what they are worth.

    Task   a kind of request in one world: inputs by name and type, wanted outputs, shape
    Case   one request of a task: sizes, hidden states and visible labels, the price table, a price change, alpha

Shapes: `chain` (one output), `fork` (2 to 4 from one input), `join` (one output of two values, perhaps one more), `map`
(over a list, perhaps summed up), `repeat` (the same for two inputs). The last of several outputs may be optional.
"""

import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np

from catp.planlang.registry_view import Size, ValueFacts
from catp.planlang.types import Type
from catp.planners.protocol import Wanted
from catp.training.evaluate.candidates import Floats
from catp.training.sim.damage import DamageModel
from catp.training.sim.phrasing import request_text
from catp.training.sim.tools import USUAL_SIZE, SimTool
from catp.training.sim.world import World

__all__ = ["ALPHAS", "SHAPES", "Case", "PriceChange", "Shape", "Task"]

Shape: TypeAlias = Literal["chain", "fork", "join", "map", "repeat"]

SHAPES: tuple[Shape, ...] = ("chain", "fork", "join", "map", "repeat")
ALPHAS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
_CHANGED = 0.15
"""The share of cases whose prices change while the plan runs."""


@dataclass(frozen=True)
class PriceChange:
    """Prices change while a plan runs: calls that start at `at_ms` or later, or from call `at_call` on, cost otherwise.

    Exactly one of the two is given. `factor` applies to the tools of one capability.
    """

    capability: str
    factor: float
    at_ms: float | None = None
    at_call: int | None = None

    def applies(self, tool: SimTool, start_ms: float, call: int) -> bool:
        """True if a call is charged by the new price; calls count from 1 in the order in which they start."""
        if tool.capability.name != self.capability:
            return False
        return start_ms >= self.at_ms if self.at_ms is not None else call >= (self.at_call or 1)

    def __str__(self) -> str:
        when = f"at {self.at_ms:.3f} ms" if self.at_ms is not None else f"at call {self.at_call}"
        return f"price change {when}: x{self.factor:.4f} for {self.capability}"


@dataclass(frozen=True, eq=False)
class Task:
    """A kind of request. `inputs` are (name, type), `useful` the capabilities that can take part in making `wanted`."""

    id: str
    world: World
    shape: Shape
    inputs: tuple[tuple[str, Type], ...]
    wanted: tuple[Wanted, ...]
    useful: tuple[str, ...]

    @cached_property
    def tools(self) -> tuple[SimTool, ...]:
        """The tools that can take part, in the world's order."""
        return tuple(tool for tool in self.world.tools if tool.capability.name in self.useful)

    @cached_property
    def models(self) -> tuple[DamageModel, ...]:
        """What damage each input may have."""
        return tuple(self.world.damage(type_) for _, type_ in self.inputs)

    def case(self, number: int, *, table: int = 0) -> "Case":
        """Return the task's case of this number, always the same one."""
        rng = np.random.default_rng([self.world.seed, self.world.size, 4, zlib.crc32(self.id.encode()), number, table])
        sizes, hidden, labels = [], [], []
        for (_, type_), model in zip(self.inputs, self.models, strict=True):
            units = _usual(type_) * 2.0 ** float(np.clip(1.5 * rng.normal(), -3.5, 3.5))
            sizes.append(Size(max(1, round(units)), int(rng.integers(2, 7)) if type_.item is not None else 1))
            state, label = model.draw(rng)
            hidden.append(state)
            labels.append(label)
        alpha = float(rng.choice(ALPHAS))
        change = self._change(rng) if rng.random() < _CHANGED else None
        text, template = request_text(self.inputs, self.wanted, rng)
        return Case(self, number, tuple(sizes), tuple(hidden), tuple(labels), table, change, alpha, text, template)

    def typical(self) -> "Case":
        """Return a case of ordinary size about whose damage nothing is known, at the prices of table 0."""
        sizes = tuple(Size(round(_usual(t)), 1 if t.item is None else 4) for _, t in self.inputs)
        none = ("",) * len(sizes)
        return Case(self, -1, sizes, (0,) * len(sizes), none, 0, None, 0.8, "", "")

    def _change(self, rng: np.random.Generator) -> PriceChange:
        capability = self.useful[int(rng.integers(len(self.useful)))]
        factor = float(np.exp(rng.choice((-1.0, 1.0)) * rng.uniform(np.log(1.5), np.log(5.0))))
        if rng.random() < 0.5:
            return PriceChange(capability, factor, at_call=int(rng.integers(1, 4)))
        usual = float(np.median([tool.ms(tool.usual) for tool in self.tools]))
        return PriceChange(capability, factor, at_ms=float(usual * rng.uniform(0.2, 3.0)))


@dataclass(frozen=True, eq=False)
class Case:
    """One request. `hidden` and `change` are known to nobody who plans; `sizes` and `labels` are seen."""

    task: Task
    number: int
    sizes: tuple[Size, ...]
    hidden: tuple[int, ...]
    labels: tuple[str, ...]
    table: int
    change: PriceChange | None
    alpha: float
    text: str
    template: str

    @property
    def id(self) -> str:
        """Unique over all cases of all worlds."""
        return f"{self.task.id}-p{self.table}-{self.number}"

    @cached_property
    def weights(self) -> Floats:
        """The probability of each joint hidden state given the labels, one axis per input."""
        found: Floats = np.ones(())
        for model, label in zip(self.task.models, self.labels, strict=True):
            found = np.multiply.outer(found, model.posterior(label))
        return found

    @cached_property
    def factors(self) -> dict[str, float]:
        """The factor on each tool's price before any change."""
        return self.task.world.table(self.table)

    def facts(self) -> dict[str, ValueFacts]:
        """What a planner may know of the inputs."""
        return {
            name: ValueFacts(type_, size, label)
            for (name, type_), size, label in zip(self.task.inputs, self.sizes, self.labels, strict=True)
        }

    def rng(self, *more: int) -> np.random.Generator:
        """Return a generator for whatever is to be drawn about this case, the same each time."""
        return np.random.default_rng([self.task.world.seed, 5, zlib.crc32(self.id.encode()), *more])


def _usual(type_: Type) -> float:
    return USUAL_SIZE[(type_.item if type_.item is not None else type_).name]
