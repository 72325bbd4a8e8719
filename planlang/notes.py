"""Annotations: what each `@note` takes, and the typed `StepPolicy` the runtime and the estimate read from a step.

    @retry(2, backoff=500ms, on=["timeout"])   @timeout(5s)   @budget($0.10)   @cache(10m | off)   @approve
    @hedge(2s)   @quorum(0.8)   @key(t"book-{who}")   @after(a, b)   @pin("pool")   @priority(1)

`bind_note` gives arguments their parameter names, `note_problems` says what is wrong with a note on its own (names and
types of references inside it are the checker's business), `step_policy` reads all notes of a checked step.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from catp.planlang.errors import Diagnostic, PlanError, nearest
from catp.planlang.money import Money
from catp.planlang.nodes import NOTE_NAMES, Duration, ListValue, Literal, Note, NoteArg, Ref, Step, Usd, Value

__all__ = [
    "DEFAULT_BACKOFF_MS",
    "MAX_RETRIES",
    "NOTE_PARAMS",
    "NoteParam",
    "StepPolicy",
    "bind_note",
    "note_problems",
    "step_policy",
]

DEFAULT_BACKOFF_MS = 100.0
"""The wait before the first retry where `@retry` names none."""

MAX_RETRIES = 100
"""More retries than this are refused: they multiply what a step may cost."""


@dataclass(frozen=True, slots=True)
class NoteParam:
    """One parameter of an annotation. `read` returns the typed value, or None if the value does not fit."""

    name: str
    wanted: str
    read: Callable[[Value], Any]
    required: bool = True
    field: str = ""
    """The `StepPolicy` field it fills."""


@dataclass(frozen=True, slots=True)
class StepPolicy:
    """The annotations of one step, typed.

    Retries, timeout and backoff apply to every call of the step (each attempt, each element); all else to the step.
    """

    retries: int = 0
    """Calls repeated after an error, beyond the first. A failed accept guard is no error: the next attempt runs. A step
    that writes is only retried if it has a `@key`."""
    backoff_ms: float = DEFAULT_BACKOFF_MS
    """Wait before the first retry; it doubles with every further one."""
    retry_on: tuple[str, ...] = ()
    """Error types to retry (`"timeout"`, `"ValueError"`); empty means any."""
    timeout_s: float | None = None
    """Seconds one call may take."""
    budget: Money | None = None
    """What the step may cost in all."""
    cache_ttl: float | None = None
    """Seconds a result may be reused; 0 is `@cache(off)`, infinity is `@cache`, None leaves it to the runtime."""
    approve: bool = False
    """Wait for a person's yes before the step starts."""
    hedge_s: float | None = None
    """Start the next attempt if there is no answer after so many seconds; 0 starts all at once."""
    quorum: float | None = None
    """Share of elements that must succeed in a mapped step; None means all."""
    key: Value | None = None
    """Idempotency key, to be rendered as text."""
    after: tuple[str, ...] = ()
    """Steps that must have finished, in any state, before this one starts."""
    pin: str | None = None
    """Name of the worker pool to run in."""
    priority: int = 0
    """Higher runs first among steps that are ready."""


def _scalar(value: Value) -> object:
    return value.value if isinstance(value, Literal) else None


def _whole(value: Value) -> int | None:
    number = _scalar(value)
    return number if isinstance(number, int) and not isinstance(number, bool) else None


def _retries(value: Value) -> int | None:
    number = _whole(value)
    return number if number is not None and 0 <= number <= MAX_RETRIES else None


def _seconds(value: Value) -> float | None:
    length = _scalar(value)
    return length.seconds if isinstance(length, Duration) and length.ns >= 0 else None


def _positive_seconds(value: Value) -> float | None:
    return _seconds(value) or None


def _millis(value: Value) -> float | None:
    seconds = _seconds(value)
    return None if seconds is None else seconds * 1000.0


def _money(value: Value) -> Money | None:
    amount = _scalar(value)
    return amount.nano if isinstance(amount, Usd) and amount.nano > 0 else None


def _text(value: Value) -> str | None:
    text = _scalar(value)
    return text if isinstance(text, str) and text else None


def _texts(value: Value) -> tuple[str, ...] | None:
    texts = tuple(_text(item) for item in (value.items if isinstance(value, ListValue) else (value,)))
    found = tuple(text for text in texts if text is not None)
    return found if found and len(found) == len(texts) else None


def _share(value: Value) -> float | None:
    share = _scalar(value)
    if isinstance(share, bool) or not isinstance(share, int | float):
        return None
    return float(share) if 0 < share <= 1 else None


def _cache(value: Value) -> float | None:
    # `off` is spelled like a reference; in the normal form it is the text "off"
    if (isinstance(value, Ref) and value.root == "off" and not value.path) or _scalar(value) == "off":
        return 0.0
    return _positive_seconds(value)


def _step_name(value: Value) -> str | None:
    return value.root if isinstance(value, Ref) and not value.path and not value.optional else None


