"""How the server is set up, and what was changed through it: `/settings`, `/settings/prices`, `/audit`, `/prune`."""

import asyncio
from functools import partial
from time import time_ns
from typing import TYPE_CHECKING, Any

from catp.dashboard.access import allows
from catp.dashboard.context import Context
from catp.dashboard.forms import iso, without_user
from catp.dashboard.problems import Problem
from catp.dashboard.read.settings import sizes, store_facts, telemetry, versions
from catp.store import deeds
from catp.store.pruning import held, old_runs, remove_runs

if TYPE_CHECKING:
    from fastapi import APIRouter

__all__ = ["add"]


def add(api: "APIRouter", context: Context) -> None:
    """Add the paths."""
    from fastapi import Body, Query, Request

    pruning = asyncio.Lock()

    def admin(request: Request) -> bool:
        return allows(request.scope["catp_role"], "admin")

    @api.get("/settings")
    def settings(request: Request) -> dict[str, Any]:
        """Sizes, versions and options by group; paths, addresses and hosts only for an admin, else null."""
        store, server = sizes(context.store), None
        if admin(request):
            engine = context.engine.find()
            address = None if engine is None else without_user(engine.url)
            store = {**store_facts(context.store), **store}
            server = {
                **context.server, "read_only": context.read_only, "engine": address,
                "training": None if context.training is None else str(context.training),
            }  # fmt: skip
        told = None if server is None else telemetry()
        return {"store": store, "server": server, "telemetry": told, "versions": versions()}

    @api.get("/settings/prices")
    def prices() -> dict[str, Any]:
        """Prices as the server's catalogue declares them."""
        how = "As this server's catalogue declares them; change them where a tool is made: @tool(price=…)."
        return {"items": sorted(context.declared.all(), key=lambda row: row["name"]), "how": how}

    @api.get("/audit")
    def audit(
        request: Request, cursor: int | None = Query(None, ge=1), limit: int = Query(50, ge=1, le=200)
    ) -> dict[str, Any]:
        """What was changed, the newest first; for an admin."""
        if not admin(request):
            raise Problem(403, "role", "only an admin sees the audit trail; use the token of one")
        found = context.read(partial(deeds.latest, limit=limit + 1, before=cursor))
        page = found[:limit]
        items = [
            {"id": deed.id, "at": iso(deed.at_ns), "actor": deed.actor, "action": deed.action, "target": deed.target,
             "detail": dict(deed.detail)}
            for deed in page
        ]  # fmt: skip
        return {"items": items, "next": page[-1].id if len(found) > limit else None}

    @api.post("/prune")
    async def prune(request: Request, days: int = Body(ge=1, le=36_500), dry_run: bool = Body(False)) -> dict[str, Any]:
        """Remove runs that ended and are older; `dry_run` only counts them."""
        if not admin(request):
            raise Problem(403, "role", "only an admin removes runs; use the token of one")
        if pruning.locked() and not dry_run:
            raise Problem(409, "busy", "runs are being removed already", retry_after=5)
        before_ns = time_ns() - days * 86_400 * 10**9
        ids = await asyncio.to_thread(old_runs, context.store, before_ns=before_ns)
        if dry_run:
            counted = await asyncio.to_thread(held, context.store, ids)
            says = f"{counted.runs:,} runs with {counted.events:,} events would go, and files that nothing else needs."
            return {"days": days, "dry_run": True, **counted._asdict(), "files": None, "says": says}
        async with pruning:
            gone = await asyncio.to_thread(remove_runs, context.store, ids)
        await asyncio.to_thread(partial(context.audit, request, "prune", f"runs older than {days} d", **gone._asdict()))
        says = f"Removed {gone.runs:,} runs, {gone.events:,} events and {gone.files:,} files."
        return {"days": days, "dry_run": False, **gone._asdict(), "says": says}
