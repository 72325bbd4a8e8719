"""Places elsewhere where tools can run: what `@pin("pool")` names."""

from typing import Protocol

from catp.tools.spec import ToolBackend, ToolSpec

__all__ = ["Pool"]


class Pool(Protocol):
    """Runs calls of tools somewhere else than their own backend would."""

    def backend(self, spec: ToolSpec) -> ToolBackend:
        """Return the backend that runs `spec` in this pool; raise `ToolUnavailable` if it cannot run there."""
        ...

    async def close(self) -> None:
        """Stop everything that runs here and release it; calling it twice is harmless."""
        ...
