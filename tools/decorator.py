"""`@tool`: a typed function becomes a tool with a price.

    @tool(capability="denoise", price=ComputePrice(), timeout=30)
    def denoise_median(image: Image.Image, size: int = 3) -> Image.Image: ...

The function stays callable as it was; `.spec` is what a catalogue takes. Functions that yield return lists.
"""

import functools
import inspect
import math
import re
import typing
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from typing import Any, Generic, Literal, ParamSpec, TypeAlias, TypeVar, overload

from catp.planlang.nodes import ToolName
from catp.planlang.registry_view import Effect, Param, ToolSig
from catp.planlang.types import TypeDef
from catp.tools.annotations import Resolved, resolve, to_value
from catp.tools.backends import AsyncBackend, ProcessBackend, ThreadBackend
from catp.tools.contract import Contract
from catp.tools.errors import ToolDefinitionError
from catp.tools.keyed import KeyedFunction, check_key
from catp.tools.lifetime import Lifetime, check_lifetime, definition_of, lifetime
from catp.tools.price import ComputePrice, Unpriced
from catp.tools.spec import ToolBackend, ToolLimits, ToolSpec
from catp.tools.target import Target
from catp.tools.usage import PriceModel
from catp.tools.workers import Job, WorkerPool

__all__ = ["Placement", "Tool", "full_name", "tool"]

P = ParamSpec("P")
R = TypeVar("R")

Placement: TypeAlias = Literal["process", "thread", "async"]
"""Where calls run; see `catp.tools.backends`."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_YIELDING = (Iterator, Iterable, Generator, AsyncIterator, AsyncIterable, AsyncGenerator)
_EFFECTS = typing.get_args(Effect)


class Tool(Generic[P, R]):
    """A function with a `spec`. Calling it calls the function, unmetered and free of charge."""

    def __init__(self, function: Callable[P, R], spec: ToolSpec) -> None:
        self.function = function
        self.spec = spec
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Tool {self.spec.signature}>"


@overload
def tool(function: Callable[P, R], /) -> Tool[P, R]: ...
@overload
def tool(
    *,
    capability: str = ...,
    effects: Effect = ...,
    price: PriceModel | None = ...,
    accuracy: float | None = ...,
    timeout: float = ...,
    concurrency: int | None = ...,
    rate: float | None = ...,
    placement: Placement | None = ...,
    version: str = ...,
    namespace: str = ...,
    name: str | None = ...,
    unavailable: Callable[[], str | None] | None = ...,
    cache: Lifetime = ...,
    key: str | None = ...,
    params: Mapping[str, str] | None = ...,
    setup: Callable[[], object] | None = ...,
    family: str | None = ...,
    pool: WorkerPool | None = ...,
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    capability: str = "",
    effects: Effect = "pure",
    price: PriceModel | None = None,
    accuracy: float | None = None,
    timeout: float = 60.0,
    concurrency: int | None = None,
    rate: float | None = None,
    placement: Placement | None = None,
    version: str = "1",
    namespace: str = "",
    name: str | None = None,
    unavailable: Callable[[], str | None] | None = None,
    cache: Lifetime = False,
    key: str | None = None,
    params: Mapping[str, str] | None = None,
    setup: Callable[[], object] | None = None,
    family: str | None = None,
    pool: WorkerPool | None = None,
) -> Any:
    """Turn a function with annotations into a `Tool`. `@tool` alone is `@tool()`.

    Args:
        function: What `@tool` without brackets stands above.
        capability: What it is for; tools with the same capability are rivals.
        effects: `pure`, `read` or `write`; write tools are never repeated or started early.
        price: Default: CPU time for `process`, unpriced otherwise.
        accuracy: Declared accuracy in [0, 1] until one is measured.
        timeout: Seconds per call.
        concurrency: Calls at once, if limited.
        rate: Calls per second, if limited.
        placement: Default: `async` for coroutine functions, `process` otherwise.
        version: Change it when results or cost change: profiles and cached results are kept per version.
        namespace: Prefix of the full name, `namespace.name`.
        name: Default: the function's name.
        unavailable: Returns why the tool cannot run here, or None.
        cache: How long a result may be used again for the same arguments: `"10m"`, seconds, or True for ever, which
            only `pure` tools may say; `write` tools may say nothing.
        key: The parameter that takes the step's `@key`, so that a call made twice acts once. Not part of the signature;
            only for `write`, and it must have a default.
        params: Descriptions of parameters.
        setup: Run once per worker process before the first call (load a model there and keep it in a module-level
            cache); metered as cold start. Only for `process`.
        family: Process tools with the same family share worker processes, and their memory. Default: the full name.
        pool: Worker processes to use instead of the shared ones.

    Raises:
        ToolDefinitionError: The function cannot be a tool; the message says what to change.
    """

    def decorate(function: Callable[P, R]) -> Tool[P, R]:
        place: Placement = placement or ("async" if _is_async(function) else "process")
        try:
            full = full_name(name or str(getattr(function, "__name__", "")), namespace)
            signature, types = _signature(function, full, effects, capability, params or {}, key)
            check_key(function, key, effects)
            _check_numbers(accuracy, timeout, concurrency, rate)
            ttl_s = lifetime(cache)
            check_lifetime(effects, ttl_s)
            contract = Contract(signature, types, key=key)
            backend = _backend(place, contract, function, setup, family, pool)
            backend = backend if key is None else KeyedFunction(backend, key)
        except (TypeError, ValueError) as error:
            where = f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', function)}"
            raise ToolDefinitionError(f"{where} cannot be a tool: {error}") from None
        spec = ToolSpec(
            signature=signature,
            backend=backend,
            price=price if price is not None else ComputePrice() if place == "process" else Unpriced(),
            limits=ToolLimits(concurrency, rate, timeout),
            version=version,
            capability=capability,
            accuracy=accuracy,
            types=types,
            unavailable=unavailable or _always_available,
            cache_ttl_s=ttl_s,
            definition="" if ttl_s is None else _source_of(function),
        )
        return Tool(function, spec)

    return decorate if function is None else decorate(function)


def full_name(name: str, namespace: str = "") -> ToolName:
    """Return `namespace.name`; raise `ValueError` if a plan could not write it."""
    full = f"{namespace}.{name}" if namespace else name
    if not _NAME.fullmatch(full):
        raise ValueError(f"{full!r} is no tool name; use letters, digits and _ , with dots between namespaces")
    return ToolName(full)


def _source_of(function: Callable[..., Any]) -> str:
    """A digest of the function's own source, so that a result is not used again after its function was edited."""
    try:
        return definition_of(inspect.getsource(function))
    except (OSError, TypeError):  # typed in, or made by a program
        return ""


