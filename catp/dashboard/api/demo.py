"""Demo data: POST `/demo` fills the store, POST `/demo/live` starts a run to watch, DELETE `/demo` removes them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from catp.dashboard.access import allows
from catp.dashboard.context import Context
from catp.dashboard.jobs import Jobs
from catp.dashboard.problems import Problem
from catp.runtime.events import RunEvent

if TYPE_CHECKING:
    from fastapi import APIRouter

    from catp.agent import Agent
    from catp.result import RunResult
    from catp.store.store import RunStore

__all__ = ["add"]

_log = logging.getLogger("catp.dashboard")


def add(api: "APIRouter", context: Context) -> None:
    """Add the paths. What goes on when the server stops is stopped with it."""
    from fastapi import Request
    from starlette.concurrency import run_in_threadpool

    jobs = Jobs(context.store, _agent)
    filling: set[asyncio.Task[Any]] = set()

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        yield
        await jobs.close()
        for task in (stopped := list(filling)):
            task.cancel()
        await asyncio.gather(*stopped, return_exceptions=True)

    api.lifespan_context = lifespan

    @api.get("/demo")
    async def state() -> dict[str, Any]:
        """Whether there are runs of the demo, and whether some are being made."""
        from catp.dashboard.demo import exists

        return {"exists": await context.store.database.aread(exists), "filling": bool(filling)}

    @api.post("/demo", status_code=202)
    async def fill(request: Request) -> dict[str, Any]:
        from catp.dashboard import demo

        _admin(request)
        there: bool = await context.store.database.aread(demo.exists)
        if there or filling:
            raise Problem(409, "demo-exists", "the store has demo data already; DELETE /api/v1/demo removes them")
        task = asyncio.create_task(demo.fill(context.store.target), name="catp-dashboard-demo")
        filling.add(task)
        task.add_done_callback(lambda done: _filled(done, filling))
        await run_in_threadpool(context.audit, request, "demo.fill", "demo")
        return {"filling": True}

    @api.post("/demo/live", status_code=202)
    async def live(request: Request) -> dict[str, Any]:
        from catp.dashboard import demo

        _admin(request)

        async def work(_: "Agent", hear: Callable[[RunEvent], None]) -> "RunResult":
            return await demo.live(context.store, on_event=hear)

        run = await jobs.start(work)
        await run_in_threadpool(context.audit, request, "demo.live", run)
        return {"run": run}

    @api.delete("/demo")
    async def clear(request: Request) -> dict[str, Any]:
        from catp.dashboard import demo

        _admin(request)
        if filling:
            raise Problem(409, "demo-filling", "demo data are being made; try again in some seconds")
        removed = await run_in_threadpool(demo.clear, context.store)
        await run_in_threadpool(lambda: context.audit(request, "demo.clear", "demo", runs=removed))
        return {"removed": removed}


def _agent(store: "RunStore") -> "Agent":
    from catp.dashboard.demo import demo_agent

    return demo_agent(store)


def _admin(request: Any) -> None:
    if not allows(request.scope["catp_role"], "admin"):
        raise Problem(403, "role", "demo data are for admins; use the token of an admin")


def _filled(task: "asyncio.Task[Any]", filling: "set[asyncio.Task[Any]]") -> None:
    filling.discard(task)
    with suppress(asyncio.CancelledError):
        if (error := task.exception()) is not None:
            _log.error("the demo data are not complete", exc_info=error)
