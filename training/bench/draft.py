"""Drafts: a task family's plan with open places ("slots"), each to be filled with one of several tools.

    def read_and_tell(d: Draft) -> None:
        clean = d.restore("clean", "page", PAGE_CHAINS)        # a chain of restoring tools, or none
        reading = d.call("reading", OCR, image=clean)
        d.out("text", f"{reading}.text")
        if d.include("language"):                              # an optional output: there, or left out
            d.out("language", d.call("language", LANGUAGE, text=f"{reading}.text"), optional=True)

Following the function with a choice per slot gives a plan; following it with the first choice everywhere tells which
slots there are. What is chosen in one slot never changes which others exist, except below an output left out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from catp.planlang.nodes import Plan
from catp.planlang.parser import parse

__all__ = ["Choice", "Draft", "Option", "PlanFunction", "draft_plan", "slots_of"]

Option: TypeAlias = tuple[str, ...]
"""What fills a slot: tools to call one after the other; `()` for none, `("skip",)` for an output left out."""

Choice: TypeAlias = Mapping[str, Option]

KEEP: Option = ("keep",)
SKIP: Option = ("skip",)


@dataclass
class Draft:
    """Collects the lines of one plan. `choice` fills slots; those it does not name take their first option."""

    inputs: Mapping[str, str]
    """Name and type of each input."""
    choice: Choice = field(default_factory=dict)
    slots: dict[str, tuple[Option, ...]] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)

    def restore(
        self, slot: str, source: str, chains: Sequence[Option], *, each: bool = False, param: str = "image"
    ) -> str:
        """Call the slot's chain of tools on `source`; return the name of the result, `source` itself for no tool."""
        for number, tool in enumerate(self.fill(slot, chains)):
            name = slot if number == 0 else f"{slot}_{number + 1}"
            source = self.line(name, f"{tool}({param}={'each ' if each else ''}{source})")
        return source

    def call(self, slot: str, tools: Sequence[str], **args: str) -> str:
        """Call the slot's tool; arguments are written as the plan language has them. Returns the step's name."""
        (tool,) = self.fill(slot, [(name,) for name in tools])
        return self.line(slot, f"{tool}({', '.join(f'{name}={value}' for name, value in args.items())})")

    def include(self, output: str) -> bool:
        """Whether an optional output is asked of this plan; a slot of its own."""
        return self.fill(f"with_{output}", (KEEP, SKIP)) == KEEP

    def out(self, name: str, ref: str, *, optional: bool = False) -> None:
        """Declare an output."""
        self.outputs.append(f"{name} = {ref}{'?' if optional else ''}")

    def line(self, name: str, call: str) -> str:
        """Add a step and return its name."""
        self.lines.append(f"{name} = {call}")
        return name

    def fill(self, slot: str, options: Sequence[Option]) -> Option:
        """Note a slot with its options, and return what this draft's choice puts there."""
        self.slots[slot] = tuple(options)
        return self.choice.get(slot, options[0])

    def plan(self) -> Plan:
        """Return the plan; inputs that nothing reads are left out."""
        body = "\n".join(self.lines)
        head = [f"in {name}: {type_}" for name, type_ in self.inputs.items()]
        return parse("\n".join([*head, body, f"out {', '.join(self.outputs)}"]))


PlanFunction: TypeAlias = Callable[[Draft], None]


def slots_of(
    inputs: Mapping[str, str], function: PlanFunction, choice: Choice | None = None
) -> dict[str, tuple[Option, ...]]:
    """Return the slots that are met under a choice and what may fill them, in order; without one, all there are."""
    draft = Draft(inputs, choice or {})
    function(draft)
    return draft.slots


def draft_plan(inputs: Mapping[str, str], function: PlanFunction, choice: Choice) -> Plan:
    """Return the plan that a choice makes."""
    draft = Draft(inputs, choice)
    function(draft)
    return draft.plan()
