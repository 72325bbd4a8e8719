"""What all importers share: reading JSON with clear complaints, legal names, references inside texts, step order.

A foreign plan names tools and steps as it likes, may list steps in any order and has no outputs. `Builder` gives every
step a legal, unique name, sorts steps so that values are defined above their use, and makes every result that no step
uses an output. Problems are collected; `finish` raises them together.
"""

import ast
import json
import math
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush
from typing import Any, NoReturn

from catp.planlang.errors import Diagnostic, PlanError
from catp.planlang.lexer import decode_source
from catp.planlang.nodes import (
    Arg,
    Attempt,
    Input,
    ListValue,
    Literal,
    Note,
    NoteArg,
    ObjectValue,
    Output,
    Plan,
    Ref,
    Step,
    StepName,
    Template,
    ToolName,
    Value,
    refs_in,
    step_refs,
)
from catp.planlang.registry_view import RegistryView
from catp.planlang.scalars import is_name, is_word
from catp.planlang.types import Type

__all__ = [
    "Builder",
    "decode_json",
    "input_type",
    "plain",
    "python_expression",
    "read_json",
    "read_text",
    "with_references",
]

MAX_DEPTH = 50
MAX_PROBLEMS = 50
_MAX_BITS = 13_000  # about as many digits as a plan's numbers may have
_MEDIA = {
    "image": ("jpg", "jpeg", "png", "gif", "bmp", "webp", "tif", "tiff"),
    "audio": ("wav", "mp3", "flac", "ogg", "m4a"),
    "file": ("mp4", "avi", "mov", "mkv", "webm", "pdf"),
}
_FILE_NAME = re.compile(r"[\w./:%~-]{1,200}\.([A-Za-z0-9]{3,4})\Z")


