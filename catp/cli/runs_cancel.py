"""`catp runs cancel`: end a run for good, also one that another process is driving."""

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from catp.approvals import user
from catp.cli.config import settings_or_fail
from catp.cli.deeds import note_done
from catp.cli.options import JsonOption, ToolsOption
from catp.cli.output import EXIT_FAILED, console_err, emit_json, emit_text, fail
from catp.cli.run_agent import agent_from
from catp.cli.runs_resume import RunArgument, StoreOption, found
from catp.store.stopping import ask, asked

if TYPE_CHECKING:
    from catp.agent import Agent
    from catp.result import RunResult
    from catp.store.records import RunSummary
    from catp.store.store import RunStore

__all__ = ["cancel"]

_PATIENCE_S = 60.0
"""How long to wait for another process: its tools may take their time to stop."""

_LOOK_S = 0.2


def cancel(
    run_id: RunArgument,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for the record.")] = "",
    tools: ToolsOption = None,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """End a run for good: nothing more is called. A process that drives it is asked to stop it, and waited for."""
    agent = agent_from(settings_or_fail(tools=tools, store=store), save=True)

    async def work() -> "RunResult | RunSummary":
        try:
            return await _cancel(agent, run_id, reason)
        finally:
            await agent.close()

    ended = found(work)
    from catp.cli.report import print_result, result_json
    from catp.result import RunResult

    if isinstance(ended, RunResult):
        if json_:
            result_json(ended)
        else:
            print_result(ended, agent)
    elif json_:
        emit_json("catp.cancel/1", {"run": ended.id, "status": ended.status})
    elif ended.status == "cancelled":
        emit_text(f"run {ended.id}: cancelled by the process that drove it")
    else:
        emit_text(f"run {ended.id}: it ended by itself before it could be cancelled: {ended.status}")


async def _cancel(agent: "Agent", run_id: str, reason: str) -> "RunResult | RunSummary":
    assert agent.store is not None
    run = await asyncio.to_thread(agent.store.find, run_id)
    asking = partial(ask, run_id=run.id, by=user(), reason=reason, now_ns=time.time_ns())
    noted = partial(note_done, agent.store.database, "run.cancel", run.id, reason=reason)
    if not await agent.store.database.awrite(asking):
        result = await agent.cancel(run.id, reason or "cancelled for good")
        await asyncio.to_thread(noted)
        return result
    await asyncio.to_thread(noted)
    console_err().print(f"asking the process that drives run {run.id} to stop it", markup=False)
    ended = await _over(agent.store, run.id)
    if ended.status == "interrupted":  # the process died before it looked
        return await agent.cancel(run.id, reason or "cancelled for good")
    return ended


async def _over(store: "RunStore", run_id: str) -> "RunSummary":
    """The run once no process drives it any more."""
    end = time.monotonic() + _PATIENCE_S
    while True:
        run = await asyncio.to_thread(store.find, run_id)
        waiting = {stop.run_id for stop in await store.database.aread(asked)}
        if run_id not in waiting or run.status == "interrupted":
            return await asyncio.to_thread(store.find, run_id)
        if time.monotonic() > end:
            fail(
                f"the process that drives run {run_id} has not stopped it after {_PATIENCE_S:g} s", EXIT_FAILED,
                help="its tools may still be stopping: look again with `catp runs show`, or end that process",
            )  # fmt: skip
        await asyncio.sleep(_LOOK_S)
