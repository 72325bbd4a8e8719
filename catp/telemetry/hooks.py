"""What the agent calls: nothing in here imports OpenTelemetry unless telemetry is on."""

from collections.abc import Callable, Coroutine
from functools import wraps
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

if TYPE_CHECKING:
    from catp.planners.protocol import Planner
    from catp.result import Planned
    from catp.telemetry.telemetry import Telemetry

__all__ = ["TelemetryError", "observed_planning", "observed_run", "telemetry_for"]

_NEEDED = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")


class TelemetryError(RuntimeError):
    """Telemetry was asked for and cannot be had; the message says what is missing and how to get it."""


def telemetry_for(wanted: "bool | Telemetry") -> "Telemetry | None":
    """Return what an agent reports to, or None if nobody wants telemetry.

    Raises:
        TelemetryError: if OpenTelemetry is not installed, or its variables ask for what this installation cannot do.
    """
    if wanted is False:
        return None
    if wanted is not True:
        return wanted
    try:
        missing = [name for name in _NEEDED if find_spec(name) is None]
    except ModuleNotFoundError as error:  # a parent package is missing
        missing = [str(error.name)]
    if missing:
        raise TelemetryError(f"telemetry needs {missing[0]}, which is not installed: pip install 'catp[otel]'")
    from catp.telemetry.telemetry import Telemetry

    return Telemetry()


class _Observed(Protocol):
    @property
    def telemetry(self) -> "Telemetry | None": ...


class _Planning(_Observed, Protocol):
    planner: "Planner"


A = TypeVar("A", bound=_Observed)
B = TypeVar("B", bound=_Planning)
P = ParamSpec("P")
R = TypeVar("R")
Method = Callable[Concatenate[A, P], Coroutine[Any, Any, R]]


def observed_run(method: Method[A, P, R]) -> Method[A, P, R]:
    """Make a method one `invoke_workflow` span, unless it is called by one that is: a request has one, around all."""

    @wraps(method)
    async def observed(self: A, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if self.telemetry is None:
            return await method(self, *args, **kwargs)
        with self.telemetry.workflow():
            return await method(self, *args, **kwargs)

    return observed


def observed_planning(method: "Method[B, P, Planned]") -> "Method[B, P, Planned]":
    """Make a method of an agent that plans one `plan` span."""

    @wraps(method)
    async def observed(self: B, /, *args: P.args, **kwargs: P.kwargs) -> "Planned":
        if self.telemetry is None:
            return await method(self, *args, **kwargs)
        with self.telemetry.planning(self.planner.name) as report:
            planned = await method(self, *args, **kwargs)
            report(planned)
            return planned

    return observed
