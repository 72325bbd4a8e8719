"""What the runtime asks for when steps have failed, and what it remembers so that nothing fails the same way twice."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from catp.planlang.compiled import CompiledPlan
from catp.planlang.money import Money
from catp.runtime.planning import Planning

__all__ = ["BLOCKED", "MAX_IDENTICAL", "Broken", "FailedCall", "Failures", "Repaired", "Repairer"]

BLOCKED = "Blocked"
"""The error type of a call that was not made because it failed in the same way too often."""

MAX_IDENTICAL = 2
"""How often the same tool may fail with the same arguments and the same error before it is no longer called so."""


class FailedCall(NamedTuple):
    """A call that failed for good, all its retries included; `arguments` is their digest, if they have one."""

    step: str
    tool: str
    error: str
    reason: str
    arguments: str | None


@dataclass(frozen=True, slots=True)
class Broken:
    """A run in which something failed and nothing is left to do.

    `values` are those of the inputs and of every step that has one. `left` is the money that may still be spent
    (None: no limit) and `left_s` the time. Whoever plans anew puts into `planning` what that took, found or not: it is
    booked either way, also if the search is given up.
    """

    compiled: CompiledPlan
    values: Mapping[str, Any]
    finished: frozenset[str]
    failures: tuple[FailedCall, ...]
    missing: tuple[str, ...]
    spent: Money
    left: Money | None
    left_s: float | None
    planning: list[Planning] = field(default_factory=list, compare=False)


@dataclass(frozen=True, slots=True)
class Repaired:
    """The plan to go on with. Steps of the broken plan that are in it unchanged and have ended stay as they ended."""

    compiled: CompiledPlan
    reason: str


Repairer: TypeAlias = Callable[[Broken], Awaitable[Repaired | None]]
"""Finds a way to go on, or None."""


class Failures:
    """Counts failures by tool, arguments and error."""

    def __init__(self) -> None:
        self.calls: list[FailedCall] = []
        self._counts: dict[tuple[str, str], dict[str, int]] = {}

    def add(self, call: FailedCall) -> None:
        """Remember a failure."""
        self.calls.append(call)
        if call.arguments is not None:
            errors = self._counts.setdefault((call.tool, call.arguments), {})
            errors[call.error] = errors.get(call.error, 0) + 1

    def suspects(self, tool: str) -> bool:
        """True if some arguments of this tool are blocked, so that a call's must be looked at."""
        return any(t == tool and max(errors.values()) >= MAX_IDENTICAL for (t, _), errors in self._counts.items())

    def blocked(self, tool: str, arguments: str | None) -> str | None:
        """Why this call must not be made again, or None."""
        for error, times in self._counts.get((tool, arguments or ""), {}).items():
            if times >= MAX_IDENTICAL:
                return f"{tool} failed {times} times with the same arguments and the same error ({error}): blocked"
        return None
