"""What the server's own catalogue says of tools: price rule, version, and which tools could stand in for one.

The catalogue is the one of the agent that the server would act with. It need not be the one with which the runs in the
store were made, so this is told apart from what was measured.
"""

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catp.tools.catalogue import Catalogue
    from catp.tools.spec import ToolSpec

__all__ = ["Declared"]

_log = logging.getLogger("catp.dashboard")


class Declared:
    """A catalogue that is made when it is first asked for; without one every answer is that nothing is known."""

    def __init__(self, make: "Callable[[], Catalogue]") -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: Catalogue | None = None
        self._asked = False

    def catalogue(self) -> "Catalogue | None":
        """Return the catalogue, None if it cannot be made; why not is in the log."""
        with self._lock:
            if not self._asked:
                self._asked = True
                try:
                    self._made = self._make()
                except Exception as error:  # pages about what was measured do without it
                    _log.warning("the server has no catalogue of tools: %s", error, exc_info=error)
            return self._made

    def of(self, name: str) -> dict[str, Any] | None:
        """Return what is declared of a tool, None if the catalogue does not have it."""
        spec = self._spec(name)
        if spec is None:
            return None
        return {
            "price": _rule(spec), "version": spec.version, "signature": str(spec.signature),
            "capability": spec.capability, "effects": spec.signature.effects, "accuracy": spec.accuracy,
            "description": spec.signature.description, "unavailable": spec.unavailable(),
        }  # fmt: skip

    def all(self) -> list[dict[str, Any]]:
        """Return name, price rule and version of every tool, and why one cannot be used here."""
        return [
            {"name": spec.name, "price": _rule(spec), "version": spec.version, "unavailable": spec.unavailable()}
            for spec in self.catalogue() or ()
        ]

    def rule(self, name: str) -> str | None:
        """Return the price rule of a tool in words, None if the catalogue does not have it."""
        spec = self._spec(name)
        return None if spec is None else _rule(spec)

    def alternatives(self, name: str) -> list[dict[str, Any]]:
        """Return the tools that take and return the same types, or are declared to be for the same."""
        own, found = self._spec(name), list[dict[str, Any]]()
        for spec in () if own is None else self.catalogue() or ():
            assert own is not None
            alike = _shape(spec) == _shape(own)
            if spec.name != own.name and (alike or (spec.capability and spec.capability == own.capability)):
                found.append({
                    "name": spec.name, "price": _rule(spec), "same_signature": alike, "capability": spec.capability,
                    "accuracy": spec.accuracy, "unavailable": spec.unavailable(),
                })  # fmt: skip
        return found

    def _spec(self, name: str) -> "ToolSpec | None":
        catalogue = self.catalogue()
        return catalogue.get(name) if catalogue is not None and name in catalogue else None


def _rule(spec: "ToolSpec") -> str:
    return spec.price.describe()


def _shape(spec: "ToolSpec") -> tuple[Any, ...]:
    """Types of what must be given, and of the result: names do not matter to a plan that calls by position."""
    return tuple(str(p.type) for p in spec.signature.params if p.required), str(spec.signature.returns)
