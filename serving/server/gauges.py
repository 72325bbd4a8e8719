"""The engine's state as a `Snapshot`."""

from collections.abc import Sequence
from dataclasses import dataclass

from catp.serving.engine.engine import Engine
from catp.serving.engine.request import Job
from catp.serving.engine.step import Step
from catp.serving.metering.account import Account
from catp.serving.metering.timeline import Timeline
from catp.serving.policies.budget import BudgetController
from catp.serving.policies.drift import DriftGuard
from catp.serving.server.backend import Snapshot

__all__ = ["Gauges", "Watch"]


class Watch:
    """Keeps the accounts by step times as they are known now; implements `catp.serving.engine.core.Watcher`."""

    def __init__(self, account: Account, budget: BudgetController | None, timeline: Timeline) -> None:
        self.account, self._budget, self._timeline = account, budget, timeline

    def stepped(self, step: Step, seconds: float) -> None:
        """Attribute a step's seconds."""
        if self._budget is not None:
            self.account.costs = self._budget.costs
        self.account.stepped(step, seconds)
        self._timeline.stepped(step, seconds)

    def ended(self, job: Job) -> None:
        """Nothing to do: the server counts what a request took."""


@dataclass(frozen=True, slots=True)
class Gauges:
    """What a snapshot is taken of."""

    engine: Engine
    account: Account
    timeline: Timeline
    budget: BudgetController | None
    drift: DriftGuard
    device: str

    def snapshot(self) -> Snapshot:
        """Return gauges and counters, without waiting for the engine."""
        engine, budget = self.engine, self.budget
        core, state = engine.core, engine.state()
        scheduler = core.scheduler
        running, waiting = scheduler.running, scheduler.waiting
        decisions = sorted(core.decisions.copy())
        pool, timeline = scheduler.pool, self.timeline
        return Snapshot(
            running=len(running),
            waiting=len(waiting),
            waiting_tokens=sum(len(job.request.prompt) for job in waiting),
            sequences=sum(len(job.branches) for job in running),
            kv_use=pool.used / pool.blocks,
            preemptions=scheduler.preempted,
            steps=state.steps,
            step_failures=core.failures,
            restarts=state.restarts,
            busy_seconds=engine.busy,
            prefill_tokens=timeline.prefill,
            decode_tokens=timeline.decode,
            step_tokens=timeline.last,
            decision_p50=_quantile(decisions, 0.5),
            decision_p99=_quantile(decisions, 0.99),
            policy=scheduler.guard.name,
            policy_fallbacks=scheduler.guard.fallbacks,
            token_budget=scheduler.limits.token_budget if budget is None else budget.latest,
            drift=not self.drift.trusted,
            device=self.device,
            extra={"kv_blocks_used": pool.used, "kv_blocks_cached": pool.cached, "kv_blocks_free": pool.free},
        )


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else None
