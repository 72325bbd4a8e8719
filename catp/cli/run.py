"""`catp run`: plan a task (or take a plan file), show the quote, run it, show outputs and ledger, save the run."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from catp.cli.approval import MODES, approval_policy, say_how_to_resume
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
from catp.cli.output import (
    EXIT_BUDGET,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_INVALID_PLAN,
    EXIT_OK,
    EXIT_SLO_MISSED,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    EXIT_WAITING,
    console_err,
    emit_jsonl,
    fail,
    printable,
    say_errors_in_json,
)

if TYPE_CHECKING:
    from catp.agent import Agent
    from catp.config import Settings
    from catp.planlang.nodes import Plan
    from catp.result import RunResult

__all__ = [
    "agent_from",
    "exit_code",
    "guarded",
    "parse_wanted",
    "read_cli_inputs",
    "run",
    "say_how_to_go_on",
    "watched",
]

Result = TypeVar("Result")


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
        _check_uncounted(settings)
    else:
        _check_store(agent)

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
            _say_booked(stopped.result)
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


def say_how_to_go_on(result: "RunResult") -> None:
    """Say on stderr how a saved run that did not come to its end goes on."""
    if result.status == "waiting":
        say_how_to_resume(result.run_id)
    elif result.status == "cancelled" and result.saved:
        why = str(result.trace[-1].data.get("reason") or "interrupted")
        console_err().print(f"{printable(why)}; go on with: catp runs resume {result.run_id}", markup=False)


def exit_code(result: "RunResult") -> int:
    """Map a run's end to the exit code.

    130 if it was cancelled, 7 if it waits for an approval. If a required output is missing or a write step failed: 5
    for the deadline, 4 if something was refused (budget or approval), else 1. Missing optional outputs are no failure:
    0.
    """
    if result.status == "cancelled":
        return EXIT_INTERRUPTED
    if result.status == "waiting":
        return EXIT_WAITING
    missing = [output for output in result.results.values() if output.status != "ok" and not output.optional]
    lost = [step for step in result.steps.values() if step.status not in ("ok", "skipped")]
    if result.status == "complete" or not (missing or any(_writes(result, step.name) for step in lost)):
        return EXIT_OK
    if any(step.status == "cancelled" and "run's deadline" in step.reason for step in lost):
        return EXIT_SLO_MISSED
    return EXIT_BUDGET if any(step.status == "refused" for step in lost) else EXIT_FAILED


def _writes(result: "RunResult", step: str) -> bool:
    plans = (result.plan.plan, result.quote.compiled.plan)  # a repair may have replaced the step
    tools = [attempt.tool for plan in plans for s in plan.steps if s.name == step for attempt in s.attempts]
    return any(sig is not None and sig.effects == "write" for sig in map(result.plan.registry.get, tools))


def _check_store(agent: "Agent") -> None:
    """End the command before anything is spent if the run could not be saved anyway."""
    from catp.store.store import StoreError

    assert agent.store is not None
    try:
        agent.store.list(limit=1)
    except StoreError as error:
        fail(str(error), EXIT_UNREACHABLE, help="name another store with --store, or run with --no-save")


def _check_uncounted(settings: "Settings") -> None:
    """End the command if a shared budget holds for the run: it could not count a run that is not saved."""
    if isinstance(settings.store, Path) and not settings.store.exists():
        return
    from catp.spending import desk_for
    from catp.store.errors import StoreError
    from catp.store.store import RunStore

    store = RunStore(settings.store)
    desk = desk_for(store, settings.project, settings.agent)
    assert desk is not None
    try:
        rooms = desk.rooms()
    except StoreError as error:
        rooms = []  # only who named a project or an agent can have a budget
        if desk.capped:
            fail(str(error), EXIT_UNREACHABLE, help="name another store with --store")
    finally:
        desk.close()
        store.close()
    if rooms:
        fail(
            f"{rooms[0].name} has a budget, which cannot count a run that is not saved",
            EXIT_USAGE, help="leave out --no-save, or name another --project",
        )  # fmt: skip


def agent_from(settings: "Settings", *, save: bool) -> "Agent":
    """Build the agent the settings describe."""
    from catp.agent import Agent
    from catp.cli.catalogues import load_catalogue
    from catp.planners.chosen import planner_for
    from catp.telemetry import TelemetryError, telemetry_for

    try:
        telemetry = telemetry_for(settings.telemetry)
        planner = planner_for(settings.planner)
    except (TelemetryError, ValueError) as error:
        fail(str(error), EXIT_USAGE)
    return Agent(
        load_catalogue(settings.tools, settings.profiles),
        planner,
        budget=settings.budget,
        deadline_s=settings.deadline,
        alpha=settings.alpha,
        store=settings.store if save else None,
        profiles=settings.profiles if save else None,
        workers=settings.workers,
        assume_price=settings.assume_price,
        reserve=settings.reserve,
        strict=settings.strict,
        project=settings.project,
        name=settings.agent,
        telemetry=telemetry or False,
        repair=settings.repair,
        approve_plan=settings.approve_plan,
        cache=settings.cache,
        cache_mb=settings.cache_mb,
        eager=settings.eager if settings.eager_cap is None else settings.eager and settings.eager_cap,
    )


def parse_wanted(options: list[str]) -> dict[str, str] | None:
    """Turn `--want NAME=TYPE` options into a mapping; None if there are none."""
    pairs = [option.partition("=") for option in options]
    for name, separator, type_ in pairs:
        if not separator or not name.isidentifier() or not type_:
            fail(f"--want {name + separator + type_!r}: write NAME=TYPE, such as language=Language", EXIT_USAGE)
    return {name: type_ for name, _, type_ in pairs} or None


def read_plan_file(task: str) -> "Plan | None":
    """Return the plan if `task` names a plan file (`-` for stdin), or None if it is a task in words."""
    if not task.strip():
        fail("the task is empty", EXIT_USAGE, help="say what to do, or name a plan file")
    path = Path("stdin.plan" if task == "-" else task)
    if path.suffix not in (".plan", ".json") or "\n" in task:
        return None
    from catp.cli.output import read_source
    from catp.planlang.errors import PlanError
    from catp.planlang.jsonform import from_json
    from catp.planlang.parser import parse

    source = read_source(task)
    try:
        plan = from_json(source) if path.suffix == ".json" else parse(source)
    except PlanError as error:
        from catp.cli.plan import refuse

        refuse(task, error)
    return plan if plan.name is not None else replace(plan, name=_plan_name(path.stem))


def _plan_name(stem: str) -> str | None:
    """A file's name as the plan's, so that the list of runs says what ran; None if it cannot be one."""
    from catp.planlang.lexer import KEYWORDS

    name = "".join(c if c.isascii() and c.isalnum() else "_" for c in stem.lower()).strip("_")
    return name if name[:1].isalpha() and name not in KEYWORDS else None


async def watched(
    agent: "Agent",
    steps: Sequence[str],
    start: Callable[..., Coroutine[Any, Any, "RunResult"]],
    *,
    approve: str,
    jsonl: bool,
) -> "RunResult":
    """Drive a run with its progress on stderr; an interrupt stops it and gives what it had until then.

    `start` takes `on_event` and `approve`, as `Agent.run` does; `steps` are the rows to show.
    """
    from catp.cli.progress import Progress
    from catp.result import RunCancelled

    loop = asyncio.get_running_loop()
    with Progress(steps, agent.budget) as progress:

        def on_event(event: Any) -> None:
            progress.on_event(event)
            if jsonl:
                emit_jsonl("catp.event/1", event.to_json())

        policy = approval_policy(approve, progress.paused, stored=agent.store is not None)
        running = asyncio.ensure_future(start(on_event=on_event, approve=policy))
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


def _say_booked(booked: "RunResult | None") -> None:
    """Say on stderr what was spent on steps that were started before there was no run."""
    if booked is not None:
        from catp.cli.output import dollars

        where = f", booked as run {booked.run_id}" if booked.saved else ""
        console_err().print(f"spent {dollars(booked.spent)} on planning and steps started early{where}", markup=False)


def _remedy(codes: set[str]) -> str:
    if "E205" in codes:
        return "give the tool a price, measure it with `catp tools bench`, set --assume-price, or run without --budget"
    if codes == {"E203"}:
        return "raise --deadline or the plan's own latency limit"
    return "raise --budget or the plan's own limit, or choose a cheaper plan"


def guarded(work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run the coroutine and turn every expected failure into its message and exit code."""
    from catp.inputs import InputError
    from catp.planlang.errors import PlanError
    from catp.planners.protocol import NothingFits, PlanningFailed
    from catp.result import RunRefused

    try:
        return asyncio.run(work())
    except PlanError as error:
        fail(str(error), EXIT_INVALID_PLAN)
    except NothingFits as error:
        _say_booked(error.booked)
        fail(str(error), EXIT_BUDGET if error.limit == "budget" else EXIT_SLO_MISSED)
    except PlanningFailed as error:
        _say_booked(error.booked)
        fail(str(error), EXIT_FAILED)
    except RunRefused as error:
        _say_booked(error.booked)
        codes = {diagnostic.code for diagnostic in error.quote.verdict.diagnostics}
        fail(str(error), EXIT_SLO_MISSED if codes == {"E203"} else EXIT_BUDGET, help=_remedy(codes))
    except InputError as error:
        fail(str(error), EXIT_USAGE)
