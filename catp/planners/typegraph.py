"""What can be made from what: tools as edges between types, before any price is asked.

Rules that keep plans meaningful, not just well typed:

- A record hands on what it *carries*: a field named after its type (`Reading.text: text`). `Language.code` is text by
  type but nobody's page, so it is never read.
- A tool that takes and returns the same type *refines* it (image -> image). Any other way back to a type that was
  already consumed (text -> Summary -> text) is closed: what is derived from a page does not replace the page.
- A parameter named after an input takes that input or what derives from it; an input that names a side parameter
  (`question`) is kept for it. Names that repeat the type (`image: image`) do not count.
- A required side parameter called `question` or `query` takes an input of either name or a constant, never just any
  text; and no call is given one input twice.
- Parameters of type `any` and `json` take only values of exactly that type. Tools that write are never chosen.
"""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from catp.planlang.nodes import Literal
from catp.planlang.registry_view import Param, RegistryView, ToolSig, ValueFacts
from catp.planlang.types import Type, TypeTable, list_of
from catp.planners.protocol import Wanted

__all__ = ["QUESTIONS", "Maker", "Passed", "Path", "TypeGraph", "carried", "closed", "feeds"]

QUESTIONS = ("question", "query")
"""Names of parameters and inputs that hold a question."""

Path = tuple[str, ...]
"""Fields to follow from a step's result."""


Passed = tuple[int, int]
"""A step of `Wanted.through`: index of the wanted output, number of the step."""


@dataclass(frozen=True, slots=True, eq=False)
class Maker:
    """A tool with its constants filled in; `slots` are the parameters that values must be found for.

    `refines` is the slot whose type the tool returns, if it refines; `bound` are the slots named after an input.
    """

    index: int
    sig: ToolSig
    slots: tuple[Param, ...]
    constants: tuple[tuple[str, Literal], ...] = ()
    refines: int | None = None
    bound: frozenset[str] = frozenset()


def carried(types: TypeTable, type_: Type) -> tuple[tuple[Path, Type], ...]:
    """What a value of `type_` can be used as: itself, and the fields that carry it, nearest first; lists likewise."""
    found: list[tuple[Path, Type]] = [((), type_)]
    if type_.item is not None and not type_.item.optional:
        found += [(path, list_of(inner)) for path, inner in carried(types, type_.item) if path]
    for name, field in types.fields(type_):
        if not field.optional and field.item is None and field.name.lower() == name.replace("_", ""):
            found += [((name, *path), inner) for path, inner in carried(types, field) if len(path) < 2]
    return tuple(found)


def closed(type_: Type, consumed: Set[Type]) -> bool:
    """True if values of this type, or their elements, were already consumed on the way."""
    return type_.required in consumed or (type_.item is not None and type_.item.required in consumed)


def feeds(types: TypeTable, wanted: Type, given: Type) -> bool | None:
    """Whether `given` can be passed for `wanted`: False as it is, True element by element (`each`), None not at all."""
    if wanted.name in ("any", "json"):
        return False if given.required == wanted.required else None
    if types.accepts(wanted, given):
        return False
    if given.name == "list" and given.item is not None and not given.optional and types.accepts(wanted, given.item):
        return True
    return None


