"""A simulated world: a seeded set of typed tools with rivals, traps, restoring tools, joins, and their prices.

    World(seed, tools=40)      .tools  .types  .image_damage  .text_damage  .table(number)
      catalogue()              a real `catp.tools.Catalogue`: runtime, planner and plan language work on it unchanged

What a world consists of depends on seed, size and calibration alone. Names of functions and record types are made up.

Price tables: table 0 holds the prices tools were made with; table k > 0 multiplies the price of each tool by its own
factor between 0.2 and 5 (held-out price tables are high numbers).
"""

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from catp.planlang.nodes import ToolName
from catp.planlang.registry_view import Param, RegistryView, ToolSig
from catp.planlang.types import Type, TypeDef, TypeTable, list_of
from catp.runtime.clock import Clock
from catp.tools.catalogue import Catalogue
from catp.tools.spec import ToolSpec
from catp.training.sim.backend import SimBackend, SimPrice, forecast
from catp.training.sim.calibrate import Calibration
from catp.training.sim.damage import DamageModel
from catp.training.sim.defaults import default_calibration
from catp.training.sim.tools import FILE, IMAGE, READING, TEXT, Capability, SimTool, rivals

__all__ = ["World"]

_IMAGE_DAMAGE = ("noise", "blur", "shade", "stains", "skew")
_TEXT_DAMAGE = ("typos", "gaps", "markup")
_ONSETS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z")
_VOWELS = ("a", "e", "i", "o", "u")
_MOST_RIVALS = 6


class World:
    """One world.

    Args:
        seed: Decides everything.
        tools: How many, from 5 to 500.
        calibration: The distributions of prices, times and scores; the shipped ones by default.
    """

    def __init__(self, seed: int, tools: int = 40, calibration: Calibration | None = None) -> None:
        if not 5 <= tools <= 500:
            raise ValueError(f"a world has 5 to 500 tools, got {tools!r}")
        self.seed, self.size = seed, tools
        self.calibration = calibration if calibration is not None else default_calibration()
        self.id = f"catp-sim-w{seed}-{tools}"
        rng = np.random.default_rng([seed, tools, 1])
        self.image_damage = _damage(_IMAGE_DAMAGE, 1 if tools < 8 else int(rng.integers(2, 4)), rng)
        self.text_damage = _damage(_TEXT_DAMAGE, 1 if tools < 12 else 2, rng)
        self.capabilities = tuple(_capabilities(max(4, round(tools / 3.2)), self.image_damage, self.text_damage, rng))
        kinds = max(len(self.image_damage.kinds), len(self.text_damage.kinds))
        made = [
            tool
            for capability, count in zip(self.capabilities, _shares(self.capabilities, tools, rng), strict=True)
            for tool in rivals(capability, count, self.calibration, kinds, rng)
        ]
        self.tools = tuple(made[place] for place in rng.permutation(len(made)))

    def damage(self, type_: Type) -> DamageModel:
        """The kinds of damage an input of this type may have; a file has those of the picture inside."""
        inner = type_.item if type_.item is not None else type_
        return self.text_damage if inner == TEXT else self.image_damage

    def table(self, number: int) -> dict[str, float]:
        """The factor on each tool's price under a price table."""
        if number == 0:
            return {tool.name: 1.0 for tool in self.tools}
        rng = np.random.default_rng([self.seed, self.size, 2, number])
        factors = np.exp(np.clip(0.8 * rng.normal(size=len(self.tools)), np.log(0.2), np.log(5.0)))
        return {tool.name: float(f) for tool, f in zip(self.tools, factors, strict=True)}

    def tool(self, name: str) -> SimTool:
        """The tool called `name`; raise `KeyError` if there is none."""
        return self._by_name[name]

    @cached_property
    def declared(self) -> dict[str, float]:
        """What the catalogue says of each tool's accuracy."""
        return {tool.name: self.declared_accuracy(tool) for tool in self.tools}

    @cached_property
    def favourites(self) -> dict[str, float]:
        """How much people here like each tool, for no good reason: what the `template` policy goes by."""
        rng = np.random.default_rng([self.seed, self.size, 7])
        return {tool.name: float(liking) for tool, liking in zip(self.tools, rng.random(self.size), strict=True)}

    @cached_property
    def types(self) -> TypeTable:
        """The world's record types."""
        table = TypeTable()
        for definition in self._definitions:
            table = table.with_type(definition)
        return table

    @cached_property
    def view(self) -> RegistryView:
        """The signatures of all tools."""
        return RegistryView(tuple(_signature(tool) for tool in self.tools), self.types)

    def catalogue(self, *, table: int = 0, clock: Clock | None = None) -> Catalogue:
        """Return the tools as a catalogue.

        Its backends work in this process on `SimValue`s; declared accuracies are means over all inputs, and price and
        time are declared by size, so `Catalogue.estimator()` knows them without a single measured call.
        """
        factors = self.table(table)
        return Catalogue(self._spec(tool, factors[tool.name], place, clock) for place, tool in enumerate(self.tools))

    def declared_accuracy(self, tool: SimTool) -> float:
        """What the catalogue says of a tool: its mean accuracy over inputs of the usual size with all their damage."""
        model = self.damage(tool.capability.params[0][1])
        if tool.capability.role == "restore":
            after, quality = tool.restored(model.states, np.ones(model.states.shape[1]))
            return float(model.prior @ (quality * np.prod(1.0 - 0.5 * after, axis=0)))
        damaged = tool.capability.params[0][1] in (IMAGE, FILE)
        legible = float(model.prior @ tool.legible(model.states)) if damaged else 1.0
        return tool.accuracy(tool.usual) * legible

    def _spec(self, tool: SimTool, factor: float, place: int, clock: Clock | None) -> ToolSpec:
        names = {str(type_.required if type_.item is None else type_.item) for _, type_ in tool.capability.params}
        used = [d for d in self._definitions if d.name in names | {str(tool.capability.returns)}]
        return ToolSpec(
            _signature(tool),
            SimBackend(tool, self.seed * 1_000 + place, clock),
            SimPrice(tool, factor),
            capability=tool.capability.name,
            accuracy=round(self.declared[tool.name], 4),
            types=tuple(used),
            forecast=forecast(tool),
        )

    @cached_property
    def _by_name(self) -> dict[str, SimTool]:
        return {tool.name: tool for tool in self.tools}

    @cached_property
    def _definitions(self) -> tuple[TypeDef, ...]:
        records = sorted({c.returns.name for c in self.capabilities} - {"image", "text", "file", "Reading"})
        reading = TypeDef("Reading", (("text", TEXT), ("confidence", Type("number"))))
        return (reading, *(TypeDef(name, (("code", TEXT), ("confidence", Type("number")))) for name in records))


