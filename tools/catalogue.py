"""The catalogue: an immutable set of tools with their types, prices and profiles.

catalogue = Catalogue([denoise, ocr], profiles=ProfileBook.load(path))
catalogue.search("read a scan"); catalogue.view(); catalogue.estimator()
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from catp.planlang.errors import nearest
from catp.planlang.registry_view import RegistryView
from catp.planlang.types import TypeTable
from catp.tools.errors import CatalogueError
from catp.tools.estimator import CatalogueEstimator
from catp.tools.profile import ProfileBook
from catp.tools.spec import ToolSpec

if TYPE_CHECKING:
    from catp.tools.decorator import Tool

__all__ = ["Catalogue"]

_WORDS = re.compile(r"[^\W_]+")


class Catalogue:
    """Tools by full name, in the order given (a plan's token ids are positions in it).

    Takes tools and specs alike. Only `profiles` may change: an agent that learns puts the book it has taught there.
    Raises `CatalogueError` if two share a name or define a type differently.
    """

    def __init__(self, tools: "Iterable[Tool[Any, Any] | ToolSpec]", profiles: ProfileBook | None = None) -> None:
        self.profiles = profiles if profiles is not None else ProfileBook()
        self._specs: dict[str, ToolSpec] = {}
        table = TypeTable()
        for item in tools:
            spec = _spec_of(item)
            if spec.name in self._specs:
                raise CatalogueError(f"two tools are called {spec.name!r}; give one of them a namespace or a name")
            self._specs[spec.name] = spec
            for definition in spec.types:
                try:
                    table = table.with_type(definition)
                except ValueError as error:
                    raise CatalogueError(f"tool {spec.name!r}: {error}; rename one of the two classes") from None
        self._types = table

    def get(self, name: str) -> ToolSpec:
        """Return the tool called `name`; raise `KeyError` naming the nearest one."""
        spec = self._specs.get(name)
        if spec is None:
            hint = nearest(name, self._specs)
            raise KeyError(f"unknown tool {name!r}" + (f"; {hint}" if hint else ""))
        return spec

    def __contains__(self, name: object) -> bool:
        return name in self._specs

    def __iter__(self) -> Iterator[ToolSpec]:
        return iter(self._specs.values())

    def __len__(self) -> int:
        return len(self._specs)

    def __repr__(self) -> str:
        return f"<Catalogue of {len(self)} tools, {self.digest[:12]}>"

    def search(self, text: str, *, limit: int = 10) -> tuple[ToolSpec, ...]:
        """Return the tools that match the words of `text`, best first: names weigh most, then capability and types."""
        words = set(_words(text))
        scored = [(score, -position, spec) for position, spec in enumerate(self) if (score := _score(spec, words))]
        return tuple(spec for *_, spec in sorted(scored, key=lambda entry: entry[:2], reverse=True)[:limit])

    def with_tools(self, *tools: "Tool[Any, Any] | ToolSpec") -> "Catalogue":
        """Return a catalogue that also has `tools`."""
        return Catalogue([*self, *tools], self.profiles)

    def with_profiles(self, profiles: ProfileBook) -> "Catalogue":
        """Return the same tools with other profiles."""
        return Catalogue(self, profiles)

    def namespace(self, prefix: str) -> "Catalogue":
        """Return only the tools below a namespace: `namespace("image")` keeps `image.denoise`."""
        dotted = prefix.rstrip(".") + "."
        return Catalogue([spec for spec in self if spec.name.startswith(dotted)], self.profiles)

    def available(self) -> "Catalogue":
        """Return only the tools that can run on this machine."""
        return Catalogue([spec for spec in self if spec.unavailable() is None], self.profiles)

    def view(self) -> RegistryView:
        """Return the frozen signatures and types that plans are checked against."""
        return self._view

    def estimator(self, *, live: bool = False) -> CatalogueEstimator:
        """Return the predictions for single calls of these tools: for quotes, or `live` ones for reservations."""
        return CatalogueEstimator(self._specs, self.profiles, live=live)

    @cached_property
    def digest(self) -> str:
        """A hex SHA-256 over signatures, types, versions, prices, limits and declared accuracy; not over profiles."""
        rest = [
            [s.name, s.version, s.capability, s.accuracy, s.price.describe(), repr(s.limits), s.signature.description]
            for s in self
        ]
        return hashlib.sha256(json.dumps([self._view.digest, rest], sort_keys=True).encode()).hexdigest()

    async def close(self) -> None:
        """Close every backend: idle worker processes end, connections are released. Calling it twice is harmless."""
        for spec in self:
            await spec.backend.close()

    @cached_property
    def _view(self) -> RegistryView:
        return RegistryView(tuple(spec.signature for spec in self), self._types)


def _spec_of(item: Any) -> ToolSpec:
    spec = getattr(item, "spec", item)
    if not isinstance(spec, ToolSpec):
        raise TypeError(f"a catalogue holds tools, got {item!r}; decorate the function with @tool")
    return spec


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORDS.findall(text)]


def _score(spec: ToolSpec, words: set[str]) -> int:
    signature = spec.signature
    types = [str(signature.returns), *(str(p.type) for p in signature.params)]
    fields = ((8, spec.name), (4, spec.capability), (2, " ".join(types)), (1, signature.description))
    score = 0
    for weight, text in fields:
        found = _words(text)
        score += weight * sum(2 if word in found else any(f.startswith(word) for f in found) for word in words)
    return score
