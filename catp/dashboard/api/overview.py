"""The answer in thirty seconds: `/overview`."""

from functools import partial
from typing import TYPE_CHECKING, Any

from catp.dashboard.context import Context
from catp.dashboard.read.guide import first_steps
from catp.dashboard.read.overview import overview

if TYPE_CHECKING:
    from fastapi import APIRouter

__all__ = ["add"]


def add(api: "APIRouter", context: Context) -> None:
    """Add the path."""
    from fastapi import Query

    @api.get("/overview")
    def today(window: str = Query("24h", pattern=r"^\d{1,4}[hd]$")) -> dict[str, Any]:
        seconds = int(window[:-1]) * (3600 if window[-1] == "h" else 86400)
        found = context.read(partial(overview, window_s=seconds))
        return found | {"guide": first_steps(context.store.name) if found["empty"] else []}
