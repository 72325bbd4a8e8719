"""`catp runs replay|fork`: the same run with something changed, on paper or for real."""

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from catp.cli.asked import read_cli_inputs
from catp.cli.config import settings_or_fail
from catp.cli.options import BudgetOption, DeadlineOption, InputsOption, JsonOption, ToolsOption
from catp.cli.output import EXIT_USAGE, dollars, emit_json, emit_text, fail, milliseconds
from catp.cli.run_agent import agent_from
from catp.cli.runs_resume import ApproveOption, RunArgument, StoreOption, found, limits_given, print_run
from catp.cli.watched import watched
from catp.planlang.money import Money

if TYPE_CHECKING:
    from catp.replaying import Replay
    from catp.result import RunResult

__all__ = ["fork", "replay"]

SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="STEP|TOOL=TOOL", help="Another tool, for one step or wherever a tool is used."),
]


def fork(
    run_id: RunArgument,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="STEP", help="Run again from this step on; keep what it reads.")
    ] = None,
    set_: SetOption = None,
    input_: InputsOption = None,
    budget: BudgetOption = None,
    deadline: DeadlineOption = None,
    approve: ApproveOption = "ask",
    tools: ToolsOption = None,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Run part of a saved run again, as a new run; values that need not be made again are kept for nothing."""
    settings = settings_or_fail(budget=budget, deadline=deadline, tools=tools, store=store)
    changed, inputs = _pairs(set_ or []), read_cli_inputs(input_ or [])
    agent = agent_from(settings, save=True)
    from catp.recorded import read_run

    async def work() -> "RunResult":
        try:
            run = await read_run(agent.store, run_id)
            steps = [step.name for step in run.plan.steps]
            start = partial(
                agent.fork, run.run_id, from_, set=changed, inputs=inputs,
                **limits_given(settings, budget=budget, deadline=deadline),
            )  # fmt: skip
            return await watched(agent, steps, start, approve=approve, jsonl=False)
        finally:
            await agent.close()

    print_run(found(work), agent, json_=json_)


def replay(
    run_id: RunArgument,
    set_: SetOption = None,
    workers: Annotated[int | None, typer.Option(min=1, metavar="N", help="How many calls at once.")] = None,
    budget: BudgetOption = None,
    deadline: DeadlineOption = None,
    tools: ToolsOption = None,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Play a saved run again from its record, with another tool or limit if you like; nothing is called or spent."""
    settings = settings_or_fail(budget=budget, deadline=deadline, tools=tools, store=store)
    changed = _pairs(set_ or [])
    agent = agent_from(settings, save=True)

    async def work() -> "Replay":
        try:
            return await agent.replay(
                run_id, set=changed, workers=workers,
                **limits_given(settings, budget=budget, deadline=deadline),
            )  # fmt: skip
        finally:
            await agent.close()

    done = found(work)
    if json_:
        emit_json("catp.replay/1", _replay_json(done))
    else:
        emit_text("\n".join(_lines(done)))


def _pairs(options: list[str]) -> dict[str, str]:
    pairs = [option.partition("=") for option in options]
    for name, separator, tool in pairs:
        if not (name and separator and tool):
            fail(f"--set {name + separator + tool!r}: write STEP=TOOL or TOOL=TOOL", EXIT_USAGE)
    return {name: tool for name, _, tool in pairs}


def _lines(replay: "Replay") -> list[str]:
    from catp.cli.report import columns
    from catp.runtime.planning import PLANNING_STEP

    table = [("step", "tool", "cost then", "now", "time then", "now", "status")]
    table += [
        (PLANNING_STEP, planning.planner, cost := dollars(planning.price), cost, "-", "-", "ok")
        for planning in replay.planning
    ]
    for step in replay.steps:
        tool = step.tool_now or ""
        if step.tool_then is not None and step.tool_then != step.tool_now:
            tool = f"{step.tool_then} > {step.tool_now or '-'}"
        status = step.status_now if step.status_now == step.status_then else f"{step.status_then} > {step.status_now}"
        about = "~" if step.estimated else ""
        table.append(
            (
                step.name, tool, _cost(step.cost_then), about + _cost(step.cost_now), _ms(step.ms_then),
                about + _ms(step.ms_now), status,
            )
        )  # fmt: skip
    then, now = replay.then, replay.now
    status = now.status if now.status == then.status else f"{then.status} > {now.status}"
    table.append(("total", "", dollars(then.cost), dollars(now.cost), _ms(then.ms), _ms(now.ms), status))
    head = f"Run {replay.run_id} played again from its record; nothing was called"
    note = [] if replay.exact else ["  ~ estimated: these calls are not in the record"]
    return [head, *columns(table, right=(2, 3, 4, 5)), *note]


def _replay_json(replay: "Replay") -> dict[str, Any]:
    from catp.cli.quotes import usd_json

    def side(which: str) -> dict[str, Any]:
        one = getattr(replay, which)
        return {"status": one.status, "cost_usd": usd_json(one.cost), "ms": one.ms}

    return {
        "run": replay.run_id,
        "exact": replay.exact,
        "then": side("then"),
        "now": side("now"),
        "planning": [planning.to_json() for planning in replay.planning],
        "steps": [
            {
                "step": step.name,
                "estimated": step.estimated,
                "then": {
                    "status": step.status_then, "tool": step.tool_then, "cost_usd": usd_json(step.cost_then),
                    "ms": step.ms_then,
                },
                "now": {
                    "status": step.status_now, "tool": step.tool_now, "cost_usd": usd_json(step.cost_now),
                    "ms": step.ms_now,
                },
            }
            for step in replay.steps
        ],
    }  # fmt: skip


def _cost(amount: Money | None) -> str:
    return "-" if amount is None else dollars(amount)


def _ms(ms: float | None) -> str:
    return "-" if ms is None else milliseconds(ms)
