"""What must not reach the store is taken out before anything is queued for it.

    def hide(kind, name, value):
        return re.sub(r"sk-\\w+", "[key]", value) if isinstance(value, str) else value

    Agent(store=RunStore("runs.db", redact=hide))

| kind | name | value |
|---|---|---|
| `input`, `step`, `output` | its name | the value, or one element of it |
| `argument` | its parameter, or the input | what a question for approval would show |
| `text` | `task`, `reason` | the task; why something failed, which may quote a value |

A hook that returns the value it was given keeps it exactly. Anything else is kept in its place, can be looked at and
cannot be read back. A hook that fails costs the value, never the run. Plans are kept as they are, since a run cannot go
on without its plan: secrets belong into inputs, not into plan texts. Cached results stay in memory.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from catp.runtime.events import RunEvent

__all__ = ["REDACTED", "Redact", "Redaction"]

Redact: TypeAlias = Callable[[str, str, Any], Any]
"""(kind, name, value) -> what is kept; must not change the value itself, which the run goes on with."""

REDACTED = "redacted"
"""The codec of a value of which something was taken out."""

_TEXTS = frozenset({"task", "reason"})
_log = logging.getLogger("catp.store")


class Redaction:
    """Asks the hook."""

    def __init__(self, hook: Redact) -> None:
        self._hook = hook

    def value(self, kind: str, name: str, value: Any) -> tuple[Any, bool]:
        """Return what is kept of a value, and whether that is another one."""
        try:
            kept = self._hook(kind, name, value)
        except Exception as error:  # whose message may hold the very thing
            _log.warning("redaction of the %s `%s` failed (%s): it is not kept", kind, name, type(error).__name__)
            return f"[not kept: redaction failed with {type(error).__name__}]", True
        same = kept is value or (type(kept) is type(value) and isinstance(value, str | bytes) and kept == value)
        return (value, False) if same else (kept, True)

    def event(self, event: RunEvent) -> RunEvent:
        """Return an event without what must not be in its texts."""
        data = self._texts(event.data)
        return event if data is event.data else event._replace(data=data)

    def arguments(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a question for approval may show."""
        return {name: self.value("argument", name, value)[0] for name, value in arguments.items()}

    def _texts(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        changed: dict[str, Any] = {}
        for key, value in data.items():
            new = value
            if isinstance(value, Mapping):
                new = self._texts(value)
            elif key in _TEXTS and isinstance(value, str) and value:
                new = str(self.value("text", key, value)[0])
            if new is not value:
                changed[key] = new
        return {**data, **changed} if changed else data
