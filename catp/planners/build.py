"""From chosen terms to a plan that reads well: every call a named step, every wanted value an output."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from catp.planlang.lexer import KEYWORDS
from catp.planlang.nodes import Arg, Attempt, Input, Output, Plan, Ref, Step, StepName, step_refs
from catp.planlang.passes.rewrite import rename_ref, rename_step
from catp.planlang.registry_view import RegistryView, ToolSig, ValueFacts
from catp.planlang.types import BUILTIN_TYPES, Type
from catp.planners.protocol import Wanted
from catp.planners.terms import Feed, Term, TermSpace

__all__ = ["build_plan", "plan_name", "renamed"]

K = TypeVar("K")

STEP_NAMES = {
    "denoise": "clean",
    "deblur": "sharp",
    "upscale": "large",
    "ocr": "reading",
    "codes": "codes",
}
"""What the result of a capability is called where its type says little (`image`); others take the capability's name."""

_BUILTIN = {definition.name for definition in BUILTIN_TYPES}


def build_plan(
    space: TermSpace, picks: Sequence[Term | None], wanted: Sequence[Wanted], inputs: Mapping[str, ValueFacts],
    *, name: str | None, doc: str | None,
) -> Plan:  # fmt: skip
    """Return the plan that computes `picks[i]` for `wanted[i]` (None: left out), each shared call once.

    Inputs that nothing reads are left out. Step names are derived from the wanted names, capabilities and result
    types, never collide, and are the same every time.
    """
    calls = 0
    for term in picks:
        calls |= term.calls if term is not None else 0
    members = _ordered(space, picks, calls)
    names = _names(members, picks, wanted, inputs)
    steps = tuple(
        Step(StepName(names[id(t)]), (Attempt(t.maker.sig.name, _args(t, names)),))
        for t in members
        if t.maker is not None
    )
    outputs = []
    for term, want in zip(picks, wanted, strict=True):
        if term is not None:
            path = space.graph.satisfies(want.type, term.facts.type)
            assert path is not None
            outputs.append(Output(want.name, Ref(names[id(term)], path), want.optional))
    read = {feed.term.name for term in members for feed in term.feeds if feed.term.maker is None}
    given = tuple(Input(name_, facts.type) for name_, facts in inputs.items() if name_ in read)
    return Plan(steps, tuple(outputs), given, name=name, doc=doc)


def renamed(plan: Plan, registry: RegistryView, task: str) -> Plan:
    """Return a plan that a machine wrote (`n0`, `n1`, ..) with the names that `build_plan` would have chosen.

    Inputs that nothing reads are left out. The plan must be valid for `registry`.
    """
    whole = {str(output.ref.root): output.name for output in reversed(plan.outputs) if not output.ref.path}
    kinds: dict[str, str] = {}
    for step in plan.steps:
        sig = registry.get(step.attempts[0].tool)
        assert sig is not None, "a valid plan calls only tools that are there"
        kinds[step.name] = _kind(sig, sig.returns)
    names = _distinct(kinds, whole, {item.name for item in plan.inputs})
    steps = tuple(replace(rename_step(step, names), name=StepName(names[step.name])) for step in plan.steps)
    outputs = tuple(replace(output, ref=rename_ref(output.ref, names)) for output in plan.outputs)
    read = {ref.root for step in plan.steps for _, ref in step_refs(step)}
    inputs = tuple(item for item in plan.inputs if item.name in read)
    doc = " ".join(task.split()) or None
    return replace(plan, steps=steps, outputs=outputs, inputs=inputs, name=plan_name(task), doc=doc)


def plan_name(task: str) -> str | None:
    """A plan name from the first words of a task, or None: "clean up this scan" -> clean_up_this_scan."""
    words = re.findall(r"[a-z0-9]+", task.lower())[:4]
    name = "_".join(words)
    return _valid(name) if words else None


def _ordered(space: TermSpace, picks: Sequence[Term | None], calls: int) -> list[Term]:
    """Arguments before calls, and otherwise in the order in which the wanted values need them."""
    found: list[Term] = []

    def visit(term: Term) -> None:
        if term.maker is None or term in found:
            return
        for feed in term.feeds:
            visit(feed.term)
        found.append(term)

    for pick in picks:
        if pick is not None:
            visit(pick)
    assert len(found) == calls.bit_count()
    return found


def _args(term: Term, names: Mapping[int, str]) -> tuple[Arg, ...]:
    maker = term.maker
    assert maker is not None
    given: dict[str, Arg] = {}
    for param, feed in zip(maker.slots, term.feeds, strict=True):
        given[param.name] = Arg(_ref(feed, names), param.name, feed.each)
    for name, literal in maker.constants:
        given[name] = Arg(literal, name)
    found, positional = [], True
    for param in maker.sig.params:
        arg = given.get(param.name)
        if arg is None:
            positional = False
        else:
            plain = positional and isinstance(arg.value, Ref)
            found.append(Arg(arg.value, None if plain else arg.name, arg.each))
            positional = plain
    return tuple(found)


def _ref(feed: Feed, names: Mapping[int, str]) -> Ref:
    return Ref(names.get(id(feed.term), feed.term.name), feed.path)


def _names(
    members: Sequence[Term], picks: Sequence[Term | None], wanted: Sequence[Wanted], inputs: Mapping[str, ValueFacts]
) -> dict[int, str]:
    """A name for every call: the wanted name if the whole result is wanted, else what the call makes."""
    whole = {
        id(term): want.name
        for term, want in reversed(list(zip(picks, wanted, strict=True)))
        if term is not None and term.facts.type.required == want.type.required
    }
    kinds = {id(term): _kind(term.maker.sig, term.facts.type) for term in members if term.maker is not None}
    return _distinct(kinds, whole, inputs)


def _distinct(kinds: Mapping[K, str], whole: Mapping[K, str], inputs: Collection[str]) -> dict[K, str]:
    """A name for each call in turn: its own from `whole`, else its kind, with a number where that is taken."""
    taken = set(inputs) | set(whole.values())
    names: dict[K, str] = {}
    for key, kind in kinds.items():
        name = whole.get(key)
        if name is None or name in inputs or name in names.values():
            base = _valid(name or kind)
            name, number = base, 2
            while name in taken or name in names.values():
                name, number = f"{base}_{number}", number + 1
        names[key] = _valid(name)
    return names


def _kind(sig: ToolSig, type_: Type) -> str:
    if sig.capability in STEP_NAMES:
        return STEP_NAMES[sig.capability]
    inner = type_.item if type_.item is not None else type_
    if inner.name not in _BUILTIN:
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", inner.name).lower()
    return sig.capability or sig.name.rpartition(".")[2].partition("_")[0]


def _valid(name: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_]", "_", name)
    name = name[:1].lower() + name[1:]
    if not re.match(r"[a-z_]", name):
        name = f"v_{name}"
    return f"{name}_" if name in KEYWORDS else name