class Builder:
    """Collects the steps, inputs and problems of one import."""

    def __init__(self, registry: RegistryView | None = None) -> None:
        self.registry = registry
        self.inputs: dict[str, Input] = {}
        self.steps: list[Step] = []
        self.problems: list[Diagnostic] = []
        self._taken: set[str] = set()
        self._counts: dict[str, int] = {}
        self._tools: dict[str, str] = {}

    def problem(self, code: str, message: str, path: str, help: str | None = None) -> None:
        """Note one problem at a JSON pointer."""
        self.note(Diagnostic(code, message, None, help, path=path))

    def note(self, *problems: Diagnostic) -> None:
        """Note problems, up to `MAX_PROBLEMS` in all: nobody reads more, and each is rendered with its line."""
        self.problems += problems[: MAX_PROBLEMS - len(self.problems)]

    def tool(self, foreign: object, path: str) -> ToolName:
        """Return the plan's name for a foreign tool: the registry's if it has one, else the nearest legal name."""
        if not isinstance(foreign, str) or not foreign.strip():
            self.problem("E009", f"tool name expected, not {_shown(foreign)}", path)
            return ToolName("unknown")
        legal = self._registered(foreign) or _legal_tool(foreign)
        if not legal:
            self.problem("E104", f"tool name {_shown(foreign)} has no letter a plan can hold", path)
            return ToolName("unknown")
        if self._tools.setdefault(legal, foreign) != foreign:
            self.problem(
                "E104", f"tools {_shown(foreign)} and {_shown(self._tools[legal])} would both be called `{legal}`", path
            )
        return ToolName(legal)

    def name(self, wanted: str) -> StepName:
        """Return a legal name like `wanted` that no other step or input has."""
        stem = plain(wanted)
        stem = stem if is_name(stem) else f"{stem}_" if is_name(f"{stem}_") else f"s_{stem}".rstrip("_")
        count = self._counts.get(stem, 0) + 1
        candidate = stem if count == 1 else f"{stem}_{count}"
        while candidate in self._taken:
            count += 1
            candidate = f"{stem}_{count}"
        self._counts[stem] = count
        self._taken.add(candidate)
        return StepName(candidate)

    def input(self, key: str, wanted: str, type_: Type) -> Ref:
        """Return a reference to the input for `key`, made on first use and called like `wanted`."""
        if key not in self.inputs:
            self.inputs[key] = Input(self.name(wanted), type_)
        return Ref(self.inputs[key].name)

    def args(self, given: object, path: str, text: Callable[[str, str], Value]) -> tuple[Arg, ...]:
        """Return keyword arguments from a JSON object; `text` turns each text (and its pointer) into a value."""
        if not isinstance(given, dict):
            self.problem("E009", f"an object of arguments expected, not {_shown(given)}", path)
            return ()
        for key in given:
            if not is_word(key):
                self.problem("E105", f"argument name {_shown(key)} cannot be written in a plan", path, "rename it")
        return tuple(Arg(self.value(item, f"{path}/{key}", text), key) for key, item in given.items())

    def value(self, given: object, path: str, text: Callable[[str, str], Value], depth: int = 0) -> Value:
        """Return a plan value for a JSON value."""
        if depth > MAX_DEPTH:
            self.problem("E006", f"values nested deeper than {MAX_DEPTH}", path)
            return Literal(None)
        if isinstance(given, str):
            return text(given, path)
        if isinstance(given, (list, tuple)):
            return ListValue(tuple(self.value(item, f"{path}/{i}", text, depth + 1) for i, item in enumerate(given)))
        if isinstance(given, dict):
            pairs = [(str(key), self.value(item, f"{path}/{key}", text, depth + 1)) for key, item in given.items()]
            return ObjectValue(tuple(pairs))
        if given is None or isinstance(given, bool) or (isinstance(given, int) and given.bit_length() <= _MAX_BITS):
            return Literal(given)
        if isinstance(given, float) and math.isfinite(given):
            return Literal(given + 0.0)
        self.problem("E009", f"{_shown(given)} is not a value a plan can hold", path)
        return Literal(None)

    def literal(self, text: str, path: str) -> Value:
        """Return a text constant; lone surrogates are a problem."""
        if any("\ud800" <= character <= "\udfff" for character in text):
            self.problem("E008", "lone surrogate in a text", path)
            return Literal("")
        return Literal(text)

    def add(self, name: StepName, attempt: Attempt, after: Iterable[str] = ()) -> None:
        """Add a step; `after` names steps it must follow although it uses no value of theirs."""
        used = {ref.root for arg in attempt.args for ref in refs_in(arg.value)}
        order = [NoteArg(Ref(other)) for other in dict.fromkeys(after) if other not in used]
        self.steps.append(Step(name, (attempt,), notes=(Note("after", tuple(order)),) if order else ()))

    def finish(self, *, source: str | None = None, name: str | None = None) -> Plan:
        """Return the plan, or raise `PlanError` with everything that was wrong."""
        if not self.steps and not self.problems:
            self.problem("E113", "no tool call found", "", "a plan needs at least one step")
        if self.problems:
            raise PlanError(self.problems, source)
        steps = self._sorted()
        used = {ref.root for step in steps for slot, ref in step_refs(step) if slot != "@after"}
        outputs = tuple(Output(step.name, Ref(step.name)) for step in steps if step.name not in used)
        legal = name if name is not None and is_name(name) else None
        return Plan(steps, outputs, tuple(self.inputs.values()), name=legal)

    def _registered(self, foreign: str) -> str | None:
        if self.registry is None:
            return None
        if self.registry.get(foreign) is not None:
            return foreign
        alike = [signature.name for signature in self.registry if plain(signature.name) == plain(foreign)]
        return alike[0] if len(alike) == 1 else None

    def _sorted(self) -> tuple[Step, ...]:
        """Order steps by dependency, keeping the given order where it is free."""
        place = {str(step.name): index for index, step in enumerate(self.steps)}
        waits: list[int] = []
        unblocks: list[list[int]] = [[] for _ in self.steps]
        for index, step in enumerate(self.steps):
            needed = {place[ref.root] for _, ref in step_refs(step) if ref.root in place}
            waits.append(len(needed))
            for other in needed:
                unblocks[other].append(index)
        ready = [index for index, count in enumerate(waits) if count == 0]
        ordered: list[Step] = []
        while ready:
            index = heappop(ready)
            ordered.append(self.steps[index])
            for other in unblocks[index]:
                waits[other] -= 1
                if waits[other] == 0:
                    heappush(ready, other)
        if len(ordered) < len(self.steps):
            circle = [f"`{step.name}`" for step, count in zip(self.steps, waits, strict=True) if count][:8]
            raise PlanError(
                [Diagnostic("E101", f"steps wait for each other: {', '.join(circle)}", None, "break it up")]
            )
        return tuple(ordered)


