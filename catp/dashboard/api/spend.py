"""What was spent: `/spend`, and as a spreadsheet `/spend.csv`."""

from functools import partial
from typing import TYPE_CHECKING, Any

from catp.dashboard.context import Context
from catp.dashboard.forms import days_of
from catp.dashboard.read.how import SPEND_HOW
from catp.dashboard.read.spend import Bucket, Group, spend
from catp.dashboard.sheet import csv_of

if TYPE_CHECKING:
    from fastapi import APIRouter

__all__ = ["add"]


def add(api: "APIRouter", context: Context) -> None:
    """Add the path."""
    from fastapi import Query
    from starlette.responses import Response

    @api.get("/spend")
    def spent(
        group: Group = "tool", bucket: Bucket = "day", from_: str | None = Query(None, alias="from"),
        to: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        since, until = days_of(from_, to)
        found = context.read(partial(spend, group=group, since=since, until=until, bucket=bucket))
        return found | {"how": SPEND_HOW}

    @api.get("/spend.csv")
    def sheet(
        group: Group = "tool", bucket: Bucket = "day", from_: str | None = Query(None, alias="from"),
        to: str | None = None,
    ) -> Response:  # fmt: skip
        found = spent(group, bucket, from_, to)
        rows = [
            {found["bucket"]: at, group: one["key"], "usd": amount or "unpriced"}
            for place, at in enumerate(found["buckets"])
            for one in found["series"]
            if (amount := one["values"][place]) != "0.00"
        ]
        name = f"spend-{group}-{found['from']}-{found['to']}.csv"
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        return Response(
            csv_of((found["bucket"], group, "usd"), rows), media_type="text/csv; charset=utf-8", headers=headers
        )