class TypeGraph:
    """The tools that matter to one request, and which types two parts of one plan may share."""

    def __init__(self, registry: RegistryView, inputs: Mapping[str, ValueFacts], wanted: tuple[Wanted, ...]) -> None:
        self.types = registry.types
        self.unasked: set[str] = set()
        """Tools left out because they need a question and nothing asks one."""
        self.inputs = inputs
        self.wanted = wanted
        self._carried: dict[Type, tuple[tuple[Path, Type], ...]] = {}
        self.reserved = _reserved(registry, inputs, wanted)
        makers = [maker for sig in registry for maker in self._makers(sig)]
        self.available, makers = self._possible(makers)
        self.makers = tuple(
            Maker(index, m.sig, m.slots, m.constants, m.refines, m.bound)
            for index, m in enumerate(self._useful(makers))
        )
        self.joins = any(len(maker.slots) > 1 for maker in self.makers)
        self._below: dict[Type, frozenset[Type]] = {}
        self.shared = self._shared()

    def carried(self, given: Type) -> tuple[tuple[Path, Type], ...]:
        """`carried`, remembered."""
        if given not in self._carried:
            self._carried[given] = carried(self.types, given)
        return self._carried[given]

    def uses(self, given: Type) -> list[tuple[Maker, int, Path, bool]]:
        """Every maker and slot that a value of type `given` can feed, with the path to take and whether by `each`."""
        found = []
        for path, type_ in self.carried(given):
            for maker in self.makers:
                for slot, param in enumerate(maker.slots):
                    each = feeds(self.types, param.type, type_)
                    if each is not None and not (each and maker.sig.returns.name == "list"):
                        found.append((maker, slot, path, each))
        return found

    def results(self, maker: Maker) -> tuple[Type, ...]:
        """The types a maker's result may have: its own, and a list of it when called once per element."""
        single = maker.sig.returns
        return (single,) if single.name == "list" else (single, list_of(single))

    def satisfies(self, wanted: Type, given: Type) -> Path | None:
        """The shortest path by which a result of type `given` yields `wanted`, or None."""
        return next((p for p, type_ in self.carried(given) if self.types.accepts(wanted, type_)), None)

    def makes(self, wanted: Wanted) -> bool:
        """True if some tool that can be called makes what is wanted, for what it is wanted; prices aside."""
        return any(
            self.satisfies(wanted.type, type_) is not None
            and (not wanted.capability or maker.sig.capability in wanted.capability)
            for maker in self.makers
            for type_ in self.results(maker)
        )

    def could_be(self, maker: Maker, result: Type, wanted: Wanted) -> bool:
        """True if a result of `maker` with type `result` is what is wanted, whatever inputs it derives from."""
        return (
            (not wanted.capability or maker.sig.capability in wanted.capability)
            and set(wanted.arguments) <= {(name, literal.value) for name, literal in maker.constants}
            and self.satisfies(wanted.type, result) is not None
        )

    def passed(self, maker: Maker, before: frozenset[Passed]) -> frozenset[Passed]:
        """The steps of `Wanted.through` behind a result of `maker`, given those behind its arguments."""
        return before | {
            (index, number)
            for index, wanted in enumerate(self.wanted)
            for number, step in enumerate(wanted.through)
            if maker.sig.capability in step and (number == 0 or (index, number - 1) in before)
        }

    def ancestors(self, wanted: Type) -> frozenset[Type]:
        """Every result type that may take part in making `wanted`, the last one included."""
        seen: set[Type] = set()
        queue = [t for t in self.available if self._may_be(wanted, t)]
        while queue:
            type_ = queue.pop()
            if type_ in seen:
                continue
            seen.add(type_)
            queue += self._arguments(type_)
        return frozenset(seen)

    def _arguments(self, type_: Type) -> frozenset[Type]:
        if type_ not in self._below:
            makers = [m for m in self.makers if type_ in self.results(m)]
            slots = [param.type for maker in makers for param in maker.slots]
            self._below[type_] = frozenset(t for t in self.available if any(self._may_be(s, t) for s in slots))
        return self._below[type_]

    def _may_be(self, wanted: Type, given: Type) -> bool:
        return any(
            feeds(self.types, wanted, t) is not None or self.types.accepts(wanted, t) for _, t in self.carried(given)
        )

    def _shared(self) -> frozenset[Type]:
        """Result types that two arguments of one call, or two outputs, may both derive from."""
        found: frozenset[Type] = frozenset()
        cached: dict[Type, frozenset[Type]] = {}
        for slots in [tuple(w.type for w in self.wanted), *(tuple(p.type for p in m.slots) for m in self.makers)]:
            seen: frozenset[Type] = frozenset()
            for slot in slots if len(slots) > 1 else ():
                below = cached.setdefault(slot, self.ancestors(slot))
                found |= seen & below
                seen |= below
        return found

    def _makers(self, sig: ToolSig) -> Iterable[Maker]:
        if sig.effects == "write":
            return
        fixed = {tuple((n, Literal(v)) for n, v in w.arguments if _takes(sig, n, v)) for w in self.wanted}
        for constants in sorted(fixed | {()}, key=repr):
            names = {name for name, _ in constants}
            bound = {p.name for p in sig.params if self.source_of(p) is not None} - names
            if any(_asks(sig, p) and p.name not in bound | names for p in sig.params):
                self.unasked.add(sig.name)
                continue
            slots = tuple(p for p in sig.params if p.name not in names and (p.required or p.name in bound))
            if slots:
                same = [i for i, p in enumerate(slots) if p.type == sig.returns]
                yield Maker(0, sig, slots, constants, same[0] if len(same) == 1 else None, frozenset(bound))

    def source_of(self, param: Param) -> str | None:
        """The input that `param` is named after, if any."""
        if param.name == param.type.name:
            return None
        given = (name for name in _names_of(param.name) if name in self.inputs)
        return next((name for name in given if self._may_be(param.type, self.inputs[name].type)), None)

    def _possible(self, makers: list[Maker]) -> tuple[tuple[Type, ...], list[Maker]]:
        """Types that can be made from the inputs (in a fixed order), and the makers that can be called at all."""
        available = list(dict.fromkeys(facts.type for facts in self.inputs.values()))
        waiting, able, grew = makers, list[Maker](), True
        while grew:
            grew, rest = False, list[Maker]()
            for maker in waiting:
                if all(any(self._may_be(p.type, t) for t in available) for p in maker.slots):
                    able.append(maker)
                    available += [t for t in self.results(maker) if t not in available and self._reachable(maker, t)]
                    grew = True
                else:
                    rest.append(maker)
            waiting = rest
        return tuple(available), able

    def _reachable(self, maker: Maker, result: Type) -> bool:
        """Lists arise only where some input is a list: keeps plans over single values free of list types."""
        return result == maker.sig.returns or any(f.type.name == "list" for f in self.inputs.values())

    def _useful(self, makers: list[Maker]) -> list[Maker]:
        """Only makers from whose results something wanted can be reached."""
        goals, kept, waiting, grew = [w.type for w in self.wanted], list[Maker](), makers, True
        while grew:
            grew, rest = False, list[Maker]()
            for maker in waiting:
                if any(self._may_be(goal, t) for goal in goals for t in self.results(maker)):
                    kept.append(maker)
                    goals += [p.type for p in maker.slots if p.type not in goals]
                    grew = True
                else:
                    rest.append(maker)
            waiting = rest
        order = {id(maker): position for position, maker in enumerate(makers)}
        return sorted(kept, key=lambda maker: order[id(maker)])


