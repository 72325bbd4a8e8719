"""`catp run`: plan a task (or take a plan file), show the quote, run it, show outputs and ledger, save the run."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catp.cli.approval import MODES
from catp.cli.asked import parse_wanted, read_cli_inputs, read_plan_file
from catp.cli.config import settings_or_fail
from catp.cli.options import (
    AlphaOption,
    BudgetOption,
    DeadlineOption,
    InputsOption,
    JsonOption,
    PlannerOption,
    ToolsOption,
    WantOption,
)
from catp.cli.output import EXIT_USAGE, fail, say_errors_in_json
from catp.cli.run_agent import agent_from, check_store, check_uncounted
from catp.cli.run_end import exit_code, guarded, say_booked, say_how_to_go_on
from catp.cli.watched import watched

if TYPE_CHECKING:
    from catp.result import RunResult

__all__ = ["run"]


def run(
    task: Annotated[
        str, typer.Argument(metavar="TASK|PLANFILE", help="What to do, in words; or a .plan or .json file.")
    ],
    input_: InputsOption = None,
    want: WantOption = None,
    alpha: AlphaOption = None,
    budget: BudgetOption = None,
    deadline: DeadlineOption = None,
    assume_price: Annotated[
        str | None, typer.Option(metavar="USD", help="What an unpriced call is taken to cost under --budget.")
    ] = None,
    planner: PlannerOption = None,
    tools: ToolsOption = None,
    store: Annotated[str | None, typer.Option(metavar="FILE|URL", help="The store of saved runs.")] = None,
    reserve: Annotated[
        str | None, typer.Option(metavar="expected|p95|p99", help="Which price is held for a running call.")
    ] = None,
    strict: Annotated[
        bool | None, typer.Option("--strict", help="Refuse plans whose p95 price or time does not fit.")
    ] = None,
    project: Annotated[
        str | None, typer.Option(metavar="NAME", help="Book the run under this project, and hold its budgets.")
    ] = None,
    agent_name: Annotated[
        str | None, typer.Option("--agent", metavar="NAME", help="Book it for this agent too, and hold its budgets.")
    ] = None,
    repair: Annotated[
        int | None, typer.Option(min=0, max=100, help="How often failed steps may be planned anew.")
    ] = None,
    eager: Annotated[
        bool | None,
        typer.Option("--eager/--no-eager", help="Start steps that only compute or read while the plan is being made."),
    ] = None,
    eager_cap: Annotated[
        str | None,
        typer.Option(metavar="USD", help="Most that such steps may cost; a twentieth of --budget if not given."),
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Make every call, whatever results are kept; keep none.")
    ] = False,
    no_save: Annotated[bool, typer.Option("--no-save", help="Do not save the run.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Write the outputs here.")
    ] = None,
    approve: Annotated[
        str, typer.Option(metavar="ask|later|auto|never", help="What to do with plans and steps marked @approve.")
    ] = "ask",
    approve_plan: Annotated[
        bool | None, typer.Option("--approve-plan", help="The whole plan must be approved before its first call.")
    ] = None,
    json_: JsonOption = False,
    jsonl: Annotated[
        bool,
        typer.Option(
            "--jsonl",
            callback=say_errors_in_json,
            is_eager=True,
            help="Print events as they happen, one JSON object a line.",
        ),
    ] = False,
) -> None:
    """Plan a task, price it, run it, and account for every cent."""
    if approve not in MODES:
        fail(f"--approve {approve!r}: write ask, later, auto or never", EXIT_USAGE)
    if approve == "later" and no_save:
        fail("--approve later: a run that is not saved cannot go on later", EXIT_USAGE, help="leave out --no-save")
    settings = settings_or_fail(
        alpha=alpha,
        budget=budget,
        deadline=deadline,
        planner=planner,
        tools=tools,
        store=store,
        assume_price=assume_price,
        repair=repair,
        approve_plan=approve_plan,
        reserve=reserve,
        strict=strict,
        project=project,
        agent=agent_name,
        cache=False if no_cache else None,
        eager=eager,
        eager_cap=eager_cap,
    )
    inputs = read_cli_inputs(input_ or [])
    agent = agent_from(settings, save=not no_save)
    from catp.cli.report import print_quote, print_result, result_json, write_outputs
    from catp.result import RunCancelled
    from catp.typed_inputs import check_inputs

    if no_save:
        check_uncounted(settings)
    else:
        check_store(agent)

    async def work() -> "RunResult":
        try:
            plan = read_plan_file(task)
            async with agent.begin(task if plan is None else plan, inputs, wanted=parse_wanted(want or [])) as quote:
                check_inputs(quote.compiled, inputs)
                if not (json_ or jsonl):
                    print_quote(quote)
                names = [step.name for step in quote.compiled.plan.steps]
                start = partial(agent.run, quote, inputs)
                return await watched(agent, names, start, approve=approve, jsonl=jsonl)
        except RunCancelled as stopped:  # while it was planned: nothing was run
            say_booked(stopped.result)
            raise
        finally:
            await agent.close()

    result = guarded(work)
    if json_ or jsonl:
        result_json(result, one_line=jsonl)
    else:
        print_result(result, agent)
    say_how_to_go_on(result)
    if output is not None:  # last: paid results are shown even if the disk is full
        write_outputs(result, output)
    raise typer.Exit(exit_code(result))
