"""Runs beside each other: `/compare?ids=A,B`."""

from functools import partial
from typing import TYPE_CHECKING, Any

from catp.dashboard.context import Context
from catp.dashboard.problems import Problem
from catp.dashboard.read.compare import compare
from catp.dashboard.read.compare_graph import LETTERS
from catp.dashboard.read.compare_outputs import compare_outputs

if TYPE_CHECKING:
    from fastapi import APIRouter

__all__ = ["add"]


def add(api: "APIRouter", context: Context) -> None:
    """Add the path."""
    from fastapi import Query

    store = context.store

    def runs_of(name: str, text: str) -> list[str]:
        found = [store.find(part.strip()).id for part in text.split(",") if part.strip()]
        twice = next((run for run in found if found.count(run) > 1), None)
        if twice is not None:
            raise Problem(422, "query", f"{name}: run {twice} is there twice; name different runs")
        return found

    @api.get("/compare")
    def compared(
        ids: str = Query(max_length=200, description="Two to five runs."),
        pair: str | None = Query(None, max_length=80, description="Two of them, for the waterfall and the texts."),
    ) -> dict[str, Any]:
        runs = runs_of("ids", ids)
        if not 2 <= len(runs) <= len(LETTERS):
            raise Problem(422, "query", f"ids names {len(runs)} runs; two to {len(LETTERS)} can be compared")
        two = runs[:2] if pair is None else runs_of("pair", pair)
        if len(two) != 2 or not set(two) <= set(runs):
            raise Problem(422, "query", "pair names two of the runs in ids, such as pair=A,C")
        places = (runs.index(two[0]), runs.index(two[1]))
        found = context.read(partial(compare, ids=runs, pair=places, store=store.name))
        return {**found, "outputs": compare_outputs(store, runs, places)}