def _takes(sig: ToolSig, name: str, value: str | int | float | bool) -> bool:
    param = sig.param(name)
    return param is not None and (not param.choices or value in param.choices)


def _asks(sig: ToolSig, param: Param) -> bool:
    """True if `param` is a question about the tool's other arguments."""
    return param.name in QUESTIONS and param.required and sum(p.required for p in sig.params) > 1


def _names_of(param: str) -> tuple[str, ...]:
    """The names an input for `param` may have, nearest first."""
    return (param, *(name for name in QUESTIONS if name != param)) if param in QUESTIONS else (param,)


def _reserved(registry: RegistryView, inputs: Mapping[str, ValueFacts], wanted: tuple[Wanted, ...]) -> frozenset[str]:
    """Inputs that name a side parameter of some tool, unless that would leave nothing to work on."""
    side = {
        name
        for sig in registry
        if sum(p.required for p in sig.params) > 1
        for param in sig.params
        for name in _names_of(param.name)
        if name in inputs and param.name != param.type.name
        and feeds(registry.types, param.type, inputs[name].type) is not None
    } | {
        param.name
        for sig in registry
        for param in sig.params
        if not param.required and param.name in inputs and param.name != param.type.name
    }  # fmt: skip
    side -= {w.source for w in wanted}
    return frozenset(side) if len(side) < len(inputs) else frozenset()
