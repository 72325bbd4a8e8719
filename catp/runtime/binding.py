"""What a run needs before it starts: the tools its steps name, and a value for every input of the plan."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Protocol

from catp.planlang.compiled import CompiledPlan
from catp.planlang.registry_view import Estimator
from catp.runtime.program import StepInfo
from catp.runtime.values import Values
from catp.tools.pools import Pool, check_pin
from catp.tools.spec import ToolSpec

__all__ = ["ToolSource", "bind_inputs", "check_pools", "look_up"]


class ToolSource(Protocol):
    """The part of a catalogue that a run needs."""

    def get(self, name: str) -> ToolSpec:
        """The tool called `name`; raise `KeyError` if there is none."""
        ...

    def estimator(self, *, live: bool = False) -> Estimator:
        """Predicts single calls; a `live` one looks each time whether a warm worker waits."""
        ...


def look_up(steps: Iterable[StepInfo], catalogue: ToolSource) -> dict[str, ToolSpec]:
    """Return every tool the steps may call, by name; raise `ValueError` naming one that is not there."""
    tools: dict[str, ToolSpec] = {}
    for info in steps:
        for attempt in info.attempts:
            if attempt.tool not in tools:
                try:
                    tools[attempt.tool] = catalogue.get(attempt.tool)
                except KeyError:
                    raise ValueError(
                        f"step {info.name!r} uses tool {attempt.tool!r}, which is not in the catalogue"
                    ) from None
    return tools


def check_pools(steps: Iterable[StepInfo], tools: Mapping[str, ToolSpec], pools: Mapping[str, Pool]) -> None:
    """Raise `ValueError` if a step is pinned to a pool that is not there, or that cannot run its tools."""
    for info in steps:
        check_pin(info.name, info.pin, (tools[attempt.tool] for attempt in info.attempts), pools)


def bind_inputs(compiled: CompiledPlan, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Take the given inputs and the plan's defaults; raise `ValueError` naming what is missing or not wanted."""
    wanted = {item.name: item for item in compiled.plan.inputs}
    problems = []
    for name in inputs:
        if name not in wanted:
            close = get_close_matches(name, wanted, n=1)
            problems.append(f"the plan has no input {name!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
    constants = Values({}, lambda name: "a default cannot refer to another value")
    found: dict[str, Any] = {}
    for name, item in wanted.items():
        if name in inputs:
            found[name] = inputs[name]
        elif item.default is not None:
            found[name] = constants.resolve(item.default)
        elif item.type.optional:
            found[name] = None
        else:
            problems.append(f"input {name!r} ({item.type}) is missing")
    if problems:
        raise ValueError("; ".join(problems))
    return found
