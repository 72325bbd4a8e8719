"""The plans that were considered for a run: `/runs/{id}/candidates`."""

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from catp.dashboard.context import Context
from catp.dashboard.forms import usd
from catp.store.candidates import Rival, of
from catp.store.queries import plan_source

if TYPE_CHECKING:
    from fastapi import APIRouter

__all__ = ["add"]


def add(api: "APIRouter", context: Context) -> None:
    """Add the path."""

    @api.get("/runs/{id}/candidates")
    def candidates(id: str) -> dict[str, Any]:
        run = context.store.find(id)

        def read(connection: Connection) -> list[dict[str, Any]]:
            return [_row(rival, plan_source(connection, rival.plan_hash)) for rival in of(connection, run.id)]

        return {"items": context.read(read)}


def _row(rival: Rival, source: str) -> dict[str, Any]:
    return {
        "rank": rival.rank, "plan_hash": rival.plan_hash,
        "est": {"low": usd(rival.est_low), "p50": usd(rival.est_cost), "p95": usd(rival.est_p95)},
        "est_ms": rival.est_ms, "quality": rival.quality, "utility": rival.utility, "chosen": rival.chosen,
        "source": source,
    }  # fmt: skip
