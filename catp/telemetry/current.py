"""Which span is the current one while a tool runs.

The runtime tells of a started call in the very task that runs the tool, just before it does. There the call's span is
made current, so that whatever the tool opens nests below it, and taken back when the call is settled.
"""

import asyncio
import contextvars
from dataclasses import dataclass
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.trace import Span, set_span_in_context

__all__ = ["CALL_SPAN", "Current", "Entered"]

CALL_SPAN: contextvars.ContextVar[Span | None] = contextvars.ContextVar("catp_call_span", default=None)
"""The span of the call that the current task is making."""


@dataclass(frozen=True, slots=True)
class Entered:
    """The task in which a span was made current, and what brings back what was current before."""

    task: "asyncio.Task[Any]"
    context: Any
    mark: contextvars.Token[Span | None]


class Current:
    """The calls of one run that have made their span current; one per task at a time."""

    def __init__(self) -> None:
        self._inside: set[asyncio.Task[Any]] = set()

    def enter(self, span: Span) -> Entered | None:
        """Make `span` current in this task; None if it is no task of its own (events told after the run)."""
        try:
            task = asyncio.current_task()
        except RuntimeError:
            return None
        if task is None or task in self._inside:
            return None
        self._inside.add(task)
        return Entered(task, otel_context.attach(set_span_in_context(span)), CALL_SPAN.set(span))

    def leave(self, entered: Entered | None) -> None:
        """Undo `enter`; a call that ends in another task than it began in takes its context with it."""
        if entered is not None and asyncio.current_task() is entered.task:
            self._inside.discard(entered.task)
            CALL_SPAN.reset(entered.mark)
            otel_context.detach(entered.context)
