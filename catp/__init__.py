"""CATP: plan paid tool calls, price the plan, run it concurrently, account for every cent.

    from catp import Agent, tool

Names are loaded on first use, so `import catp` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catp.agent import Agent
    from catp.planlang import parse
    from catp.planlang.errors import PlanError
    from catp.planners.protocol import PlanningFailed
    from catp.result import Planned, Quote, RunCancelled, RunRefused, RunResult
    from catp.runtime.events import RunEvent
    from catp.store.store import RunStore
    from catp.tools import Catalogue, tool

__version__ = "0.1.0"

__all__ = [
    "Agent",
    "Catalogue",
    "PlanError",
    "Planned",
    "PlanningFailed",
    "Quote",
    "RunCancelled",
    "RunEvent",
    "RunRefused",
    "RunResult",
    "RunStore",
    "__version__",
    "parse",
    "tool",
]

_HOME = {
    "Agent": "catp.agent",
    "Catalogue": "catp.tools.catalogue",
    "PlanError": "catp.planlang.errors",
    "Planned": "catp.result",
    "PlanningFailed": "catp.planners.protocol",
    "Quote": "catp.result",
    "RunCancelled": "catp.result",
    "RunEvent": "catp.runtime.events",
    "RunRefused": "catp.result",
    "RunResult": "catp.result",
    "RunStore": "catp.store.store",
    "parse": "catp.planlang.parser",
    "tool": "catp.tools.decorator",
}


def __getattr__(name: str) -> Any:
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(module), name)
