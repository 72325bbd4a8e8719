"""A saved run, read back so that it can go on: its journal folded, its plan compiled against the tools of today."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from catp.planlang.compile import compile_plan
from catp.planlang.errors import PlanError
from catp.planlang.money import Money, parse_usd
from catp.planlang.nodes import Plan
from catp.planlang.parser import parse
from catp.planlang.passes.admit import admit
from catp.planlang.passes.shed import GivenUp
from catp.planners.protocol import Objective
from catp.result import Quote
from catp.runtime.call_host import KeyedBackend
from catp.runtime.fold import restore
from catp.runtime.hooks import ValueKey
from catp.runtime.planning import Planning
from catp.runtime.restore import Restored
from catp.tools.builtin.facts import describe
from catp.tools.catalogue import Catalogue

if TYPE_CHECKING:
    from catp.store.store import RunStore

__all__ = ["CannotResume", "RecordedRun", "read_run", "requote", "takes_key"]


class CannotResume(RuntimeError):
    """A run cannot go on, or cannot be forked or replayed; the message says why and what would help."""


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A run as its journal has it. `plan` is the one in force at the end; it began with `first_plan`.

    `unreadable` says of values that cannot be read back why not, by what they are ("step `a`").
    """

    run_id: str
    task: str
    policy: str
    plan: Plan
    first_plan: Plan
    restored: Restored
    values: Mapping[ValueKey, Any]
    unreadable: Mapping[str, str]

    def objective(self, budget: Money | None = None, deadline_s: float | None = None) -> Objective:
        """The limits that the run was given, or others in their place."""
        told = self.restored.told
        asked, asked_ms = told.get("asked_budget"), told.get("asked_deadline_ms")
        return Objective(
            float(told.get("alpha") or 0.0),
            budget if budget is not None else parse_usd(asked) if asked is not None else None,
            deadline_s * 1000 if deadline_s is not None else asked_ms,
        )


async def read_run(store: "RunStore | None", run_id: str) -> RecordedRun:
    """Read a saved run by its id, or by an unambiguous part of it.

    Raises:
        CannotResume: There is no store, or too little of the run is in it.
        KeyError: There is no such run. StoreError: the store cannot be read.
    """
    if store is None:
        raise CannotResume("the agent has no store, so there are no saved runs; give it one with `store=`")
    return await asyncio.to_thread(_read, store, run_id)


def _read(store: "RunStore", run_id: str) -> RecordedRun:
    stored = store.get(run_id)
    summary = stored.summary
    values: dict[ValueKey, Any] = {}
    unreadable: dict[str, str] = {}
    for kept in store.values(summary.id):
        if kept.kind == "output":
            continue
        try:
            values[kept.kind, kept.name, kept.element] = kept.value()  # type: ignore[index]  # the column's values
        except (ValueError, OSError) as error:  # without an exact form, gone, corrupt, of a class that changed
            place = kept.name if kept.element is None else f"{kept.name}[{kept.element}]"
            unreadable[f"{kept.kind} `{place}`"] = str(error)
    try:
        restored = restore(store.events(summary.id), values)
    except ValueError as error:
        raise CannotResume(f"run {summary.id} cannot be taken up: {error}") from None
    first = parse(store.plan_source(str(restored.told["plan"])))
    plan = parse(restored.source) if restored.source is not None else first
    notes = tuple(f"the value of {what} cannot be read back: {why}" for what, why in unreadable.items())
    restored = replace(restored, notes=notes)
    return RecordedRun(summary.id, summary.task, summary.policy, plan, first, restored, values, unreadable)


def requote(
    run: RecordedRun, plan: Plan, inputs: Mapping[str, Any], objective: Objective, catalogue: Catalogue
) -> Quote:
    """Compile a plan of a saved run against the tools of today; raise `CannotResume` if it no longer fits them.

    Nothing is weighed and nothing given up: part of the plan may be paid for already.
    """
    facts = {name: describe(value) for name, value in inputs.items()}
    try:
        compiled = compile_plan(plan, catalogue.view(), estimator=catalogue.estimator(), facts=facts)
    except PlanError as error:
        raise CannotResume(
            f"the plan of run {run.run_id} does not fit the tools there are now: {error}\n"
            "name the tools it ran with (--tools), or fork it with another tool (--set)"
        ) from error
    told = run.restored.told
    return Quote(
        run.task, compiled, admit(compiled), run.policy, quality=told.get("quality"), alpha=objective.alpha,
        budget=objective.budget, deadline_ms=objective.deadline_ms, notes=_other_versions(run, catalogue),
        given_up=tuple(GivenUp(name, None, reason) for name, reason in told.get("given_up", {}).items()),
        planning=_booked(told),
    )  # fmt: skip


def _booked(told: Mapping[str, Any]) -> Planning | None:
    """The planning that the run has paid for."""
    planning = Planning.recorded(told)
    if planning is not None:
        planning.claim()
    return planning


def _other_versions(run: RecordedRun, catalogue: Catalogue) -> tuple[str, ...]:
    """Say which unfinished steps go on with another version of their tool than they began with."""
    notes = []
    for name, step in run.restored.steps.items():
        for tool, version in {(unit.last.tool, unit.last.version) for unit in step.units.values() if unit.last}:
            now = catalogue.get(tool).version if tool in catalogue else version
            if step.status is None and now != version:
                notes.append(f"step {name!r} goes on with version {now} of {tool}; it began with version {version}")
    return tuple(notes)


def takes_key(catalogue: Catalogue, tool: str) -> bool:
    """True if calls of the tool can carry an idempotency key."""
    return tool in catalogue and isinstance(catalogue.get(tool).backend, KeyedBackend)
