"""Which calls may take a result that is there already, and under which key.

Results are kept for tools that say so (`@tool(cache="10m")`) and for steps that ask (`@cache`), as far as the effects
of the tool allow (`catp.tools.lifetime`). The key is the content of the call: tool, version, arguments.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import lru_cache
from typing import Any, Protocol

from catp.planlang.registry_view import ToolSig
from catp.planlang.types import TypeDef
from catp.runtime.codec import DecodeError, Encoded, decode, digest_arguments
from catp.runtime.flights import LARGE, Flights, Member
from catp.runtime.program import StepInfo
from catp.tools.contract import Contract
from catp.tools.errors import WrongResult
from catp.tools.lifetime import lifetime_in
from catp.tools.sizes import input_units, size_of
from catp.tools.spec import ToolSpec
from catp.tools.usage import Usage

__all__ = ["Keyed", "Reuse", "content_key", "life_of", "read_result"]


class Keyed(Member, Protocol):
    """A call that can have a key."""

    @property
    def spec(self) -> ToolSpec:
        """Its tool."""
        ...

    @property
    def args(self) -> Mapping[str, Any]:
        """What it is called with."""
        ...


def life_of(info: StepInfo, spec: ToolSpec) -> float | None:
    """Return how old a result may be for a call of this tool in this step, in seconds; None if it must be called."""
    if spec.cache_ttl_s is None and info.cache_ttl_s is None:
        return None
    return lifetime_in(spec.signature.effects, spec.cache_ttl_s, info.cache_ttl_s)


class Reuse:
    """Brings the calls of one run to the flights of their keys."""

    def __init__(self, flights: Flights, spawn: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._flights = flights
        self._spawn = spawn

    def join(self, call: Keyed) -> None:
        """Find out the key of a call, and let it join; a call without a key competes like any other."""
        try:
            large = input_units({name: size_of(value) for name, value in call.args.items()}) >= LARGE
        except Exception:  # an argument that raises when it is looked at
            large = False
        if large:
            self._spawn(self._join_later(call))
        else:
            self._join(call, _key(call))

    async def _join_later(self, call: Keyed) -> None:
        key = await asyncio.to_thread(_key, call)
        if not call.over:
            self._join(call, key)

    def _join(self, call: Keyed, key: str | None) -> None:
        if key is None:
            call.compete()
        else:
            self._flights.join(call, key)


def _key(call: Keyed) -> str | None:
    return content_key(call.spec, call.args)


def content_key(spec: ToolSpec, args: Mapping[str, Any]) -> str | None:
    """Return the key of a call by content; None if an argument has no exact encoding."""
    version = f"{spec.version}\n{spec.definition}" if spec.definition else spec.version
    return digest_arguments(spec.name, version, args)


def read_result(spec: ToolSpec, encoded: Encoded) -> Any:
    """Return a kept result of a tool.

    Raises:
        DecodeError: It cannot be read, or it is not what the tool promises (any more).
    """
    value = decode(encoded.codec or "", encoded.data)
    try:
        return _contract(spec.signature, spec.types).check_result(value, Usage())
    except WrongResult as error:
        raise DecodeError(str(error)) from None


@lru_cache(maxsize=256)
def _contract(signature: ToolSig, types: tuple[TypeDef, ...]) -> Contract:
    return Contract(signature, types)
