"""Functions that take an idempotency key: the `@key` of a step reaches a parameter that plans do not see."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from catp.planlang.registry_view import Effect
from catp.tools.spec import BackendResult, StartingBackend, ToolBackend

__all__ = ["KeyedFunction", "check_key"]


class KeyedFunction:
    """A function's backend that can hand the key on; without one the parameter keeps its default.

    The contract of `inner` must know `param` as its key (`Contract(..., key=param)`).
    """

    def __init__(self, inner: ToolBackend, param: str) -> None:
        self.inner, self.param = inner, param

    async def call(self, args: Mapping[str, Any], *, timeout: float) -> BackendResult:
        """Run one call without a key."""
        return await self.inner.call(args, timeout=timeout)

    async def call_with_key(self, args: Mapping[str, Any], *, timeout: float, key: str) -> BackendResult:
        """Run one call under an idempotency key."""
        return await self.inner.call({**args, self.param: key}, timeout=timeout)

    def warm(self) -> bool:
        """True if a call made now would find everything started."""
        return self.inner.warm() if isinstance(self.inner, StartingBackend) else True

    def places(self) -> int:
        """How many calls made at once would each have to start something."""
        return self.inner.places() if isinstance(self.inner, StartingBackend) else 1

    async def close(self) -> None:
        """Release what the function's backend holds."""
        await self.inner.close()


def check_key(function: Callable[..., Any], key: str | None, effects: Effect) -> None:
    """Raise `ValueError` if `key` names no parameter that can take an idempotency key."""
    if key is None:
        return
    if effects != "write":
        raise ValueError(f"key={key!r} is for effects='write'; a tool that changes nothing can simply be called again")
    param = inspect.signature(function).parameters.get(key)
    if param is None:
        raise ValueError(f"key={key!r} is no parameter of the function; add `{key}: str | None = None`")
    if param.default is param.empty or param.kind == param.POSITIONAL_ONLY:
        raise ValueError(
            f"parameter {key!r} takes the key, which plans may leave out: write `{key}: str | None = None`"
        )
