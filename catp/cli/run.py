"""`catp run`: plan a task (or take a plan file), show the quote, run it, show outputs and ledger, save the run."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from catp.cli.approval import MODES, Approver
from catp.cli.config import settings_or_fail
from catp.cli.output import (
    EXIT_BUDGET,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_INVALID_PLAN,
    EXIT_OK,
    EXIT_SLO_MISSED,
    EXIT_USAGE,
    console_err,
    emit_jsonl,
    fail,
)

if TYPE_CHECKING:
    from catp.agent import Agent
    from catp.config import Settings
    from catp.planlang.nodes import Plan
    from catp.result import Quote, RunResult

__all__ = ["agent_from", "exit_code", "guarded", "parse_wanted", "read_cli_inputs", "run"]

Result = TypeVar("Result")


def run(
    task: Annotated[
        str, typer.Argument(metavar="TASK|PLANFILE", help="What to do, in words; or a .plan or .json file.")
    ],
    input_: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", metavar="NAME=VALUE", help="NAME=file, NAME=text or NAME:=json."),
    ] = None,
    want: Annotated[
        list[str] | None, typer.Option("--want", metavar="NAME=TYPE", help="An output, instead of reading the task.")
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="Weight of quality against price, 0 to 1.")] = None,
    budget: Annotated[str | None, typer.Option(help="Most the run may cost, in US dollars.")] = None,
    deadline: Annotated[float | None, typer.Option(metavar="SECONDS", help="Most the run may take.")] = None,
    tools: Annotated[str | None, typer.Option(help="zoo, or package.module:attribute.")] = None,
    store: Annotated[Path | None, typer.Option(help="Database file of saved runs.")] = None,
    no_save: Annotated[bool, typer.Option("--no-save", help="Do not save the run.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Write the outputs here.")
    ] = None,
    approve: Annotated[
        str, typer.Option(metavar="auto|ask|never", help="What to do with steps marked @approve.")
    ] = "ask",
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Print events as they happen, one JSON object a line.")
    ] = False,
) -> None:
    """Plan a task, price it, run it, and account for every cent."""
    if approve not in MODES:
        fail(f"--approve {approve!r}: write auto, ask or never", EXIT_USAGE)
    settings = settings_or_fail(alpha=alpha, budget=budget, deadline_s=deadline, tools=tools, store=store)
    inputs = read_cli_inputs(input_ or [])
    agent = agent_from(settings, save=not no_save)
    from catp.cli.report import print_quote, print_result, result_json, write_outputs

    async def work() -> "RunResult":
        try:
            quote = await _quote(agent, task, inputs, parse_wanted(want or []))
            if not (json_ or jsonl):
                print_quote(quote)
            return await _run_with_progress(agent, quote, inputs, approve=approve, jsonl=jsonl)
        finally:
            await agent.close()

    result = guarded(work)
    if json_ or jsonl:
        result_json(result, one_line=jsonl)
    else:
        print_result(result, agent)
    if output is not None:  # last: paid results are shown even if the disk is full
        write_outputs(result, output)
    raise typer.Exit(exit_code(result))


def exit_code(result: "RunResult") -> int:
    """Map a run's end to the exit code: cancelled 130, deadline 5, refused by budget 4, other failures 1."""
    if result.status == "cancelled":
        return EXIT_INTERRUPTED
    if result.status != "failed":
        return EXIT_OK
    states = {step.status for step in result.steps.values()}
    if any("deadline" in step.reason for step in result.steps.values()):
        return EXIT_SLO_MISSED
    return EXIT_BUDGET if "refused" in states else EXIT_FAILED


def agent_from(settings: "Settings", *, save: bool) -> "Agent":
    """Build the agent the settings describe."""
    from catp.agent import Agent
    from catp.cli.catalogues import load_catalogue

    return Agent(
        load_catalogue(settings.tools, settings.profiles),
        budget=settings.budget,
        deadline_s=settings.deadline_s,
        alpha=settings.alpha,
        store=settings.store if save else None,
        profiles=settings.profiles if save else None,
        workers=settings.workers,
        assume_price=settings.assume_price,
    )


def parse_wanted(options: list[str]) -> dict[str, str] | None:
    """Turn `--want NAME=TYPE` options into a mapping; None if there are none."""
    pairs = [option.partition("=") for option in options]
    for name, separator, type_ in pairs:
        if not separator or not name.isidentifier() or not type_:
            fail(f"--want {name + separator + type_!r}: write NAME=TYPE, such as language=Language", EXIT_USAGE)
    return {name: type_ for name, _, type_ in pairs} or None


def read_plan_file(task: str) -> "Plan | None":
    """Return the plan if `task` names a plan file, or None if it is a task in words."""
    path = Path(task)
    if path.suffix not in (".plan", ".json") or "\n" in task:
        return None
    from catp.cli.output import read_source
    from catp.planlang.jsonform import from_json
    from catp.planlang.parser import parse

    source = read_source(task)
    return from_json(source) if path.suffix == ".json" else parse(source)


async def _quote(agent: "Agent", task: str, inputs: dict[str, Any], wanted: dict[str, str] | None) -> "Quote":
    plan = read_plan_file(task)
    return await agent.quote(plan if plan is not None else task, inputs, wanted=wanted)


async def _run_with_progress(
    agent: "Agent", quote: "Quote", inputs: dict[str, Any], *, approve: str, jsonl: bool
) -> "RunResult":
    from catp.cli.progress import Progress
    from catp.result import RunCancelled

    loop = asyncio.get_running_loop()
    with Progress([step.name for step in quote.compiled.plan.steps], agent.budget) as progress:

        def on_event(event: Any) -> None:
            progress.on_event(event)
            if jsonl:
                emit_jsonl("catp.event/1", event.to_json())

        approver = Approver(approve, progress.paused)
        running = asyncio.ensure_future(agent.run(quote, inputs, on_event=on_event, approve=approver.decide))
        with _interrupt_cancels(loop, running):
            try:
                return await running
            except RunCancelled as stopped:
                return stopped.result


@contextlib.contextmanager
def _interrupt_cancels(loop: asyncio.AbstractEventLoop, running: "asyncio.Future[RunResult]") -> Iterator[None]:
    """Let Ctrl-C or SIGTERM stop the work and complete the ledger; a second one does not wait for deaf tools."""
    signals = (signal.SIGINT, signal.SIGTERM)
    received: list[None] = []

    def stop() -> None:
        received.append(None)
        if len(received) == 1:
            console_err().print("stopping: cancelling running calls and completing the ledger", markup=False)
        else:
            release()
        running.cancel()

    def release() -> None:
        for number in signals:
            loop.remove_signal_handler(number)

    for number in signals:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        release()


def read_cli_inputs(options: list[str]) -> dict[str, Any]:
    """Read `--input` options; a bad one ends the command with exit code 2."""
    from catp.inputs import InputError, read_inputs

    try:
        return read_inputs(options)
    except InputError as error:
        fail(str(error), EXIT_USAGE)


def guarded(work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run the coroutine and turn every expected failure into its message and exit code."""
    from catp.inputs import InputError
    from catp.planlang.errors import PlanError
    from catp.planners.protocol import PlanningFailed
    from catp.result import RunRefused

    try:
        return asyncio.run(work())
    except PlanError as error:
        fail(str(error), EXIT_INVALID_PLAN)
    except PlanningFailed as error:
        fail(str(error), EXIT_FAILED)
    except RunRefused as error:
        fail(str(error), EXIT_BUDGET, help="raise --budget or --deadline, or lower --alpha for a cheaper plan")
    except InputError as error:
        fail(str(error), EXIT_USAGE)
