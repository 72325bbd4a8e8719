"""One place of a Ray pool, seen from the program: how its actor is started, asked, and ended."""

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from catp.tools.adapters.ray_actor import KEPT, CallActor
from catp.tools.adapters.ray_cluster import check_connected, forget, soon
from catp.tools.workers import WorkerLimits

__all__ = ["Place", "create", "environment", "kill", "report"]

_PING_S = 5.0
_FRESH_S = 1.0
"""A place heard of so recently is taken to be alive; others are asked before a call is trusted to them."""


class Place:
    """One actor, from this side."""

    def __init__(self, actor: Any, where: str) -> None:
        self.actor = actor
        self.where = where
        self.dead = False
        self.warm: deque[str] = deque(maxlen=KEPT)
        self.heard = asyncio.get_running_loop().time()

    async def answers(self) -> bool:
        """True if the place is still there."""
        try:
            check_connected()
            if asyncio.get_running_loop().time() - self.heard < _FRESH_S:
                return True
            async with asyncio.timeout(_PING_S):
                await asyncio.shield(report(self.actor))
        except Exception:  # whatever it is: this place is of no use
            return False
        return True

    def kill(self) -> None:
        """Have Ray end the actor, and with it what it runs. Does not wait; harmless when repeated."""
        if not self.dead:
            self.dead = True
            soon(partial(kill, self.actor))

    async def gone(self) -> None:
        """Wait until a killed place has ended, for a while."""
        with suppress(Exception):  # its end is what is waited for
            async with asyncio.timeout(_PING_S):
                while True:
                    await report(self.actor)
                    await asyncio.sleep(0.01)


def create(options: Mapping[str, Any], limits: WorkerLimits) -> Any:
    """Have Ray start an actor; it reports once the cluster has room for it. Blocks."""
    import ray

    return ray.remote(CallActor).options(**options).remote(limits)


def environment(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return a runtime environment in which Ray does not kill the actor's own children before the actor.

    It would kill worker processes one by one and leave alive what they started; without it the kernel kills whole
    process groups when the actor has gone (see `catp.tools.worker`).
    """
    variables = {"RAY_kill_child_processes_on_worker_exit": "0", **wanted.get("env_vars", {})}
    return {**wanted, "env_vars": variables}


def report(actor: Any) -> "asyncio.Future[str]":
    """Ask a place to report."""

    async def asked() -> str:
        check_connected()
        where: str = await actor.report.remote()
        return where

    asking = asyncio.ensure_future(asked())
    asking.add_done_callback(forget)
    return asking


def kill(actor: Any) -> None:
    """Have Ray end an actor, and with it what it runs. Blocks for a moment; harmless when repeated."""
    import ray

    with suppress(Exception):  # the connection was closed, or the actor is of an earlier one: it is gone either way
        check_connected()
        ray.kill(actor, no_restart=True)