NOTE_PARAMS: Mapping[str, tuple[NoteParam, ...]] = {
    "retry": (
        NoteParam("n", f"a whole number from 0 to {MAX_RETRIES}", _retries, field="retries"),
        NoteParam("backoff", "a duration such as `500ms`", _millis, required=False, field="backoff_ms"),
        NoteParam("on", 'error types such as `["timeout"]`', _texts, required=False, field="retry_on"),
    ),
    "timeout": (NoteParam("d", "a duration above zero such as `3s`", _positive_seconds, field="timeout_s"),),
    "budget": (NoteParam("amount", "an amount above zero such as `$0.10`", _money, field="budget"),),
    "cache": (NoteParam("ttl", "a duration such as `10m`, or `off`", _cache, required=False, field="cache_ttl"),),
    "approve": (),
    "hedge": (NoteParam("d", "a duration such as `2s`", _seconds, field="hedge_s"),),
    "quorum": (NoteParam("share", "a share above 0 and up to 1 such as `0.8`", _share, field="quorum"),),
    "key": (NoteParam("value", "a text", lambda value: value, field="key"),),
    "after": (NoteParam("step", "the name of an earlier step", _step_name, field="after"),),
    "pin": (NoteParam("pool", 'the name of a pool such as `"gpu"`', _text, field="pin"),),
    "priority": (NoteParam("n", "a whole number", _whole, field="priority"),),
}
"""The parameters of every annotation, in order; `@after` repeats its only one."""


def bind_note(note: Note) -> tuple[dict[str, NoteArg], list[Diagnostic]]:
    """Give each argument of a known note its parameter name; what cannot be bound comes back as diagnostics.

    `@after` takes any number of steps: its arguments are not bound but kept under `step`, `step 2` and so on.
    """
    params = NOTE_PARAMS[note.name]
    bound: dict[str, NoteArg] = {}
    problems: list[Diagnostic] = []
    if note.name == "after":
        for position, arg in enumerate(note.args, start=1):
            bound["step" if position == 1 else f"step {position}"] = arg
            if arg.key is not None:
                problems.append(_bad(note, "`@after` takes steps without names", arg))
        return bound, problems
    names = [param.name for param in params]
    for position, arg in enumerate(note.args):
        if arg.key is None and position >= len(names):
            limit = f"at most {len(names)} argument{'s' * (len(names) != 1)}" if names else "no arguments"
            problems.append(_bad(note, f"`@{note.name}` takes {limit}", arg))
            break
        name = arg.key or names[position]
        if name not in names:
            problems.append(_bad(note, f"`@{note.name}` has no parameter `{name}`", arg, nearest(name, names)))
        elif name in bound:
            problems.append(_bad(note, f"`@{note.name}` is given `{name}` twice", arg))
        else:
            bound[name] = arg
    return bound, problems


def note_problems(note: Note) -> list[Diagnostic]:
    """Say what is wrong with one annotation by itself: an unknown name (E110) or malformed arguments (E111)."""
    if note.name not in NOTE_PARAMS:
        help_ = nearest(note.name, NOTE_NAMES) or "annotations are " + ", ".join(f"@{name}" for name in NOTE_NAMES)
        return [Diagnostic("E110", f"unknown annotation `@{note.name}`", note.span, help_)]
    bound, problems = bind_note(note)
    params = {param.name: param for param in NOTE_PARAMS[note.name]}
    for name, arg in bound.items():
        param = params[name.partition(" ")[0]]
        if param.read(arg.value) is None:
            problems.append(_bad(note, f"`@{note.name}` needs {param.wanted} for `{param.name}`", arg))
    missing = [name for name, param in params.items() if param.required and name not in bound]
    if missing and not problems:
        wanted = params[missing[0]].wanted
        problems.append(_bad(note, f"`@{note.name}` needs {wanted}", None, f"write `@{note.name}({missing[0]})`"))
    return problems


def step_policy(step: Step) -> StepPolicy:
    """Read the annotations of a step; raise `PlanError` if one is malformed (a compiled plan has none)."""
    if not step.notes:
        return _NO_NOTES
    fields: dict[str, Any] = {}
    for note in step.notes:
        problems = note_problems(note)
        if problems:
            raise PlanError(problems)
        if note.name == "approve":
            fields["approve"] = True
        elif note.name == "after":
            fields["after"] = tuple(dict.fromkeys(_step_name(arg.value) for arg in note.args))
        elif note.name == "cache" and not note.args:
            fields["cache_ttl"] = math.inf
        else:
            bound, _ = bind_note(note)
            for param in NOTE_PARAMS[note.name]:
                if param.name in bound:
                    fields[param.field] = param.read(bound[param.name].value)
    return StepPolicy(**fields)


def _bad(note: Note, message: str, arg: NoteArg | None, help_: str | None = None) -> Diagnostic:
    span = arg.span or arg.value.span or note.span if arg is not None else note.span
    return Diagnostic("E111", message, span, help_)


_NO_NOTES = StepPolicy()
