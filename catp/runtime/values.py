"""The values of a run: what inputs and steps gave, and how references, templates, lists and guards read them.

A value that is not there raises `Missing` with the reason. `ref?` turns that into `DROP`: the argument or list element
is then left out. Fields are read from mappings by key, from lists by index, and from anything else by attribute. A list
has the fields of its elements, as lists; an element that is None has None.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from catp.planlang.nodes import (
    Duration,
    ListValue,
    Literal,
    ObjectValue,
    Operator,
    OwnTest,
    Ref,
    Scalar,
    Template,
    Test,
    Usd,
    Value,
)
from catp.planlang.registry_view import Size
from catp.runtime.program import AttemptInfo, BoundArg
from catp.tools.sizes import size_of

__all__ = ["DROP", "Missing", "Values", "accepts"]

DROP: Final = object()

_SCALARS = frozenset({int, float, bool, type(None)})
_ONE = Size()

_OPERATORS: dict[Operator, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


class Missing(Exception):
    """A value is not there; the message says which and why."""


class Values:
    """Results by name. `why` explains a name that has none."""

    def __init__(self, inputs: Mapping[str, Any], why: Callable[[str], str]) -> None:
        self._values: dict[str, Any] = dict(inputs)
        self._elements: dict[str, list[Any]] = {}
        self._mapped: dict[tuple[str, int, int], Sequence[Any]] = {}
        self._sizes: dict[str, Size] = {}
        self._projected: dict[tuple[str, tuple[str | int, ...]], Any] = {}
        self._why = why

    def bind(self, name: str, value: Any) -> None:
        """Give a step its result."""
        self._values[name] = value

    def open_map(self, name: str, width: int) -> None:
        """Make room for the elements of a mapped step."""
        self._elements[name] = [DROP] * width

    def bind_element(self, name: str, element: int, value: Any) -> None:
        """Give one element of a mapped step its result."""
        self._elements[name][element] = value

    def close_map(self, name: str) -> None:
        """Make the elements that are there the step's result, in order."""
        self._values[name] = [value for value in self._elements.get(name, ()) if value is not DROP]

    def reset(self, name: str) -> None:
        """Forget what a step's earlier calls were made with and gave: another plan has another step of that name."""
        self._values.pop(name, None)
        self._elements.pop(name, None)
        self._mapped = {key: items for key, items in self._mapped.items() if key[0] != name}

    def snapshot(self) -> dict[str, Any]:
        """Every value there is, by name."""
        return dict(self._values)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def read(self, ref: Ref) -> Any:
        """Follow a reference; raise `Missing` if any part of the way is not there."""
        try:
            value = self._values[ref.root]
        except KeyError:
            raise Missing(f"`{ref.root}` is missing: {self._why(ref.root)}") from None
        if not ref.path:
            return value
        key = (ref.root, ref.path)
        if key in self._projected:
            return self._projected[key]
        projected = False
        for place, part in enumerate(ref.path):
            projected = projected or (_is_list(value) and isinstance(part, str))
            value = _part(value, part, ref, place)
        if projected:  # read once per call of a map otherwise, and as long as the list each time
            self._projected[key] = value
        return value

    def resolve(self, value: Value) -> Any:
        """Return what a plan value stands for, or `DROP` for a missing `ref?`."""
        kind = type(value)
        if kind is Ref:
            return self._resolve_ref(value)  # type: ignore[arg-type]  # kind says so; isinstance chains cost twice
        if isinstance(value, Literal):
            return _constant(value.value)
        if isinstance(value, Template):
            return "".join(part if isinstance(part, str) else _as_text(self._resolve_ref(part)) for part in value.parts)
        if isinstance(value, ListValue):
            items = [self.resolve(item) for item in value.items]
            return [item for item in items if item is not DROP]
        assert isinstance(value, ObjectValue)
        pairs = {key: self.resolve(item) for key, item in value.pairs}
        return {key: item for key, item in pairs.items() if item is not DROP}

    def width(self, step: str, attempt: int, info: AttemptInfo) -> int:
        """How many elements a mapped step has; raise `Missing` if its lists are missing or of different lengths."""
        widths: dict[str, int] = {}
        for place, arg in enumerate(info.args):
            if arg.each:
                widths[arg.name] = self._width_of(step, attempt, place, arg)
        if len(set(widths.values())) > 1:
            lengths = ", ".join(f"`{name}` has {width}" for name, width in widths.items())
            raise Missing(f"the lists to map over differ in length: {lengths}")
        return next(iter(widths.values()))

    def arguments(self, step: str, attempt: int, info: AttemptInfo, element: int | None) -> dict[str, Any]:
        """Return the keyword arguments of one call; raise `Missing` if one has no value."""
        found: dict[str, Any] = {}
        for place, arg in enumerate(info.args):
            if arg.each and element is not None:
                value = self._element_of(step, attempt, place, arg, element)
            else:
                value = self.resolve(arg.value)
            if value is not DROP:
                found[arg.name] = value
        return found

    def size(self, arg: BoundArg, value: Any) -> Size:
        """The size of an argument, worked out once per named value."""
        kind = type(value)
        if kind in _SCALARS:
            return _ONE
        if kind is str:
            return Size(len(value) or 1)
        ref = arg.value
        if arg.each or not isinstance(ref, Ref):
            return size_of(value)
        known = self._sizes.get(str(ref) if ref.path else ref.root)
        if known is None:
            known = self._sizes[str(ref) if ref.path else ref.root] = size_of(value)
        return known

    def holds(self, tests: Sequence[Test]) -> bool:
        """True if every test of a run guard is true; a missing `ref?` makes it false, any other is an error."""
        for test in tests:
            left = self._resolve_ref(test.ref)
            if _is_list(left) and (test.ref.root, test.ref.path) in self._projected:
                raise Missing(f"`{test.ref}` cannot be compared: it is that field of every element of a list")
            if left is DROP or not _compare(left, test.op, test.value, str(test.ref)):
                return False
        return True

    def _resolve_ref(self, ref: Ref) -> Any:
        if not ref.optional:
            return self.read(ref)
        try:
            value = self.read(ref)
        except Missing:
            return DROP
        return DROP if value is None else value

    def _width_of(self, step: str, attempt: int, place: int, arg: BoundArg) -> int:
        source = self._source(arg)
        return len(self._list(step, attempt, place, arg) if source is None else source)

    def _element_of(self, step: str, attempt: int, place: int, arg: BoundArg, element: int) -> Any:
        source = self._source(arg)
        items = self._list(step, attempt, place, arg) if source is None else source
        if element >= len(items):
            raise Missing(f"`{arg.name}` has no element {element}: its list has {len(items)}")
        value = items[element]
        if value is DROP:
            raise Missing(f"element {element} of `{arg.value}` was given up")
        if source is not None and arg.over is not None:
            for place, part in enumerate(arg.over.path):
                value = _inner(value, part, arg.over, place)
        return value

    def _source(self, arg: BoundArg) -> list[Any] | None:
        """The elements of a mapped step that is mapped over whole, matched by index even while some are to come."""
        return None if arg.over is None else self._elements.get(arg.over.root)

    def _list(self, step: str, attempt: int, place: int, arg: BoundArg) -> Sequence[Any]:
        key = (step, attempt, place)
        items = self._mapped.get(key)
        if items is None:
            value = self.resolve(arg.value)
            if value is DROP:
                raise Missing(f"the list `{arg.name}` to map over is missing")
            if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
                raise Missing(f"`{arg.name}` cannot be mapped over: it is {type(value).__name__}, not a list")
            items = self._mapped[key] = value
        return items


