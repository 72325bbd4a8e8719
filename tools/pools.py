"""Pools: other places where the functions of tools can run, such as the machines of a Ray cluster.

    agent = Agent(tools, pools={"gpu": RayPool("auto", num_gpus=1), "default": RayPool("auto")})

| `@pin` of the step | its calls run |
|---|---|
| none | in the pool `default`, if there is one and the tool runs in worker processes; else where the tool says |
| `"local"` | where the tool says, whatever pools there are |
| any other name | in the pool of that name |

A pool runs functions. A tool that is a program, an HTTP or an MCP service runs where it is: the `default` pool leaves
it alone, and pinning it to a pool is a mistake that `check_pin` reports before anything is spent.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from catp.planlang.errors import nearest
from catp.tools.backends import ProcessBackend
from catp.tools.errors import ToolUnavailable
from catp.tools.spec import ToolBackend, ToolSpec

__all__ = ["DEFAULT", "LOCAL", "Pool", "backend_in", "check_pin", "check_pools"]

DEFAULT = "default"
"""The pool of steps without `@pin`."""

LOCAL = "local"
"""The pin that keeps a step out of every pool."""


class Pool(Protocol):
    """Somewhere else to run the functions of tools.

    The backends of a pool report usage that means the same as that of a local call: what moving the call to another
    place costs is not the tool's. They must be cheap to get: `backend` is asked for every call.
    """

    def backend(self, spec: ToolSpec) -> ToolBackend:
        """Return what runs calls of this tool here; the same object for the same tool.

        Raises `ToolUnavailable`, saying why, if the tool cannot run in this pool. Connects to nothing. Whether the tool
        has what it needs (`ToolSpec.unavailable`) is asked where its calls run.
        """
        ...

    async def close(self) -> None:
        """Stop what runs and give everything back; the pool can be used again, and closing it twice is harmless."""
        ...


def backend_in(spec: ToolSpec, pin: str | None, pools: Mapping[str, Pool]) -> ToolBackend:
    """Return the backend for a call of `spec` in a step pinned to `pin`; raise `ToolUnavailable` if there is none."""
    if pin is None:
        pool = pools.get(DEFAULT)
        return spec.backend if pool is None or not isinstance(spec.backend, ProcessBackend) else pool.backend(spec)
    if pin == LOCAL:
        return spec.backend
    if pin not in pools:
        raise ToolUnavailable(spec.name, f"cannot run in the pool {pin!r}: there is no such pool")
    return pools[pin].backend(spec)


def check_pools(pools: Mapping[str, Pool]) -> None:
    """Raise `ValueError` if a pool has the name that means "in no pool"."""
    if LOCAL in pools:
        raise ValueError(f"no pool may be called {LOCAL!r}: @pin({LOCAL!r}) keeps a step out of every pool; rename it")


def check_pin(step: str, pin: str | None, specs: Iterable[ToolSpec], pools: Mapping[str, Pool]) -> None:
    """Raise `ValueError` if a step is pinned to a pool that is not there or that cannot run all its alternatives."""
    if pin is None or pin == LOCAL:
        return
    if pin not in pools:
        known = nearest(pin, pools) or f"known pools: {', '.join(sorted(pools)) or 'none'}"
        raise ValueError(f'step {step!r} has @pin("{pin}"), and there is no such pool; {known}')
    for spec in specs:
        try:
            pools[pin].backend(spec)
        except ToolUnavailable as error:
            raise ValueError(f'step {step!r} has @pin("{pin}"): {error}') from None