def with_references(text: str, pattern: re.Pattern[str], resolve: Callable[[re.Match[str]], Ref | None]) -> Value | str:
    """Return a `Ref` if `text` is one reference, a `Template` if it contains some, else the text itself.

    `resolve` may return None for something that only looks like a reference.
    """
    parts: list[str | Ref] = []
    pending, at = "", 0
    for match in pattern.finditer(text):
        ref = resolve(match)
        if ref is None:
            continue
        pending += text[at : match.start()]
        at = match.end()
        if pending:
            parts.append(pending)
        parts.append(ref)
        pending = ""
    if not parts:
        return text
    if rest := text[at:]:
        parts.append(rest)
    return parts[0] if len(parts) == 1 and isinstance(parts[0], Ref) else Template(tuple(parts))


def input_type(text: str) -> Type | None:
    """Return the type of the file that `text` names (`image` for `a/b.jpg`), or None if it names none."""
    match = _FILE_NAME.fullmatch(text)
    suffix = match[1].lower() if match else ""
    return next((Type(name) for name, suffixes in _MEDIA.items() if suffix in suffixes), None)


def plain(text: str) -> str:
    """Return `text` in lower case with everything but ASCII letters and digits as single underscores."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def read_text(data: str | bytes) -> str:
    """Return the text of a source; raise `PlanError` if it is too large or not UTF-8."""
    text, problem = decode_source(data)
    if problem is not None:
        raise PlanError([problem])
    return text


def read_json(data: object) -> Any:
    """Return the JSON value of a text, or `data` itself if it is one already; raise `PlanError` E009 if malformed."""
    if isinstance(data, (str, bytes)):
        return decode_json(read_text(data))
    _bounded(data, "")
    return data


def python_expression(text: str) -> ast.Expression | None:
    """Parse a Python expression without running it; None if it is not one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # doubtful escapes such as "\d" are the author's business
        try:
            return ast.parse(text, mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def decode_json(text: str, path: str = "") -> Any:
    """Parse JSON strictly: no doubled keys, no NaN, bounded depth. Raise `PlanError` E009 naming the place."""
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        place = f"{path}:{error.lineno}:{error.colno}" if path else f"{error.lineno}:{error.colno}"
        raise PlanError([Diagnostic("E009", f"not valid JSON: {error.msg}", None, path=place)], text) from None
    except RecursionError:
        raise PlanError([Diagnostic("E006", "JSON nested too deep", None, path=path or None)], text) from None
    except ValueError as error:
        raise PlanError([Diagnostic("E009", f"not valid JSON: {error}", None, path=path or None)], text) from None
    _bounded(value, path)
    return value


def _bounded(value: object, path: str) -> None:
    """Refuse what later steps could only walk by exhausting the call stack."""
    stack = [(value, 0)]
    while stack:
        item, depth = stack.pop()
        if depth > 2 * MAX_DEPTH:
            raise PlanError([Diagnostic("E006", f"JSON nested deeper than {2 * MAX_DEPTH}", None, path=path or None)])
        if isinstance(item, dict):
            stack += [(inner, depth + 1) for inner in item.values()]
        elif isinstance(item, (list, tuple)):
            stack += [(inner, depth + 1) for inner in item]


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} occurs twice in one object")
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON value")


def _legal_tool(foreign: str) -> str:
    parts = foreign.split(".")
    if is_name(parts[0]) and all(map(is_word, parts)):
        return foreign
    flat = plain(foreign)
    return flat if not flat or is_name(flat) else f"{flat}_" if is_name(f"{flat}_") else f"tool_{flat}"


def _shown(value: object) -> str:
    text = repr(value) if not isinstance(value, int) or value.bit_length() < 200 else "a very large number"
    return text if len(text) <= 60 else text[:57] + "..."
