"""Repair: what a planner is told after steps have failed, and how its suffix joins what is already paid for.

    finished steps (kept, never called again) ──┐
    steps that nobody got to yet ───────────────┼──> one plan, in which only the suffix is new
    suffix: the planner's steps ────────────────┘

A suffix is a plan whose inputs are the inputs and the finished steps of the plan it repairs. A step of the suffix that
has the name of an unfinished step takes its place, and whatever waited for that step then waits for the new one; an
output of the suffix takes the place of the output of that name.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Protocol, runtime_checkable

from catp.planlang.money import Money
from catp.planlang.nodes import Arg, Attempt, Plan, Ref, Step, StepName, ToolName, step_refs
from catp.planlang.passes.rewrite import rename_ref, rename_step
from catp.planlang.registry_view import CallEstimate, Estimator, RegistryView, ToolSig, ValueFacts
from catp.planners.protocol import Objective, PlanningFailed, PlanRequest, Proposal, Wanted

__all__ = ["Failure", "RepairRequest", "RepairingPlanner", "merge_suffix", "repair_by_search"]

AS_GOOD = 0.01
"""Accuracies that differ by less count as equal when the price scale is chosen, as in the search planner."""

MAX_RIVALS = 3
"""How many other tools a repaired step tries in turn."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that failed for good: which step wanted it, what went wrong, and how often exactly this happened.

    `arguments` is the digest of the arguments (None if they have none); the same tool, arguments and error twice are
    blocked: the runtime refuses a third call.
    """

    step: StepName
    tool: ToolName
    error: str
    reason: str
    arguments: str | None = None
    times: int = 1


@dataclass(frozen=True, slots=True)
class RepairRequest:
    """Everything a planner may look at to repair a run.

    `plan` is what ran. `inputs` and `finished` say what is known of the values that are there, by name. `wanted` are
    the outputs without a value. `objective` holds the money and the time that are left, and `failures` what not to do
    again. Whoever repairs adds to `paid` what that cost (None: nobody knows).
    """

    task: str
    plan: Plan
    inputs: Mapping[str, ValueFacts]
    finished: Mapping[StepName, ValueFacts]
    failures: tuple[Failure, ...]
    wanted: tuple[Wanted, ...]
    objective: Objective
    registry: RegistryView
    estimator: Estimator
    paid: list[Money | None] = field(default_factory=list, compare=False)

    @property
    def failed_tools(self) -> frozenset[ToolName]:
        """Every tool that a failed call used."""
        return frozenset(failure.tool for failure in self.failures)

    @property
    def failed_steps(self) -> tuple[StepName, ...]:
        """The steps whose own calls failed, in plan order: those that only waited for them are not among them."""
        names = {failure.step for failure in self.failures}
        return tuple(step.name for step in self.plan.steps if step.name in names and step.name not in self.finished)


@runtime_checkable
class RepairingPlanner(Protocol):
    """A planner that can take up a run in which something failed."""

    async def repair(self, request: RepairRequest) -> tuple[Plan, ...]:
        """Return suffixes, best first; none if there is no other way. They are priced by whoever asked."""
        ...


def merge_suffix(plan: Plan, finished: Set[str], suffix: Plan) -> Plan:
    """Return `plan` with the steps of `suffix` in the place of unfinished ones of the same name, or beside them.

    Steps of the suffix that would clash with a finished step or an input get a number. Outputs of the suffix replace
    those of the same name. Whether the result makes sense is the checker's to judge: it is compiled like any other.
    """
    unfinished = {step.name for step in plan.steps if step.name not in finished}
    taken = {step.name for step in plan.steps} - unfinished | {item.name for item in plan.inputs}
    names = _fresh_names([step.name for step in suffix.steps], taken)
    renamed = [
        replace(rename_step(step, names), name=StepName(names.get(step.name, step.name))) for step in suffix.steps
    ]
    new = {step.name: step for step in renamed}
    outputs = {output.name: rename_ref(output.ref, names) for output in suffix.outputs}
    steps = [*(step for step in plan.steps if step.name not in new), *new.values()]
    merged = tuple(replace(output, ref=outputs.get(output.name, output.ref)) for output in plan.outputs)
    return replace(plan, steps=_in_order(steps), outputs=merged)


def _fresh_names(names: Sequence[StepName], taken: Set[str]) -> dict[str, str]:
    used = {*names, *taken}
    fresh: dict[str, str] = {}
    for name in names:
        if name in taken:
            number = next(n for n in count(2) if f"{name}_{n}" not in used)
            fresh[name] = f"{name}_{number}"
            used.add(fresh[name])
    return fresh


def _in_order(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Every step after those it reads, otherwise as given; a step that reads what is not there stays last."""
    left = list(steps)
    names = {step.name for step in left}
    placed: dict[str, Step] = {}
    while ready := [s for s in left if all(ref.root in placed or ref.root not in names for _, ref in step_refs(s))]:
        placed.update({step.name: step for step in ready})
        left = [step for step in left if step.name not in placed]
    return (*placed.values(), *left)


