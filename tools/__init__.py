"""Typed, priced, metered tools and the catalogue that holds them.

Names are loaded on first use, so importing this package costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catp.tools.adapters.http import http_tool
    from catp.tools.adapters.llm import llm_tool
    from catp.tools.adapters.mcp_client import import_mcp
    from catp.tools.adapters.ray_pool import RayPool
    from catp.tools.adapters.subprocess_tool import command_tool
    from catp.tools.annotations import register_type
    from catp.tools.catalogue import Catalogue
    from catp.tools.decorator import Tool, tool
    from catp.tools.errors import (
        CatalogueError,
        PriceModelError,
        ProfileError,
        ResultTooLarge,
        ToolCrashed,
        ToolDefinitionError,
        ToolError,
        ToolFailed,
        ToolTimeout,
        ToolUnavailable,
        WrongResult,
    )
    from catp.tools.meter import run_program
    from catp.tools.price import (
        ComputePrice,
        CustomPrice,
        DatedPrice,
        Free,
        PerCall,
        PerToken,
        PerUnit,
        PriceTable,
        Reported,
        Unpriced,
    )
    from catp.tools.profile import Profile, ProfileBook
    from catp.tools.spec import ToolLimits, ToolSpec
    from catp.tools.usage import Charge, Usage
    from catp.tools.workers import WorkerLimits, WorkerPool

_HOMES = {
    "adapters.http": ("http_tool",),
    "adapters.llm": ("llm_tool",),
    "adapters.mcp_client": ("import_mcp",),
    "adapters.ray_pool": ("RayPool",),
    "adapters.subprocess_tool": ("command_tool",),
    "annotations": ("register_type",),
    "catalogue": ("Catalogue",),
    "decorator": ("Tool", "tool"),
    "errors": (
        "CatalogueError", "PriceModelError", "ProfileError", "ResultTooLarge", "ToolCrashed", "ToolDefinitionError",
        "ToolError", "ToolFailed", "ToolTimeout", "ToolUnavailable", "WrongResult",
    ),
    "meter": ("run_program",),
    "price": (
        "ComputePrice", "CustomPrice", "DatedPrice", "Free", "PerCall", "PerToken", "PerUnit", "PriceTable", "Reported",
        "Unpriced",
    ),
    "profile": ("Profile", "ProfileBook"),
    "spec": ("ToolLimits", "ToolSpec"),
    "usage": ("Charge", "Usage"),
    "workers": ("WorkerLimits", "WorkerPool"),
}  # fmt: skip
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Catalogue",
    "CatalogueError",
    "Charge",
    "ComputePrice",
    "CustomPrice",
    "DatedPrice",
    "Free",
    "PerCall",
    "PerToken",
    "PerUnit",
    "PriceModelError",
    "PriceTable",
    "Profile",
    "ProfileBook",
    "ProfileError",
    "RayPool",
    "Reported",
    "ResultTooLarge",
    "Tool",
    "ToolCrashed",
    "ToolDefinitionError",
    "ToolError",
    "ToolFailed",
    "ToolLimits",
    "ToolSpec",
    "ToolTimeout",
    "ToolUnavailable",
    "Unpriced",
    "Usage",
    "WorkerLimits",
    "WorkerPool",
    "WrongResult",
    "command_tool",
    "http_tool",
    "import_mcp",
    "llm_tool",
    "register_type",
    "run_program",
    "tool",
]


def __getattr__(name: str) -> Any:
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)
