"""Price against quality: `/pareto`."""

from functools import partial
from typing import TYPE_CHECKING, Any

from catp.dashboard.context import Context
from catp.dashboard.forms import ns_of
from catp.dashboard.read.pareto import By, Quality, pareto
from catp.dashboard.read.runs import RunFilter

if TYPE_CHECKING:
    from fastapi import APIRouter

__all__ = ["add"]


def add(api: "APIRouter", context: Context) -> None:
    """Add the path."""
    from fastapi import Query

    @api.get("/pareto")
    def points(
        group: By = "policy", quality: Quality = "best", from_: str | None = Query(None, alias="from"),
        to: str | None = None, project: str | None = None, policy: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        wanted = RunFilter(policy=policy, project=project, from_ns=ns_of("from", from_), until_ns=ns_of("to", to))
        return context.read(partial(pareto, wanted=wanted, group=group, quality=quality))
