"""Guards: which comparisons make sense, and which conditions can never hold.

Numbers, money, durations and text have an order (text by code point); bool and null only equal or differ; `json` and
`any` compare with everything because nobody knows what is in them.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from math import isfinite
from typing import Any, TypeAlias

from catp.planlang.nodes import Duration, Operator, Scalar, Usd
from catp.planlang.types import Type, TypeTable

__all__ = ["Condition", "holds", "incomparable", "satisfiable", "scalar_type"]

Condition: TypeAlias = tuple[Operator, Scalar]

_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "bool"),  # before int, which Python thinks it is
    (str, "text"),
    (int, "int"),
    (float, "number"),
    (Usd, "money"),
    (Duration, "duration"),
    (type(None), "null"),
)
_TYPES = {python: Type(name) for python, name in _KINDS}
_ORDERED = (Type("number"), Type("text"), Type("money"), Type("duration"))


def scalar_type(value: Scalar) -> Type:
    """The type of a literal: `1` is int, `1.0` number, `$1` money."""
    return _TYPES[type(value)]


def incomparable(types: TypeTable, given: Type, op: Operator, value: Scalar) -> str | None:
    """Say why a value of type `given` cannot be compared with a literal, or None if it can."""
    literal = scalar_type(value)
    equality = op in ("==", "!=")
    if literal.name in ("null", "bool") and not equality:
        return f"`{op}` needs a number, a text, an amount or a duration, not {literal}"
    if given.name in ("json", "any"):
        return None
    if literal.name == "null":
        return None if given.optional or given.name == "null" else f"is {given} and never null"
    wanted = given.required
    for kind in _ORDERED:
        if types.accepts(kind, literal):
            return None if types.accepts(kind, wanted) else f"is {given} and cannot be compared with {literal}"
    return None if types.accepts(literal, wanted) else f"is {given} and cannot be compared with {literal}"


def holds(value: Any, op: Operator, wanted: Any) -> bool:
    """Evaluate one comparison between two comparable plain values."""
    match op:
        case "==":
            return bool(value == wanted)
        case "!=":
            return bool(value != wanted)
        case "<":
            return bool(value < wanted)
        case "<=":
            return bool(value <= wanted)
        case ">":
            return bool(value > wanted)
        case ">=":
            return bool(value >= wanted)


def satisfiable(conditions: Sequence[Condition]) -> bool:
    """False if no value can meet all `conditions`; True also where that is not known (mixed kinds, ordered text)."""
    if len(conditions) < 2:
        return True
    plain = [(op, _plain(value)) for op, value in conditions]
    kinds = {type(value) for _, value in plain}
    if kinds <= {Fraction}:
        candidates: Iterable[Any] = _points(sorted({value for _, value in plain}))
    elif kinds == {bool}:
        candidates = (False, True)
    elif kinds == {str}:
        if any(op not in ("==", "!=") for op, _ in plain):
            return True
        candidates = (*(value for _, value in plain), None)  # None stands for any other text
    else:
        return True
    return any(all(holds(candidate, op, value) for op, value in plain) for candidate in candidates)


def _plain(value: Scalar) -> Any:
    if isinstance(value, Usd):
        return Fraction(value.nano)
    if isinstance(value, Duration):
        return Fraction(value.ns)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if isinstance(value, float) and not isfinite(value):
        return value
    return Fraction(value)  # exact, and no integer is too large for it


def _points(sorted_values: list[Fraction]) -> list[Fraction]:
    """Return every constant, a point between each two, and one beyond each end: enough to decide any such condition."""
    between = [(low + high) / 2 for low, high in pairwise(sorted_values)]
    return [*sorted_values, *between, sorted_values[0] - 1, sorted_values[-1] + 1]
