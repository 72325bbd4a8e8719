"""What an edge of a plan's graph carries: its port, and whether the type of its source fits where it goes.

A single value fits a list, because plans can write one; a list fits a single value where the events show a map.
"""

from collections.abc import Iterator

from catp.planlang.registry_view import ToolSig
from catp.planlang.types import Type, TypeTable, list_of, parse_type

__all__ = ["INPUT", "fits", "is_order", "may_pass", "port_of", "type_of"]

INPUT = "input"
"""Stands for any of the request's inputs."""
_DEPTH = 3


def port_of(edge: list[str]) -> str | None:
    """Return the parameter that the edge names, if it names one."""
    return edge[2] if len(edge) == 3 else None


def is_order(port: str | None) -> bool:
    """True if the edge carries no argument: a condition, another value, or an annotation."""
    return port is not None and (port in ("when", "else") or port.startswith("@"))


def may_pass(table: TypeTable, given: Type, target: ToolSig, port: str | None, mapped: bool) -> bool:
    """Tell whether a value of this type, or a field of it, may go to the parameter, or to any if `port` is None."""
    wanted = [param.type for param in target.params if port in (None, param.name)]
    return any(fits(table, want, type_) for type_ in _carried(table, given, mapped, _DEPTH) for want in wanted)


def fits(table: TypeTable, wanted: Type, given: Type) -> bool:
    """Tell whether a value may be passed as it is, or as a list of one."""
    want, have = wanted.required, given.required
    if want == have or table.accepts(want, have) or have.name == "any":
        return True
    return want.item is not None and table.accepts(want, list_of(have))


def type_of(text: str) -> Type:
    """Read a type; what cannot be read is a type of that name."""
    try:
        return parse_type(text)
    except ValueError:
        return Type(text)


def _carried(table: TypeTable, given: Type, mapped: bool, depth: int) -> Iterator[Type]:
    """The types an edge may carry: the value, its fields, and of a map the elements."""
    yield given.required
    if mapped and given.item is not None:
        yield from _carried(table, given.item, False, depth)
    if depth:
        for _, field in table.fields(given):
            yield from _carried(table, field, mapped, depth - 1)
