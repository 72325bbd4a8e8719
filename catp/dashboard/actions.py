"""State changes, each through the function that the command line uses: cancel, approve, reject."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from catp.dashboard.demo_names import DEMO_PROJECTS
from catp.dashboard.forms import iso, usd
from catp.dashboard.problems import Problem
from catp.decisions import answer
from catp.planlang.money import Money
from catp.store import stopping
from catp.store.approvals import Approval, ApprovalError
from catp.store.store import RunStore, RunSummary

if TYPE_CHECKING:
    from catp.agent import Agent

__all__ = ["AgentFor", "agent_of", "approval_json", "cancel", "decide", "default_agent"]

AgentFor = Callable[[RunStore], "Agent"]
"""Makes the agent that ends runs; it needs the tools they ran with."""


def default_agent(store: RunStore) -> "Agent":
    """Return an agent with the built-in tools."""
    from catp.agent import Agent

    return Agent(planner="search", store=store)


def agent_of(store: RunStore, agent_for: AgentFor, run: RunSummary) -> "Agent":
    """Return the agent that goes on with a run, replays and ends it: runs of the demo need the demo's own tools."""
    if run.project not in DEMO_PROJECTS:
        return agent_for(store)
    from catp.dashboard.demo import demo_agent

    return demo_agent(store)


async def cancel(
    store: RunStore, agent: "Callable[[str], Awaitable[Agent]]", run_id: str, *, by: str, reason: str
) -> dict[str, Any]:
    """End a run for good; if a living process drives it, that process is asked to, and the status is `stopping`.

    `agent` returns the one that has the tools of a run; whoever made it closes it.
    """
    from catp.recorded import CannotResume

    run = await asyncio.to_thread(store.find, run_id)
    asking = partial(stopping.ask, run_id=run.id, by=by, reason=reason, now_ns=time.time_ns())
    if await store.database.awrite(asking):
        return {"run": run.id, "status": "stopping"}
    ends = await agent(run.id)
    try:
        result = await ends.cancel(run.id, str(stopping.Stop(run.id, by, reason, 0)))
    except CannotResume as error:
        raise Problem(409, "cannot-cancel", str(error)) from error
    return {"run": run.id, "status": result.status}


async def decide(
    store: RunStore, run_id: str, step: str | None, *, granted: bool, by: str, reason: str, cap: Money | None = None
) -> dict[str, Any]:
    """Answer the question about a step, or the whole plan; the first answer counts, a second is refused with 409.

    With `cap`, it is a yes to a plan that may spend no more than that, which is less than was asked for.
    """
    run = await asyncio.to_thread(store.find, run_id)
    try:
        found = await answer(store.database, run.id, step, granted=granted, by=by, reason=reason, cap=cap)
    except ApprovalError as error:
        raise Problem(409, "cannot-decide", str(error)) from error
    return approval_json(found)


def approval_json(found: Approval) -> dict[str, Any]:
    """Return a question and its answer; `node` is null for the whole plan."""
    return {
        "run": found.run_id, "node": found.step, "requested": iso(found.requested_ns), "cap": usd(found.cap),
        "expires": iso(found.expires_ns), "detail": dict(found.detail), "decision": found.decision,
        "decided_by": found.decided_by, "decided": iso(found.decided_ns), "reason": found.reason,
        "problem": found.problem or None,
    }  # fmt: skip
