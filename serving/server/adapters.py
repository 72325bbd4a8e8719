"""What the backend asks of a model's adapters; `catp.serving.model.lora` has them."""

from collections.abc import Callable
from typing import Protocol

from catp.serving.server.backend import AdapterCard

__all__ = ["Adapters"]


class Adapters(Protocol):
    """Adapters by name and by digest of their content."""

    def load(self, name: str, path: str) -> AdapterCard:
        """Load an adapter, or the new content of one of the same name.

        Raises:
            Refused: it is no adapter, or one of another base.
        """
        ...

    def unload(self, name: str) -> None:
        """Stop taking requests for a name; raises `Refused` if there is none."""
        ...

    def digest(self, name: str) -> str | None:
        """Return what a name means now, None if it means nothing."""
        ...

    def use(self, digest: str) -> Callable[[], None]:
        """Keep an adapter for a request; what is returned lets it go."""
        ...

    def cards(self) -> tuple[AdapterCard, ...]:
        """Return all that have a name."""
        ...
