"""How a run, or the try to start one, ends on the command line: its exit code, and what is said on stderr."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from catp.cli.again import to_resume
from catp.cli.approval import say_how_to_resume
from catp.cli.output import (
    EXIT_BUDGET,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_INVALID_PLAN,
    EXIT_OK,
    EXIT_SLO_MISSED,
    EXIT_USAGE,
    EXIT_WAITING,
    console_err,
    fail,
    printable,
)

if TYPE_CHECKING:
    from catp.result import RunResult

__all__ = ["exit_code", "guarded", "say_booked", "say_how_to_go_on"]

Result = TypeVar("Result")


def say_how_to_go_on(result: "RunResult") -> None:
    """Say on stderr how a saved run that did not come to its end goes on."""
    if result.status == "waiting":
        say_how_to_resume(result.run_id)
    elif result.status == "cancelled" and result.saved:
        why = str(result.trace[-1].data.get("reason") or "interrupted")
        console_err().print(f"{printable(why)}; go on with: {to_resume(result.run_id)}", markup=False)


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
        say_booked(error.booked)
        fail(str(error), EXIT_BUDGET if error.limit == "budget" else EXIT_SLO_MISSED)
    except PlanningFailed as error:
        say_booked(error.booked)
        fail(str(error), EXIT_FAILED)
    except RunRefused as error:
        say_booked(error.booked)
        codes = {diagnostic.code for diagnostic in error.quote.verdict.diagnostics}
        fail(str(error), EXIT_SLO_MISSED if codes == {"E203"} else EXIT_BUDGET, help=_remedy(codes))
    except InputError as error:
        fail(str(error), EXIT_USAGE)


def _remedy(codes: set[str]) -> str:
    if "E205" in codes:
        return "give the tool a price, measure it with `catp tools bench`, set --assume-price, or run without --budget"
    if codes == {"E203"}:
        return "raise --deadline or the plan's own latency limit"
    return "raise --budget or the plan's own limit, or choose a cheaper plan"


def say_booked(booked: "RunResult | None") -> None:
    """Say on stderr what was spent on steps that were started before there was no run."""
    if booked is not None:
        from catp.cli.output import dollars

        where = f", booked as run {booked.run_id}" if booked.saved else ""
        console_err().print(f"spent {dollars(booked.spent)} on planning and steps started early{where}", markup=False)
