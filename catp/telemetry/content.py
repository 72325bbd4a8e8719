"""Arguments and results on the spans of calls: only if the user asked for content to be captured.

The runtime's events never hold values, so tools are watched where they are called: each backend gets a twin of the same
class with the same state whose calls also write to the span of the call.
"""

import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from functools import lru_cache
from typing import Any

from catp.planlang.registry_view import Estimator
from catp.runtime.binding import ToolSource
from catp.telemetry.current import CALL_SPAN
from catp.telemetry.names import GenAI
from catp.tools.spec import BackendResult, ToolSpec

__all__ = ["WatchedTools", "as_text"]

_MOST = 16_384
"""Characters kept of one value; `OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT` may lower it."""


class WatchedTools:
    """A catalogue whose tools write what they get and give to the spans of their calls.

    `known` keeps what was made of a tool, by the identity of its spec: pools ask for the same object every time.
    """

    def __init__(self, tools: ToolSource, known: dict[int, tuple[ToolSpec, ToolSpec]]) -> None:
        self._tools, self._known = tools, known

    def get(self, name: str) -> ToolSpec:
        """The tool called `name`; raise `KeyError` if there is none."""
        spec = self._tools.get(name)
        if id(spec) not in self._known:
            self._known[id(spec)] = (spec, self._make(spec))  # the spec stays, so that its id does
        return self._known[id(spec)][1]

    def estimator(self, *, live: bool = False) -> Estimator:
        """The estimator of the tools themselves."""
        return self._tools.estimator(live=live)

    @staticmethod
    def _make(spec: ToolSpec) -> ToolSpec:
        state = getattr(spec.backend, "__dict__", None)
        if state is None:
            return spec
        twin: Any = object.__new__(_watched(type(spec.backend)))
        twin.__dict__ = state
        return replace(spec, backend=twin)


@lru_cache(maxsize=256)
def _watched(kind: type) -> type:
    """A subclass of a backend's class, so that everything that asks what a backend can do gets the same answer."""
    methods = [name for name in ("call", "call_with_key", "call_when_free") if hasattr(kind, name)]
    return type(kind.__name__, (kind,), {name: _watching(getattr(kind, name)) for name in methods})


def _watching(method: Callable[..., Any]) -> Callable[..., Any]:
    async def call(self: Any, args: Any, **options: Any) -> BackendResult:
        began = options.get("began")
        if began is None:
            _write(GenAI.ARGUMENTS, args)
        else:  # the call has its span only once it has its place

            async def begin() -> None:
                await began()
                _write(GenAI.ARGUMENTS, args)

            options["began"] = begin
        result: BackendResult = await method(self, args, **options)
        _write(GenAI.RESULT, result.value)
        return result

    return call


def _write(name: str, value: Any) -> None:
    span = CALL_SPAN.get()
    if span is not None and span.is_recording():
        span.set_attribute(name, as_text(value))


def as_text(value: Any) -> str:
    """Return a value as JSON text of bounded length; what JSON does not know is named by its type and size."""
    try:
        text = json.dumps(value, default=_plain, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        text = json.dumps(f"<{type(value).__name__}: {type(error).__name__}>")
    return text if len(text) <= _MOST else f"{text[:_MOST]}… ({len(text):,} characters)"


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, set | frozenset):
        return list(value)
    size = getattr(value, "size", None)
    if isinstance(size, tuple):  # a picture
        return f"<{type(value).__name__} {'x'.join(map(str, size))}>"
    return f"<{type(value).__name__}>"