def accepts(value: Any, tests: Sequence[OwnTest]) -> str | None:
    """Return why an accept guard refuses a result, or None if every test holds."""
    for test in tests:
        ref = Ref("", test.path)
        shown = str(ref) or "the result"
        try:
            left = value
            for place, part in enumerate(test.path):
                left = _field(left, part, ref, place)
            if not _compare(left, test.op, test.value, shown):
                return f"not accepted: {shown} is {_short(left)}, wanted {test.op} {test.value.value!r}"
        except Missing as error:
            return f"not accepted: {error}"
    return None


def _is_list(value: Any) -> bool:
    # a named tuple is a sequence but has fields of its own
    return isinstance(value, list) or (
        isinstance(value, Sequence) and not isinstance(value, str | bytes | Mapping) and not hasattr(value, "_fields")
    )


def _part(value: Any, part: str | int, ref: Ref, place: int) -> Any:
    """One step of a path, into every element where it is a field of a list."""
    if isinstance(part, str) and _is_list(value):
        return [_inner(item, part, ref, place) for item in value]
    return _field(value, part, ref, place)


def _inner(item: Any, part: str | int, ref: Ref, place: int) -> Any:
    """One step of a path from an element of a list; from None it leads to None, so that elements keep their index."""
    return None if item is None else _part(item, part, ref, place)


def _field(value: Any, part: str | int, ref: Ref, place: int) -> Any:
    try:
        if isinstance(part, int):
            return value[part]
        if isinstance(value, Mapping):
            return value[part]
        if _is_list(value):
            raise AttributeError(part)  # what Python calls `list.count` is no field
        return getattr(value, part)
    except (LookupError, AttributeError, TypeError):
        so_far = Ref(ref.root, ref.path[:place])
        what = f"index {part}" if isinstance(part, int) else f"field `{part}`"
        raise Missing(f"`{so_far}` has no {what}: it is {_short(value)}") from None


def _compare(left: Any, op: Operator, right: Literal, shown: str) -> bool:
    wanted = _constant(right.value)
    try:
        return bool(_OPERATORS[op](left, wanted))
    except Exception:  # whatever a value's own comparison raises, the guard cannot hold
        raise Missing(f"`{shown}` cannot be compared: {_short(left)} {op} {_short(wanted)}") from None


def _constant(value: Scalar) -> Any:
    if isinstance(value, Usd):
        return value.nano
    if isinstance(value, Duration):
        return value.seconds
    return value


def _as_text(value: Any) -> str:
    if value is DROP or value is None:
        return ""
    if isinstance(value, str):
        return value
    text = getattr(value, "text", None)
    return text if isinstance(text, str) else str(value)


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, str | int | float | bool | None) else type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."
