"""`catp runs resume`: go on with a run that stopped."""

import json
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from catp.cli.asked import read_cli_inputs
from catp.cli.config import settings_or_fail
from catp.cli.options import BudgetOption, DeadlineOption, InputsOption, JsonOption, ToolsOption
from catp.cli.output import EXIT_UNREACHABLE, EXIT_USAGE, EXIT_WAITING, fail, printable
from catp.cli.run_agent import agent_from
from catp.cli.run_end import exit_code, guarded, say_how_to_go_on
from catp.cli.watched import watched

if TYPE_CHECKING:
    from catp.agent import Agent
    from catp.config import Settings
    from catp.result import RunResult
    from catp.resume import InFlight
    from catp.runtime.doubts import Decision, Doubt

__all__ = [
    "ApproveOption",
    "RunArgument",
    "StoreOption",
    "found",
    "limits_given",
    "open_steps",
    "print_run",
    "resume",
]

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, or enough of its start or end.")]
StoreOption = Annotated[str | None, typer.Option("--store", metavar="FILE|URL", help="The store of saved runs.")]
ApproveOption = Annotated[
    str, typer.Option(metavar="ask|later|auto|never", help="What to do with plans and steps marked @approve.")
]
T = TypeVar("T")


def resume(
    run_id: RunArgument,
    in_flight: Annotated[
        list[str] | None,
        typer.Option(
            metavar="again|done|failed|ask",
            help="What to do about calls that may have acted: one answer for all, or STEP=again, STEP=done, "
            "STEP=done=VALUE, STEP=failed; ask if not given.",
        ),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also run again what had failed, was refused or cancelled.")
    ] = False,
    input_: InputsOption = None,
    budget: BudgetOption = None,
    deadline: DeadlineOption = None,
    approve: ApproveOption = "ask",
    tools: ToolsOption = None,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Go on with a run that was interrupted or waits; what has finished is not called and not paid again."""
    decisions = _decisions(in_flight or ["ask"])
    settings = settings_or_fail(budget=budget, deadline=deadline, tools=tools, store=store)
    inputs = read_cli_inputs(input_ or [])
    agent = agent_from(settings, save=True)

    async def work() -> "RunResult":
        try:
            saved, steps = await open_steps(agent, run_id)
            start = partial(
                agent.resume, saved, in_flight=decisions, retry_failed=retry_failed, inputs=inputs,
                **limits_given(settings, budget=budget, deadline=deadline),
            )  # fmt: skip
            return await watched(agent, steps, start, approve=approve, jsonl=False)
        finally:
            await agent.close()

    print_run(found(work), agent, json_=json_)


def limits_given(settings: "Settings", *, budget: str | None, deadline: str | None) -> dict[str, Any]:
    """The limits of this command line; where none are given a run keeps its own, whatever is configured."""
    return {
        "budget": settings.budget if budget is not None else None,
        "deadline_s": settings.deadline if deadline is not None else None,
    }


def print_run(result: "RunResult", agent: "Agent", *, json_: bool) -> None:
    """Print a run that has come to its end, or say how it goes on, and exit as `catp run` does."""
    from catp.cli.report import print_result, result_json

    if json_:
        result_json(result)
    else:
        print_result(result, agent)
    say_how_to_go_on(result)
    raise typer.Exit(exit_code(result))


def found(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run the coroutine; a run that is not there or cannot go on ends the command with its message."""
    from catp.recorded import CannotResume
    from catp.runtime.doubts import InDoubt
    from catp.store.errors import RunOwned, StoreError

    try:
        return guarded(work)
    except InDoubt as error:
        fail(printable(str(error)), EXIT_WAITING)
    except CannotResume as error:
        fail(printable(str(error)), EXIT_USAGE)
    except RunOwned as error:
        stop = "`catp runs cancel` or SIGTERM makes it stop its calls and complete the ledger; the run can then go on"
        fail(printable(str(error)), EXIT_USAGE, help=stop)
    except StoreError as error:
        fail(str(error), EXIT_UNREACHABLE, help="name another store with --store")
    except KeyError as error:
        fail(str(error.args[0]), EXIT_USAGE)


async def open_steps(agent: "Agent", run_id: str) -> tuple[str, list[str]]:
    """The full id of a run, and its steps that have not ended well."""
    from catp.recorded import read_run

    run = await read_run(agent.store, run_id)
    over = {name for name, step in run.restored.steps.items() if step.status in ("ok", "skipped")}
    return run.run_id, [step.name for step in run.plan.steps if step.name not in over]


def _decisions(options: list[str]) -> "InFlight | None":
    from catp.resume import decider_of

    if options == ["ask"]:
        return _ask
    if len(options) == 1 and "=" not in options[0]:
        answers: InFlight = options[0]  # type: ignore[assignment]  # checked below
    else:
        answers = dict(_decision(option) for option in options)
    try:
        return decider_of(answers)
    except ValueError as error:
        fail(f"--in-flight: {error}", EXIT_USAGE)


def _decision(option: str) -> "tuple[str, Decision]":
    from catp.runtime.doubts import Decision

    step, _, answer = option.partition("=")
    say, has_value, text = answer.partition("=")
    if say not in ("again", "done", "failed") or (has_value and say != "done"):
        fail(f"--in-flight {option!r}: write STEP=again, STEP=done, STEP=done=VALUE or STEP=failed", EXIT_USAGE)
    return step, Decision(say, _value(text) if has_value else None)  # type: ignore[arg-type]  # checked above


def _value(text: str) -> Any:
    """A value as JSON, or as the text itself if it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _ask(doubt: "Doubt") -> "Decision | None":
    """Ask on the terminal; without one, or without an answer, nobody has decided."""
    if not sys.stdin.isatty():
        return None
    key = f", key {doubt.key}" if doubt.key is not None else ""
    sys.stderr.write(
        printable(
            f"step {doubt.place}: {doubt.tool}{key} {doubt.why}, and may have acted. Look whether it did, then say\n"
            "  again, done, done=VALUE or failed: "
        )
    )
    sys.stderr.flush()
    answer = sys.stdin.readline().strip()
    return _decision(f"{doubt.step}={answer}")[1] if answer else None
