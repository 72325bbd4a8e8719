"""The syntax tree: one immutable tree behind the text, JSON and token forms.

    Plan(name, doc, approve)
    ├─ inputs   Input(name, type, default)
    ├─ limits   Limits(cost, latency, calls)
    ├─ steps    Step(name, attempts, when, otherwise, notes)
    │             └─ Attempt(tool, args, accept)      `a(x) if .score >= 0.8 | b(x)`
    └─ outputs  Output(name, ref, optional)

Values are `Literal`, `Ref`, `Template`, `ListValue`, `ObjectValue`. Spans never take part in comparison, so two
plans are equal when they mean the same, wherever they were written.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal as Choice
from typing import NewType, TypeAlias

from catp.planlang.errors import Span
from catp.planlang.money import Money
from catp.planlang.types import Type

__all__ = [
    "NOTE_NAMES",
    "OPERATORS",
    "Arg",
    "Attempt",
    "Duration",
    "Input",
    "Limits",
    "ListValue",
    "Literal",
    "Note",
    "NoteArg",
    "ObjectValue",
    "Operator",
    "Output",
    "OwnTest",
    "Plan",
    "Ref",
    "Scalar",
    "Step",
    "StepName",
    "Template",
    "Test",
    "ToolName",
    "Usd",
    "Value",
    "refs_in",
    "step_refs",
]

StepName = NewType("StepName", str)
"""The name a step's result is bound to."""

ToolName = NewType("ToolName", str)
"""A tool's full, dotted name in its catalogue."""

Operator: TypeAlias = Choice["==", "!=", "<", "<=", ">", ">="]
OPERATORS: tuple[Operator, ...] = ("==", "!=", "<", "<=", ">", ">=")

NOTE_NAMES = (
    "retry", "timeout", "budget", "cache", "approve", "hedge", "quorum", "key", "after", "pin", "priority",
)  # fmt: skip
"""The closed set of annotations, in token order."""


@dataclass(frozen=True, slots=True)
class Usd:
    """A money literal, `$0.02`."""

    nano: Money


@dataclass(frozen=True, slots=True)
class Duration:
    """A duration literal, `300ms`, in whole nanoseconds so that every spelling is kept exactly."""

    ns: int

    @property
    def seconds(self) -> float:
        """The duration in seconds."""
        return self.ns / 1e9


Scalar: TypeAlias = str | int | float | bool | Usd | Duration | None


@dataclass(frozen=True, slots=True, eq=False)
class Literal:
    """A constant. `1`, `1.0` and `true` are three different literals, though Python calls them equal."""

    value: Scalar
    span: Span | None = field(default=None, repr=False)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Literal):
            return NotImplemented
        return type(self.value) is type(other.value) and self.value == other.value

    def __hash__(self) -> int:
        return hash((type(self.value), self.value))


@dataclass(frozen=True, slots=True)
class Ref:
    """A reference to an input or an earlier step, with a path of fields and indices: `page.lines[0]`.

    `optional` is the `?` of an argument or list element: drop it if the value is missing.
    """

    root: str
    path: tuple[str | int, ...] = ()
    optional: bool = False
    span: Span | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        steps = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in self.path)
        return f"{self.root}{steps}{'?' if self.optional else ''}"


@dataclass(frozen=True, slots=True)
class Template:
    """Text with references, `t"Hello {who}"`. Normal form: no empty and no two adjacent text parts."""

    parts: tuple["str | Ref", ...]
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ListValue:
    """`[a, b, "c"]`."""

    items: tuple["Value", ...]
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ObjectValue:
    """`{name: value}`; keys are unique and keep their order."""

    pairs: tuple[tuple[str, "Value"], ...]
    span: Span | None = field(default=None, compare=False, repr=False)


Value: TypeAlias = Literal | Ref | Template | ListValue | ObjectValue


