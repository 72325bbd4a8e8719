"""The tools and what they have shown: `/tools`."""

from functools import partial
from typing import TYPE_CHECKING, Any

from catp.dashboard.context import Context
from catp.dashboard.forms import days_of
from catp.dashboard.read.tools import tools

if TYPE_CHECKING:
    from fastapi import APIRouter

__all__ = ["add"]


def add(api: "APIRouter", context: Context) -> None:
    """Add the path."""
    from fastapi import Query

    @api.get("/tools")
    def tool_table(from_: str | None = Query(None, alias="from"), to: str | None = None) -> dict[str, Any]:
        since, until = days_of(from_, to)
        return context.read(partial(tools, since=since, until=until))
