"""The tools and what they have shown: `/tools`, `/tools/{name}`."""

from functools import partial
from typing import TYPE_CHECKING, Any

from catp.dashboard.context import Context
from catp.dashboard.forms import days_of
from catp.dashboard.read.how import CALIBRATION_HOW, TOOLS_HOW
from catp.dashboard.read.tool_page import tool_page
from catp.dashboard.read.tools import tools

if TYPE_CHECKING:
    from fastapi import APIRouter

__all__ = ["add"]


def add(api: "APIRouter", context: Context) -> None:
    """Add the paths."""
    from fastapi import Query

    declared = context.declared

    @api.get("/tools")
    def tool_table(from_: str | None = Query(None, alias="from"), to: str | None = None) -> dict[str, Any]:
        since, until = days_of(from_, to)
        found = context.read(partial(tools, since=since, until=until))
        for row in found["items"]:
            row["rule"] = declared.rule(row["name"])
        return found | {"from": since, "to": until, "how": TOOLS_HOW}

    @api.get("/tools/{name:path}")
    def tool(name: str, from_: str | None = Query(None, alias="from"), to: str | None = None) -> dict[str, Any]:
        since, until = days_of(from_, to)
        found = context.read(partial(tool_page, name=name, since=since, until=until))
        others = declared.alternatives(name)
        if others:
            rows = {row["name"]: row for row in context.read(partial(tools, since=since, until=until))["items"]}
            others = [other | {"measured": rows.get(other["name"])} for other in others]
        how = TOOLS_HOW | {"calibration": CALIBRATION_HOW}
        return found | {"declared": declared.of(name), "alternatives": others, "how": how}
