"""Options of this command line that a command needs too which is named to go on with what this one did."""

import re
import shlex
from collections.abc import Mapping
from contextvars import ContextVar

__all__ = ["again", "remember", "to_resume", "without_password"]

_GIVEN: ContextVar[Mapping[str, str]] = ContextVar("given", default={})  # noqa: B039 - nobody changes it


def remember(flags: Mapping[str, object]) -> None:
    """Keep which store and tools were named on the command line; what is configured the next command finds itself."""
    _GIVEN.set({name: str(flags[name]) for name in ("store", "tools") if flags.get(name) is not None})


def again(*names: str) -> str:
    """Return the options of these names that were given, as they are written behind a command: ` --store runs.db`."""
    given = _GIVEN.get()
    return "".join(f" --{name} {shlex.quote(without_password(given[name]))}" for name in names if name in given)


def to_resume(run_id: str) -> str:
    """Return the command that goes on with a run."""
    return f"catp runs resume {run_id}{again('store', 'tools')}"


def without_password(store: str) -> str:
    """Return the address of a store with `***` for its password, which is nobody's business."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", store)
