"""A model's adapters as the backend needs them: by the name clients ask for, and by digest of their content."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from catp.serving.server.backend import AdapterCard

if TYPE_CHECKING:
    from catp.serving.model.lora import AdapterStore, Loaded

__all__ = ["Adapters"]


class Adapters:
    """Names of adapters in front of the store that the runner computes with."""

    def __init__(self, store: "AdapterStore") -> None:
        self._store = store

    def load(self, name: str, path: str) -> AdapterCard:
        """Load an adapter, or the new content of one of the same name.

        Raises:
            Refused: it is no adapter, one of another base, or there is no room.
        """
        digest = self._store.load(name, Path(path))
        return next((card for card in self.cards() if card.name == name), AdapterCard(name, digest, path))

    def unload(self, name: str) -> None:
        """Stop taking requests for a name.

        Raises:
            Refused: there is none.
        """
        self._store.unload(name)

    def digest(self, name: str) -> str | None:
        """Return what a name means now, None if it means nothing."""
        return self._store.digest(name)

    def use(self, digest: str) -> Callable[[], None]:
        """Keep an adapter for a request; what is returned lets it go."""
        return self._store.use(digest)

    def cards(self) -> tuple[AdapterCard, ...]:
        """Return all that have a name."""
        return tuple(_card(loaded) for loaded in self._store.loaded())


def _card(loaded: "Loaded") -> AdapterCard:
    return AdapterCard(loaded.name, loaded.digest, str(loaded.folder), loaded.users)