def _signature(tool: SimTool) -> ToolSig:
    capability = tool.capability
    params = tuple(Param(name, type_) for name, type_ in capability.params)
    return ToolSig(
        ToolName(tool.name),
        params,
        capability.returns,
        "pure",
        f"{capability.description} (simulated)",
        capability.name,
    )


def _damage(names: tuple[str, ...], count: int, rng: np.random.Generator) -> DamageModel:
    kinds = [names[place] for place in sorted(rng.choice(len(names), size=count, replace=False))]
    return DamageModel(kinds, [float(rng.uniform(0.25, 0.5)) for _ in kinds], float(rng.uniform(0.05, 0.2)))


def _capabilities(
    count: int, images: DamageModel, texts: DamageModel, rng: np.random.Generator
) -> Iterator[Capability]:
    """The functions of a world: what every world can do first, then others at random."""
    words = _words(rng)
    labels: list[Type] = []

    def label(of: Type) -> Capability:
        word = next(words)
        labels.append(Type(word.capitalize()))
        return Capability(
            f"{'find' if of == TEXT else 'spot'}_{word}", "label", ((of.name, of),), labels[-1],
            description=f"finds the {word} of {'a text' if of == TEXT else 'an image'}",
        )  # fmt: skip

    def join() -> Capability:
        word, record = next(words), labels[int(rng.integers(len(labels)))]
        other = (TEXT, IMAGE)[int(rng.integers(2))]
        return Capability(
            f"match_{word}", "join", ((other.name, other), ("record", record)), Type(word.capitalize()),
            description=f"makes a {word} of {other.name} and {record}",
        )  # fmt: skip

    def reduce() -> Capability:
        word, record = next(words), labels[int(rng.integers(len(labels)))]
        return Capability(
            f"sum_{word}", "reduce", (("records", list_of(record)),), Type(word.capitalize()),
            description=f"sums many {record} up as one {word}",
        )  # fmt: skip

    def restore(kind: int, model: DamageModel, of: Type) -> Capability:
        name = model.kinds[kind]
        return Capability(
            f"fix_{name}", "restore", ((of.name, of),), of, len(model.kinds), kind, f"takes {name} out of {of.name}"
        )

    fixed = [
        Capability(
            "read", "read", (("image", IMAGE),), READING, len(texts.kinds), description="reads the text in an image"
        ),
        label(TEXT),
        restore(0, images, IMAGE),
        label(IMAGE),
        *(restore(k, images, IMAGE) for k in range(1, len(images.kinds))),
        join(),
        restore(0, texts, TEXT),
        reduce(),
        Capability(
            "render", "render", (("file", FILE),), IMAGE, len(images.kinds), description="draws a file as an image"
        ),
        *(restore(k, texts, TEXT) for k in range(1, len(texts.kinds))),
        Capability(
            "extract", "read", (("file", FILE),), READING, len(texts.kinds), description="takes the text out of a file"
        ),
    ]
    for number in range(count):
        if number < len(fixed):
            yield fixed[number]
        else:
            draw = rng.random()
            yield label(TEXT) if draw < 0.4 else label(IMAGE) if draw < 0.7 else join() if draw < 0.85 else reduce()


def _shares(capabilities: tuple[Capability, ...], tools: int, rng: np.random.Generator) -> list[int]:
    """How many rivals each capability has: one at least, then two readers, then what chance gives."""
    counts = [1] * len(capabilities)
    counts[0] += 1
    while sum(counts) < tools:
        place = int(rng.integers(len(counts)))
        counts[place] += counts[place] < _MOST_RIVALS
    return counts


def _words(rng: np.random.Generator) -> Iterator[str]:
    """Made-up words, each once."""
    seen: set[str] = set()
    while True:
        word = "".join(
            _ONSETS[int(rng.integers(len(_ONSETS)))] + _VOWELS[int(rng.integers(len(_VOWELS)))]
            for _ in range(int(rng.integers(2, 4)))
        )
        if word not in seen:
            seen.add(word)
            yield word
