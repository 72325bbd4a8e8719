"""Starting runs: POST `/runs`, `/runs/{id}/replay` (a fork of it), `/runs/{id}/resume`. All take `Idempotency-Key`."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from catp.dashboard.context import Context
from catp.dashboard.wishes import Replay, Resume, RunWish, amount

if TYPE_CHECKING:
    from fastapi import APIRouter

__all__ = ["add"]


def add(api: "APIRouter", context: Context) -> None:
    """Add the paths."""
    from fastapi import Request
    from starlette.concurrency import run_in_threadpool

    store = context.store

    async def once(request: Request, action: str, do: Callable[[], Awaitable[tuple[str, dict[str, Any]]]]) -> Any:
        """Do it, note it; the same key and body again get the same answer."""

        async def noted() -> dict[str, Any]:
            run, answer = await do()
            told = {key: value for key, value in answer.items() if key != "run"}
            await run_in_threadpool(lambda: context.audit(request, action, run, **told))
            return answer

        key = request.headers.get("idempotency-key")
        desk = await run_in_threadpool(context.desk)
        return await desk.repeats.once(key, f"{request.url.path}\n".encode() + await request.body(), noted)

    @api.post("/runs", status_code=202)
    async def start(body: RunWish, request: Request) -> dict[str, Any]:
        asked = body.asked(cap=amount("cap", body.cap), preview=body.preview)

        async def do() -> tuple[str, dict[str, Any]]:
            run = await context.desk().run(asked)
            return run, {"run": run}

        return dict(await once(request, "run.start", do))

    @api.post("/runs/{id}/replay", status_code=202)
    async def replay(id: str, body: Replay, request: Request) -> dict[str, Any]:
        parent, budget = (await run_in_threadpool(store.find, id)).id, amount("budget", body.budget)

        async def do() -> tuple[str, dict[str, Any]]:
            run = await context.desk().replay(parent, body.from_node, body.set, budget, body.deadline_s)
            return run, {"run": run, "parent": parent}

        return dict(await once(request, "run.replay", do))

    @api.post("/runs/{id}/resume", status_code=202)
    async def resume(id: str, body: Resume, request: Request) -> dict[str, Any]:
        run, budget = (await run_in_threadpool(store.find, id)).id, amount("budget", body.budget)

        async def do() -> tuple[str, dict[str, Any]]:
            await context.desk().resume(run, body.in_flight, body.retry_failed, budget, body.deadline_s)
            return run, {"run": run}

        return dict(await once(request, "run.resume", do))