async def repair_by_search(
    request: RepairRequest, plan: Callable[[PlanRequest], Awaitable[Proposal]]
) -> tuple[Plan, ...]:
    """Rivals for the failed steps if all have some, then new plans for the missing outputs, without the failed tools.

    `plan` is the planner's own planning; finished values are inputs to it, so they cost nothing.
    """
    rivals = _rival_steps(request)
    suffixes = [rivals] if rivals is not None else []
    failed = request.failed_tools
    tools = tuple(tool for tool in request.registry if tool.name not in failed and tool.effects != "write")
    if request.wanted:
        there = {**request.inputs, **{str(name): facts for name, facts in request.finished.items()}}
        registry = RegistryView(tools, request.registry.types)
        asked = PlanRequest(request.task, there, request.wanted, request.objective, registry, request.estimator)
        try:
            proposal = await plan(asked)
        except PlanningFailed as failed:  # the rivals, if any, are all there is
            request.paid.append(failed.price)
        else:
            request.paid.append(proposal.price)
            suffixes += [candidate.plan for candidate in proposal.candidates]
    return tuple(suffixes)


def _rival_steps(request: RepairRequest) -> Plan | None:
    """Put another tool of the same capability into every failed step; None if one of them has no such rival.

    A rival takes the same arguments and gives the same type. Those that fit into the money left are tried in order of
    the objective. Steps that write are left alone: what they did before they failed is not known.
    """
    steps = []
    for name in request.failed_steps:
        step = _with_rivals(request, request.plan.step(name))
        if step is None:
            return None
        steps.append(step)
    return Plan(tuple(steps)) if steps else None


def _with_rivals(request: RepairRequest, step: Step) -> Step | None:
    old = step.attempts[0]
    sig = request.registry.get(old.tool)
    if sig is None or not sig.capability or any(_writes(request, attempt.tool) for attempt in step.attempts):
        return None
    tried = {attempt.tool for attempt in step.attempts} | request.failed_tools
    rivals = []
    for other in request.registry:
        if other.capability == sig.capability and other.name not in tried and other.effects != "write":
            args = _same_arguments(old.args, sig, other)
            if args is not None and request.registry.types.accepts(sig.returns, other.returns):
                rivals.append(Attempt(other.name, args, old.accept))
    ranked = _ranked(request, rivals)
    return replace(step, attempts=tuple(ranked[:MAX_RIVALS])) if ranked else None


def _writes(request: RepairRequest, tool: ToolName) -> bool:
    sig = request.registry.get(tool)
    return sig is None or sig.effects == "write"


def _same_arguments(args: Sequence[Arg], old: ToolSig, new: ToolSig) -> tuple[Arg, ...] | None:
    """The arguments by name of the new tool, or None if it wants others."""
    found = []
    for place, arg in enumerate(args):
        param = old.param(arg.name) if arg.name else old.params[place]
        other = new.param(param.name) if param is not None else None
        if other is None and place == 0 and new.params:
            other = new.params[0]  # what a tool works on comes first, whatever it is called
        if param is None or other is None or other.type.required != param.type.required or other.choices:
            return None
        found.append(replace(arg, name=other.name))
    given = {arg.name for arg in found}
    complete = all(param.name in given for param in new.params if param.required)
    return tuple(found) if complete and len(given) == len(found) else None


def _ranked(request: RepairRequest, rivals: Sequence[Attempt]) -> list[Attempt]:
    """Those that fit into the money left, best first."""
    objective = request.objective
    known = [(rival, _predict(request, rival)) for rival in rivals]
    fitting = [
        (rival, call)
        for rival, call in known
        if objective.budget is None or (call.price.p95 is not None and call.price.p95 <= objective.budget)
    ]
    if not fitting:
        return []
    best = max(call.accuracy or 0.0 for _, call in fitting)
    as_good = [call.price.expected or 0 for _, call in fitting if (call.accuracy or 0.0) >= best - AS_GOOD]
    scale = objective.price_scale or max(1, min(as_good))

    def utility(call: CallEstimate) -> float:
        price = float("inf") if call.price.expected is None else call.price.expected
        return objective.alpha * (call.accuracy or 0.0) - (1.0 - objective.alpha) * price / scale

    return [rival for rival, _ in sorted(fitting, key=lambda pair: (-utility(pair[1]), pair[0].tool))]


def _predict(request: RepairRequest, rival: Attempt) -> CallEstimate:
    there: dict[str, ValueFacts] = {**request.inputs, **{str(name): facts for name, facts in request.finished.items()}}
    facts = {
        arg.name: there[arg.value.root]
        for arg in rival.args
        if arg.name is not None and isinstance(arg.value, Ref) and arg.value.root in there
    }
    return request.estimator.estimate(rival.tool, facts)
