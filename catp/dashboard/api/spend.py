"""What was spent: `/spend`."""

from functools import partial
from typing import TYPE_CHECKING, Any

from catp.dashboard.context import Context
from catp.dashboard.forms import days_of
from catp.dashboard.read.spend import Group, spend

if TYPE_CHECKING:
    from fastapi import APIRouter

__all__ = ["add"]


def add(api: "APIRouter", context: Context) -> None:
    """Add the path."""
    from fastapi import Query

    @api.get("/spend")
    def spent(
        group: Group = "tool", from_: str | None = Query(None, alias="from"), to: str | None = None
    ) -> dict[str, Any]:
        since, until = days_of(from_, to)
        return context.read(partial(spend, group=group, since=since, until=until))
