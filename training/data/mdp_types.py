"""Which value may go where while a plan is built, by the types of a toolset.

A value fits a parameter as it is, by one of its fields (`reading.text`), as one element of a list that the plan writes,
or, if it is a list, element by element (a mapped step, whose result is then a list). Without a toolset everything
fits everything.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache

from catp.planlang.registry_view import RegistryView, ToolSig
from catp.planlang.types import ANY, Type, TypeTable, list_of, parse_type
from catp.training.data.toolset import Toolset

__all__ = ["Types"]

_DEPTH = 2


class Types:
    """The types of one toolset; None for plans whose tools are not known."""

    def __init__(self, toolset: Toolset | None) -> None:
        self.view = RegistryView(()) if toolset is None else toolset.view()
        self.known = toolset is not None
        self.links = lru_cache(maxsize=65_536)(self._links)
        self.gives = lru_cache(maxsize=65_536)(self._gives)

    def parse(self, text: str) -> Type:
        """Read a type; one that cannot be read is `any`."""
        try:
            return parse_type(text)
        except ValueError:
            return ANY

    def _links(self, tool: str, given: Type) -> bool:
        """True if a tool may take a value of this type for one of its parameters."""
        sig = self.view.get(tool)
        return sig is None or self._direct(sig, given) or self._mapped(sig, given)

    def result(self, tool: str, used: Iterable[Type]) -> Type:
        """The type of a step's value: of a mapped step a list."""
        sig = self.view.get(tool)
        if sig is None:
            return ANY
        mapped = any(not self._direct(sig, type_) and self._mapped(sig, type_) for type_ in used)
        return list_of(sig.returns) if mapped else sig.returns

    def takes(self, tool: str) -> tuple[Type, ...]:
        """The types of a tool's parameters."""
        sig = self.view.get(tool)
        return () if sig is None else tuple(param.type for param in sig.params)

    def _gives(self, given: Type, wanted: Type) -> bool:
        """True if a value, or a field of it, is what was wanted."""
        if not self.known:
            return True
        return any(_fits(self.view.types, wanted, one) for one in _parts(self.view.types, given, _DEPTH))

    def _direct(self, sig: ToolSig, given: Type) -> bool:
        table = self.view.types
        return any(
            _fits(table, param.type, one) or _in_list(table, param.type, one)
            for one in _parts(table, given, _DEPTH)
            for param in sig.params
        )

    def _mapped(self, sig: ToolSig, given: Type) -> bool:
        table = self.view.types
        elements = (one.item for one in _parts(table, given, _DEPTH) if one.item is not None)
        return any(_fits(table, param.type, element) for element in elements for param in sig.params)


def _parts(table: TypeTable, given: Type, depth: int) -> Iterator[Type]:
    """A type and those of its fields."""
    yield given.required
    if depth:
        for _, field in table.fields(given.required):
            yield from _parts(table, field, depth - 1)


def _fits(table: TypeTable, wanted: Type, given: Type) -> bool:
    want, have = wanted.required, given.required
    return want == have or have.name == "any" or table.accepts(want, have)


def _in_list(table: TypeTable, wanted: Type, given: Type) -> bool:
    return wanted.item is not None and _fits(table, wanted.item, given)