def _always_available() -> None:
    return None


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _backend(
    place: Placement, contract: Contract, function: Callable[..., Any], setup: Callable[[], object] | None,
    family: str | None, pool: WorkerPool | None,
) -> ToolBackend:  # fmt: skip
    if place == "process":
        try:
            target, prepare = Target.of(function), Target.of(setup) if setup else None
        except ValueError as error:
            raise ValueError(f"{error}; move it to module level or choose placement='thread'") from None
        tool_name = contract.signature.name
        return ProcessBackend(contract, Job(tool_name, family or tool_name, target, prepare), pool)
    if setup is not None or family is not None or pool is not None:
        raise ValueError("setup, family and pool are for placement='process'")
    if place == "async":
        if not _is_async(function):
            raise ValueError("placement='async' needs an `async def`")
        return AsyncBackend(contract, function)
    if place != "thread":
        raise ValueError(f"placement must be 'process', 'thread' or 'async', got {place!r}")
    if _is_async(function):
        raise ValueError("placement='thread' is for plain functions; leave placement out for an `async def`")
    return ThreadBackend(contract, function)


def _signature(
    function: Callable[..., Any], name: ToolName, effects: Effect, capability: str, notes: Mapping[str, str],
    key: str | None,
) -> tuple[ToolSig, tuple[TypeDef, ...]]:  # fmt: skip
    if effects not in _EFFECTS:
        raise ValueError(f"effects must be 'pure', 'read' or 'write', got {effects!r}")
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise TypeError(f"an annotation cannot be evaluated: {error}; import it outside TYPE_CHECKING") from None
    raw = inspect.signature(function).parameters
    unknown = set(notes) - set(raw)
    if unknown:
        raise ValueError(f"params describes {min(unknown)!r}, which is no parameter")
    types: list[TypeDef] = []
    params = tuple(_param(p, hints, notes.get(p.name, ""), types) for p in raw.values() if p.name != key)
    if "return" not in hints:
        raise TypeError("the return annotation is missing; write `-> str` or another type")
    returns = _returns(function, hints["return"])
    types += [d for d in returns.defs if d not in types]
    description = " ".join((inspect.getdoc(function) or "").partition("\n\n")[0].split())
    return ToolSig(name, params, returns.type, effects, description, capability), tuple(types)


def _param(raw: inspect.Parameter, hints: Mapping[str, Any], note: str, types: list[TypeDef]) -> Param:
    if raw.kind in (raw.VAR_POSITIONAL, raw.VAR_KEYWORD):
        star = "*" if raw.kind == raw.VAR_POSITIONAL else "**"
        raise TypeError(f"parameter {star}{raw.name} takes any number of arguments; use a list parameter instead")
    if raw.kind == raw.POSITIONAL_ONLY:
        raise TypeError(f"parameter {raw.name!r} is positional-only; plans pass arguments by name")
    if raw.name not in hints:
        raise TypeError(f"parameter {raw.name!r} has no annotation; write `{raw.name}: str` or another type")
    try:
        found = resolve(hints[raw.name])
    except TypeError as error:
        raise TypeError(f"parameter {raw.name!r}: {error}") from None
    types += [d for d in found.defs if d not in types]
    required = raw.default is raw.empty
    default = None if required else to_value(raw.default)
    return Param(raw.name, found.type, required, default, found.choices, note or found.description)


def _returns(function: Callable[..., Any], annotation: Any) -> Resolved:
    if typing.get_origin(annotation) in _YIELDING or annotation in _YIELDING:
        arguments = typing.get_args(annotation)
        if not arguments:
            raise TypeError("the return annotation does not say what is yielded; write Iterator[str]")
        annotation = list[arguments[0]]  # type: ignore[valid-type]  # the element type is known only now
    elif inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError("the function yields; its return annotation must be Iterator[...] or AsyncIterator[...]")
    try:
        return resolve(annotation)
    except TypeError as error:
        raise TypeError(f"return annotation: {error}") from None


def _check_numbers(accuracy: float | None, timeout: float, concurrency: int | None, rate: float | None) -> None:
    if accuracy is not None and not 0.0 <= accuracy <= 1.0:
        raise ValueError(f"accuracy must lie in [0, 1], got {accuracy!r}")
    if not (timeout > 0 and math.isfinite(timeout)):
        raise ValueError(f"timeout must be a positive number of seconds, got {timeout!r}")
    if concurrency is not None and concurrency < 1:
        raise ValueError(f"concurrency must be at least 1, got {concurrency!r}")
    if rate is not None and not rate > 0:
        raise ValueError(f"rate must be positive, got {rate!r}")
