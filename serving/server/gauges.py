"""The engine's state as a `Snapshot`."""

from catp.serving.engine.engine import Engine
from catp.serving.server.backend import Snapshot

__all__ = ["snapshot_of"]


def snapshot_of(engine: Engine, device: str) -> Snapshot:
    """Return gauges and counters of an engine, without waiting for it."""
    core, state = engine.core, engine.state()
    scheduler = core.scheduler
    waiting = list(scheduler.queue.entries.values())
    return Snapshot(
        running=len(scheduler.running),
        waiting=len(waiting),
        waiting_tokens=sum(len(entry.job.request.prompt) for entry in waiting),
        kv_use=scheduler.pool.used / scheduler.pool.blocks,
        preemptions=scheduler.preempted,
        steps=state.steps,
        restarts=state.restarts,
        busy_seconds=engine.busy,
        policy=scheduler.guard.name,
        policy_fallbacks=scheduler.guard.fallbacks,
        token_budget=scheduler.limits.token_budget,
        device=device,
    )
