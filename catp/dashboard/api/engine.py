"""The inference engine: `/engine/now`, `/engine/series`, `/engine/requests`, `/engine/slo`."""

import time
from typing import TYPE_CHECKING, Any

from catp.dashboard.context import Context
from catp.dashboard.engine.answers import Unreachable
from catp.dashboard.engine.figures import COLUMNS
from catp.dashboard.engine.form import queue_json, request_json, seen_json
from catp.dashboard.engine.labels import described
from catp.dashboard.forms import ns_of
from catp.dashboard.problems import Problem

if TYPE_CHECKING:
    from fastapi import APIRouter

__all__ = ["add"]

_HOW = "Counted while somebody looks. Requests say what they expect (catp.slo), or `catp serve --slo-e2e` does."
_DAY_S, _HOUR_S = 86_400.0, 3_600.0


def add(api: "APIRouter", context: Context) -> None:
    """Add the paths."""
    from fastapi import Query

    follower = context.engine

    @api.get("/engine/now")
    async def now() -> dict[str, Any]:
        """What the engine is like; asking keeps it looked at for a minute."""
        return seen_json(await follower.now())

    @api.get("/engine/figures")
    def names() -> dict[str, Any]:
        """What figures are called, in which unit, and how they are computed."""
        return described()

    @api.get("/engine/series")
    async def series(
        metrics: str = Query("", max_length=2000),
        from_: str | None = Query(None, alias="from"),
        step: int = Query(1, ge=1, le=3600),
    ) -> dict[str, Any]:
        """Columns, all of them if none is named; `step` 1 goes back an hour, 10 and its multiples a day."""
        names = list(dict.fromkeys(name for name in metrics.split(",") if name)) or list(COLUMNS)
        wrong = [name for name in names if name not in COLUMNS]
        if wrong or (step > 1 and step % 10):
            what = f"metrics={wrong[0][:60]!r} is none of {', '.join(COLUMNS)}" if wrong else "step is 1, 10, 20, …"
            raise Problem(422, "query", what)
        await follower.now()
        since_ns = ns_of("from", from_)
        since = time.time() - 900 if since_ns is None else since_ns / 1e9
        return {"step": step, **follower.past.columns(names, since, step)}

    @api.get("/engine/requests")
    async def requests(limit: int = Query(50, ge=1, le=200)) -> dict[str, Any]:
        """Requests of late as the engine tells of them; `problem` says why there are none."""
        try:
            clock, told = await follower.requests(limit)
        except Unreachable as error:
            return {"items": [], "queue": [], "problem": str(error)}
        rows = [row for one in told if (row := request_json(one, clock)) is not None]
        return {"items": rows, "queue": queue_json(rows), "problem": None}

    @api.get("/engine/slo")
    async def slo(target: float = Query(0.99, gt=0, lt=1)) -> dict[str, Any]:
        """Attainment by expectation since the dashboard looks, and how much of the error budget is left."""
        await follower.now()
        at = time.time()
        spans = {"hour": follower.expectations.counts(at - _HOUR_S), "day": follower.expectations.counts(at - _DAY_S)}
        return {
            "target": target,
            "how": f"{100 * (1 - target):.3g}% of the requests may miss: the error budget. {_HOW}",
            "items": [
                {"slo": name, **{span: _kept(*counts.get(name, (0, 0)), target) for span, counts in spans.items()}}
                for name in sorted(spans["day"])
            ],
        }


def _kept(met: int, missed: int, target: float) -> dict[str, Any]:
    """`budget_left` is the share of the misses that the target allows which is not used up; below 0: overdrawn."""
    total = met + missed
    if not total:
        return {"met": 0, "missed": 0, "attainment": None, "budget_left": None}
    return {
        "met": met, "missed": missed, "attainment": met / total, "budget_left": 1 - missed / (total * (1 - target)),
    }  # fmt: skip
