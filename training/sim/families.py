"""Which tasks a world has: what can be made from what, and tasks drawn from it.

Lists are handled element by element (`each`), so what can be made is a question of element types, except that summing
up needs a list and joins take single values.
"""

from collections.abc import Sequence

import numpy as np

from catp.planlang.types import Type, list_of
from catp.planners.protocol import Wanted
from catp.training.sim.task import SHAPES, Shape, Task
from catp.training.sim.tools import FILE, IMAGE, TEXT, Capability
from catp.training.sim.world import World

__all__ = ["makeable", "tasks", "useful"]

_NAMES = {"image": ("page", "photo"), "text": ("note", "memo"), "file": ("paper", "form")}
_LISTS = {"image": "pages", "text": "notes"}
_TRIES = 40


def tasks(world: World, count: int) -> list[Task]:
    """Return up to `count` different tasks of a world, by its seed; small worlds have fewer."""
    rng = np.random.default_rng([world.seed, world.size, 6])
    found: dict[tuple[object, ...], Task] = {}
    for number in range(count * _TRIES):
        if len(found) == count:
            break
        drawn = _draw(world, SHAPES[number % len(SHAPES)], rng)
        if drawn is not None:
            shape, inputs, wanted = drawn
            key = (inputs, wanted)
            if key not in found:
                kept = tuple(c.name for c in useful(world, [t for _, t in inputs], [w.type for w in wanted]))
                found[key] = Task(f"{world.id}-t{len(found)}", world, shape, inputs, wanted, kept)
    return list(found.values())


def makeable(world: World, inputs: Sequence[Type]) -> tuple[set[Type], list[Capability]]:
    """Return the element types that can be there, and the capabilities that can be used."""
    many = any(type_.item is not None for type_ in inputs)
    there = {type_.item if type_.item is not None else type_ for type_ in inputs}
    usable: list[Capability] = []
    grew = True
    while grew:
        grew = False
        for capability in world.capabilities:
            fits = many if capability.role == "reduce" else not many if capability.role == "join" else True
            if capability not in usable and fits and _needs(capability) <= there:
                usable.append(capability)
                there.add(_gives(capability))
                grew = True
    return there, [capability for capability in world.capabilities if capability in usable]


def useful(world: World, inputs: Sequence[Type], wanted: Sequence[Type]) -> list[Capability]:
    """Return the capabilities that can take part in making what is wanted."""
    _, usable = makeable(world, inputs)
    goals = {type_.item if type_.item is not None else type_ for type_ in wanted}
    kept: list[Capability] = []
    grew = True
    while grew:
        grew = False
        for capability in usable:
            if capability not in kept and _gives(capability) in goals:
                kept.append(capability)
                goals |= _needs(capability)
                grew = True
    return [capability for capability in usable if capability in kept]


def _needs(capability: Capability) -> set[Type]:
    return {type_.item if type_.item is not None else type_ for _, type_ in capability.params}


def _gives(capability: Capability) -> Type:
    """What a result can be used as: a `Reading` is used for its text."""
    return TEXT if capability.role == "read" else capability.returns


def _draw(
    world: World, shape: Shape, rng: np.random.Generator
) -> tuple[Shape, tuple[tuple[str, Type], ...], tuple[Wanted, ...]] | None:
    inputs = _inputs(world, shape, rng)
    _, usable = makeable(world, [type_ for _, type_ in inputs])
    single = list(dict.fromkeys(_gives(c) for c in usable if c.role not in ("join", "reduce")))
    ends = {role: [c.returns for c in usable if c.role == role] for role in ("join", "reduce")}
    if not single:
        return None
    if shape == "repeat":
        type_ = _some(single, 1, rng)[0]
        return (
            shape,
            inputs,
            tuple(Wanted(f"{_name(type_)}_{i}", type_, source=n) for i, (n, _) in enumerate(inputs, 1)),
        )
    if shape == "join":
        if not ends["join"]:
            return None
        types = _some(ends["join"], 1, rng) + _some(single, int(rng.integers(0, 2)), rng)
    elif shape == "map":
        types = [list_of(t) for t in _some(single, int(rng.integers(1, 3)), rng)]
        types += _some(ends["reduce"], int(rng.integers(0, 2)), rng)
    else:
        types = _some(single, 1 if shape == "chain" else int(rng.integers(2, 5)), rng)
        if shape == "fork" and len(types) < 2:
            return None
    optional = len(types) > 1 and rng.random() < 0.4
    last = len(types) - 1
    return shape, inputs, tuple(Wanted(_name(t), t, optional=optional and i == last) for i, t in enumerate(types))


def _inputs(world: World, shape: Shape, rng: np.random.Generator) -> tuple[tuple[str, Type], ...]:
    readable = [IMAGE, IMAGE, TEXT]
    if any(capability.params[0][1] == FILE for capability in world.capabilities) and shape not in ("map", "repeat"):
        readable.append(FILE)
    type_ = readable[int(rng.integers(len(readable)))]
    if shape == "map":
        return ((_LISTS[type_.name], list_of(type_)),)
    names = _NAMES[type_.name]
    if shape == "repeat":
        return tuple((name, type_) for name in names)
    if shape == "join" and type_ != FILE and rng.random() < 0.4:
        return ((_NAMES["image"][0], IMAGE), (_NAMES["text"][0], TEXT))
    return ((names[int(rng.integers(2))], type_),)


def _some(types: Sequence[Type], count: int, rng: np.random.Generator) -> list[Type]:
    order = rng.permutation(len(types))
    return [types[place] for place in order[:count]]


def _name(type_: Type) -> str:
    if type_.item is not None:
        return f"{_name(type_.item)}_list"
    return {"image": "picture", "text": "words"}.get(type_.name, type_.name.lower())
