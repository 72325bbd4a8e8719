"""Going on with a saved run: after a crash, an interrupt, a decision somebody had to make, or a failure to be retried.

result = await agent.resume(run_id)                                  # asks nobody: raises InDoubt if it must
result = await agent.resume(run_id, in_flight={"book": "done"})      # or a callable that is asked
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

from catp.approvals import ApprovalPolicy
from catp.execution import Execution
from catp.planlang.money import Money
from catp.planners.protocol import Objective
from catp.recorded import CannotResume, RecordedRun, read_run, requote, takes_key
from catp.result import Quote, RunResult
from catp.runtime.doubts import Decider, Decision, Doubt, InDoubt, settle_doubts
from catp.runtime.events import RunEvent
from catp.runtime.program import build_program
from catp.runtime.repairs import Repairer
from catp.runtime.restore import Say, retried
from catp.saving import Saving

if TYPE_CHECKING:
    from catp.store.journal import RunJournal

__all__ = ["CannotResume", "Decision", "Doubt", "InDoubt", "InFlight", "cancel_run", "decider_of", "resume_run"]

InFlight: TypeAlias = Say | Mapping[str, Say | Decision] | Decider
"""What to do about calls that may have acted: one answer for all, answers by step (`"book"`, `"post[2]"`), or somebody
to ask."""

_SAYS = get_args(Say)


def decider_of(in_flight: InFlight | None) -> Decider | None:
    """Return who decides; raise `ValueError` for an answer that is none."""
    if in_flight is None or callable(in_flight):
        return in_flight
    answers = {"": in_flight} if isinstance(in_flight, str) else in_flight
    for place, answer in answers.items():
        if not isinstance(answer, Decision) and answer not in _SAYS:
            raise ValueError(f"in_flight{f' of {place}' if place else ''}: {answer!r} is none of {', '.join(_SAYS)}")
    if isinstance(in_flight, str):
        say = in_flight
        return lambda doubt: say

    def look_up(doubt: Doubt) -> Decision | Say | None:
        return answers.get(doubt.place, answers.get(doubt.step))

    return look_up


async def resume_run(
    execution: Execution,
    run_id: str,
    *,
    in_flight: InFlight | None = None,
    retry_failed: bool = False,
    inputs: Mapping[str, Any] | None = None,
    budget: Money | None = None,
    deadline_s: float | None = None,
    approve: ApprovalPolicy | None = None,
    on_event: Callable[[RunEvent], None] | None = None,
    repairs: Callable[[str, Objective], Repairer | None] = lambda task, objective: None,
) -> RunResult:
    """Take a run over and drive it to its end; see `Agent.resume`."""
    decide = decider_of(in_flight)
    run, journal = await _take_over(execution, run_id)
    try:
        _check_status(run, retry_failed)
        _check_places(run, in_flight)
        objective = run.objective(budget, deadline_s)
        given = _inputs(run, inputs or {})
        quote = requote(run, run.plan, given, objective, execution.catalogue)
        _check_deadline(run, quote, objective)
        restored = retried(run.restored) if retry_failed else run.restored
        restored = await settle_doubts(
            run.run_id, restored, build_program(quote.compiled),
            takes_key=lambda tool: takes_key(execution.catalogue, tool), decide=decide,
        )  # fmt: skip
    except BaseException:
        await journal.close()
        raise
    return await execution.run(
        quote, given, objective, approve=approve, on_event=on_event, repair=repairs(run.task, objective),
        run_id=run.run_id, saving=Saving(journal), restored=restored,
    )  # fmt: skip


async def cancel_run(execution: Execution, run_id: str, reason: str) -> RunResult:
    """End a waiting or interrupted run for good; what was in flight is charged, nothing is called.

    Raises `CannotResume` if it has ended already, `RunOwned` if a living process drives it.
    """
    run, journal = await _take_over(execution, run_id)
    try:
        if run.restored.status not in (None, "waiting"):
            raise CannotResume(f"run {run.run_id} has ended already: {run.restored.status}")
        objective = run.objective()
        inputs = run.restored.inputs
        quote = requote(run, run.plan, inputs, objective, execution.catalogue)
    except BaseException:
        await journal.close()
        raise
    return await execution.run(
        quote, inputs, objective, run_id=run.run_id, saving=Saving(journal), restored=run.restored, stop=reason
    )


async def _take_over(execution: Execution, run_id: str) -> "tuple[RecordedRun, RunJournal]":
    """Claim the run before reading it, so that nobody adds to its journal in between."""
    store = execution.store
    if store is None:
        raise CannotResume("the agent has no store, so there are no saved runs; give it one with `store=`")
    found = await asyncio.to_thread(store.find, run_id)
    journal = await asyncio.to_thread(store.resume, found.id)
    try:
        return await read_run(store, found.id), journal
    except BaseException:
        with suppress(Exception):  # the first error is the one to tell
            await journal.close()
        raise


def _check_status(run: RecordedRun, retry_failed: bool) -> None:
    status, name = run.restored.status, run.run_id
    if status in (None, "waiting"):
        return
    if status == "complete":
        raise CannotResume(f"run {name} is complete: there is nothing left to do (`catp runs show {name}`)")
    if retry_failed or (status == "cancelled" and run.restored.stopped == "interrupted"):
        return
    raise CannotResume(
        f"run {name} has ended: {status}{f' ({run.restored.stopped})' if run.restored.stopped else ''}; to run again "
        "what has no value, say so: --retry-failed, or retry_failed=True"
    )


def _check_places(run: RecordedRun, in_flight: InFlight | None) -> None:
    """An answer about a step that the plan does not have would be lost, and the run still wait for it."""
    if not isinstance(in_flight, Mapping):
        return
    steps = [step.name for step in run.plan.steps]
    for place in in_flight:
        if place.partition("[")[0] not in steps:
            raise CannotResume(f"in_flight: run {run.run_id} has no step {place!r}; it has {', '.join(steps)}")


def _check_deadline(run: RecordedRun, quote: Quote, objective: Objective) -> None:
    own = quote.compiled.plan.limits.latency
    limits = [(objective.deadline_ms / 1e3, "give more with --deadline")] if objective.deadline_ms is not None else []
    limits += [(own.seconds, "that limit is in the plan: fork the run with another plan")] if own is not None else []
    spent_s = run.restored.elapsed_ns / 1e9
    for limit_s, help_ in limits:
        if spent_s >= limit_s:
            raise CannotResume(
                f"run {run.run_id} has used up its time: it ran for {spent_s:.3g} s of {limit_s:g} s; {help_}"
            )


def _inputs(run: RecordedRun, given: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of the run; those that cannot be read back must be given again, others must not."""
    kept = dict(run.restored.inputs)
    for name in given:
        if name in kept:
            raise CannotResume(f"run {run.run_id} has its input {name!r}; to run with another, fork it")
    found = {**kept, **given}
    missing = [
        item.name
        for item in run.plan.inputs
        if item.name not in found and ((item.default is None and not item.type.optional) or _was_given(run, item.name))
    ]
    if missing:
        raise CannotResume(
            f"run {run.run_id}: input {', '.join(missing)} cannot be read back "
            f"({run.unreadable.get(f'input `{missing[0]}`', 'it was not saved')}); give it again with --input"
        )
    return found


def _was_given(run: RecordedRun, name: str) -> bool:
    return f"input `{name}`" in run.unreadable