@dataclass(frozen=True, slots=True)
class Arg:
    """One argument: positional if `name` is None; with `each`, one call per element of the list."""

    value: Value
    name: str | None = None
    each: bool = False
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class OwnTest:
    """`.confidence >= 0.8`: an accept guard on the call's own result; an empty path is the result itself."""

    path: tuple[str, ...]
    op: Operator
    value: Literal
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Test:
    """`lang.code != "en"`: a run guard on an earlier value."""

    ref: Ref
    op: Operator
    value: Literal
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call with its accept guards; the next attempt runs on error, timeout, refusal or a failed guard."""

    tool: ToolName
    args: tuple[Arg, ...] = ()
    accept: tuple[OwnTest, ...] = ()
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class NoteArg:
    """One argument of an annotation."""

    value: Value
    key: str | None = None
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Note:
    """An annotation such as `@retry(2, backoff=500ms)`; its name is one of `NOTE_NAMES`."""

    name: str
    args: tuple[NoteArg, ...] = ()
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Step:
    """One assignment: attempts in order, an optional run guard with its else value, and annotations."""

    name: StepName
    attempts: tuple[Attempt, ...]
    when: tuple[Test, ...] = ()
    otherwise: Ref | None = None
    notes: tuple[Note, ...] = ()
    span: Span | None = field(default=None, compare=False, repr=False)

    def note(self, name: str) -> Note | None:
        """The first annotation called `name`, or None."""
        return next((n for n in self.notes if n.name == name), None)

    @property
    def mapped(self) -> bool:
        """True if the step calls its tool once per element."""
        return any(arg.each for attempt in self.attempts for arg in attempt.args)


@dataclass(frozen=True, slots=True)
class Input:
    """A value the caller gives; `default` is used when it is left out."""

    name: str
    type: Type
    default: Value | None = None
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the plan asks not to exceed; it can only tighten what the caller allows."""

    cost: Usd | None = None
    latency: Duration | None = None
    calls: int | None = None
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Output:
    """A named result; `optional` outputs are the first to be given up when money or time is short."""

    name: str
    ref: Ref
    optional: bool = False
    span: Span | None = field(default=None, compare=False, repr=False)

    @staticmethod
    def default_name(ref: Ref) -> str:
        """The name of `out x.lines[0].text` when none is written: the last field, else the root."""
        return next((p for p in reversed(ref.path) if isinstance(p, str)), ref.root)


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole plan. Steps refer only to inputs and earlier steps, so a plan cannot loop.

    `approve` is the `@approve` of the `plan` line: somebody must agree to the priced plan before its first call.
    """

    steps: tuple[Step, ...] = ()
    outputs: tuple[Output, ...] = ()
    inputs: tuple[Input, ...] = ()
    limits: Limits = Limits()
    name: str | None = None
    doc: str | None = None
    approve: bool = False

    def step(self, name: str) -> Step:
        """Return the step called `name`; raise `KeyError` if there is none."""
        for step in self.steps:
            if step.name == name:
                return step
        raise KeyError(name)


def refs_in(value: Value) -> Iterator[Ref]:
    """Yield every reference inside a value, left to right."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, Template):
        yield from (part for part in value.parts if isinstance(part, Ref))
    elif isinstance(value, ListValue):
        for item in value.items:
            yield from refs_in(item)
    elif isinstance(value, ObjectValue):
        for _, item in value.pairs:
            yield from refs_in(item)


def step_refs(step: Step) -> Iterator[tuple[str, Ref]]:
    """Yield `(slot, ref)` for every reference of a step; slots are `arg:NAME|K`, `when`, `else` and `@NOTE`."""
    for attempt in step.attempts:
        for position, arg in enumerate(attempt.args):
            for ref in refs_in(arg.value):
                yield f"arg:{arg.name or position}", ref
    for test in step.when:
        yield "when", test.ref
    if step.otherwise is not None:
        yield "else", step.otherwise
    for note in step.notes:
        for note_arg in note.args:
            for ref in refs_in(note_arg.value):
                yield f"@{note.name}", ref
