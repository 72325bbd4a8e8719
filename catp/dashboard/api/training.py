"""Training runs: `/training`, `/training/{name}`."""

from typing import TYPE_CHECKING, Any

from catp.dashboard.context import Context
from catp.dashboard.read.plane import plane
from catp.dashboard.read.training import find_run, list_runs, run_details

if TYPE_CHECKING:
    from fastapi import APIRouter

__all__ = ["add"]


def add(api: "APIRouter", context: Context) -> None:
    """Add the paths."""

    @api.get("/training")
    def runs() -> dict[str, Any]:
        """All runs, those that run first."""
        folder = None if context.training is None else str(context.training)
        return {"folder": folder, "items": [_told(row) for row in list_runs(context.training)]}

    @api.get("/training/{name}")
    def run(name: str, x: str | None = None, y: str | None = None) -> dict[str, Any]:
        """One run with its curves, and its evaluations on the plane of two figures; ask again while it runs."""
        found = run_details(find_run(context.training, name))
        return {**_told(found), "plane": plane(found["points"], x, y)}


def _told(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if not key.startswith("_")}
