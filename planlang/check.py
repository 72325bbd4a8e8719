"""The checker: every problem of a plan against a registry, and the type of every value.

`check` never stops at the first problem. A value whose own definition is wrong has an unknown type and is not
complained about again where it is used, so each message names a cause, not a consequence.

Rules that are not obvious:

- A step calls once per element if any argument has `each`; then all its alternatives must, and its value is a list.
- Alternatives expose what all of them return: the most specific type they have in common.
- A guarded step without `else` may have no value, so its type is optional; see `check_values` for what that allows.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from catp.planlang.check_steps import check_step, writes
from catp.planlang.check_values import Scope, Slot, listing
from catp.planlang.errors import Diagnostic, PlanError, Span, nearest
from catp.planlang.nodes import Input, Limits, ListValue, ObjectValue, Output, Plan, Step, Value, refs_in, step_refs
from catp.planlang.passes.alternatives import unreachable
from catp.planlang.registry_view import RegistryView
from catp.planlang.types import Type

__all__ = ["MAX_DEPTH", "MAX_STEPS", "Checked", "check"]

MAX_STEPS = 10_000
"""Plans with more steps are refused (E124)."""

MAX_DEPTH = 64
"""Plans with lists and objects nested deeper than this are refused (E124)."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What `check` found: problems in source order, and the types of all inputs and steps that have one."""

    diagnostics: tuple[Diagnostic, ...]
    types: Mapping[str, Type]

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        """The problems that keep the plan from running."""
        return tuple(d for d in self.diagnostics if d.severity == "error")

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """The problems that do not."""
        return tuple(d for d in self.diagnostics if d.severity == "warning")

    @property
    def ok(self) -> bool:
        """True if the plan can run; there may be warnings."""
        return not self.errors

    def raise_errors(self, source: str | None = None) -> None:
        """Raise `PlanError` with all problems if any of them is an error."""
        if not self.ok:
            raise PlanError(self.diagnostics, source)


def check(plan: Plan, registry: RegistryView) -> Checked:
    """Check names, calls, types, guards and annotations of `plan`; report everything, raise nothing."""
    too_large = _too_large(plan)
    if too_large:
        return Checked((too_large,), {})
    places = {str(step.name): _place(step, number) for number, step in reversed(list(enumerate(plan.steps, start=1)))}
    scope = Scope(registry, places)
    defined: dict[str, str] = {}
    for input_ in plan.inputs:
        scope.place = f"input `{input_.name}`"
        type_ = _input(scope, input_)
        if _define(scope, defined, input_.name, input_.span, "an input"):
            scope.known[input_.name] = type_
    scope.place = "limit"
    _limits(scope, plan.limits)
    for number, step in enumerate(plan.steps, start=1):
        scope.place = f"step `{step.name}`"
        type_ = check_step(scope, step)
        if _define(scope, defined, step.name, step.span, f"step {number}"):
            scope.known[step.name] = type_
    _outputs(scope, plan)
    _warnings(scope, plan)
    found = scope.found
    if len(found) > 1 and all(d.span for d in found):
        found.sort(key=lambda d: (d.span.line, d.span.column) if d.span else (0, 0))
    return Checked(tuple(found), {name: type_ for name, type_ in scope.known.items() if type_ is not None})


def _too_large(plan: Plan) -> Diagnostic | None:
    """Refuse what later passes, which recurse into values, could not handle."""
    if len(plan.steps) > MAX_STEPS:
        message = f"the plan has {len(plan.steps)} steps; at most {MAX_STEPS} are accepted"
        return Diagnostic("E124", message, plan.steps[MAX_STEPS].span, path="plan")
    for value in _written(plan):
        if isinstance(value, ListValue | ObjectValue) and _too_deep(value):
            message = f"a value is nested deeper than {MAX_DEPTH} levels"
            return Diagnostic("E124", message, value.span, path=None if value.span else "plan")
    return None


def _written(plan: Plan) -> Iterator[Value]:
    for input_ in plan.inputs:
        if input_.default is not None:
            yield input_.default
    for step in plan.steps:
        for attempt in step.attempts:
            for arg in attempt.args:
                yield arg.value
        for note in step.notes:
            for note_arg in note.args:
                yield note_arg.value


def _too_deep(value: Value) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [part for outer in level for part in _parts(outer) if isinstance(part, ListValue | ObjectValue)]
        if not level:
            return False
    return True


def _parts(value: Value) -> tuple[Value, ...]:
    if isinstance(value, ListValue):
        return value.items
    return tuple(part for _, part in value.pairs) if isinstance(value, ObjectValue) else ()


def _place(step: Step, number: int) -> str:
    return f"line {step.span.line}" if step.span else f"step {number}"


def _define(scope: Scope, defined: dict[str, str], name: str, span: Span | None, place: str) -> bool:
    if name in defined:
        scope.report("E103", f"`{name}` is defined twice (first: {defined[name]})", span, "choose another name")
        return False
    defined[name] = f"line {span.line}" if span else place
    return True


def _input(scope: Scope, input_: Input) -> Type | None:
    type_ = input_.type if _known_type(scope, input_.type, input_.span) else None
    default = input_.default
    if default is not None:
        if any(True for _ in refs_in(default)):
            scope.report("E122", f"the default of `{input_.name}` must be a constant", default.span or input_.span)
        elif type_ is not None:
            _default(scope, input_, default)
    return type_


def _default(scope: Scope, input_: Input, default: Value) -> None:
    before = len(scope.found)
    scope.check(default, input_.type, Slot(f"the default of `{input_.name}`"))
    for position in range(before, len(scope.found)):
        found = scope.found[position]
        span = found.span or input_.span
        place = None if span else scope.place
        scope.found[position] = Diagnostic("E122", found.message, span, found.help, path=place)


def _known_type(scope: Scope, type_: Type, span: Span | None) -> bool:
    if scope.types.known(type_):
        return True
    inner = type_
    while inner.name == "list" and inner.item is not None:
        inner = inner.item
    if inner.name == "list":
        scope.report("E109", "`list` needs an element type", span, "write `list[text]`")
    elif inner.item is not None:
        scope.report("E109", f"`{inner.name}` takes no element type", span, "only `list[T]` has elements")
    else:
        help_ = nearest(inner.name, scope.types.defs) or listing("types are", scope.types.defs)
        scope.report("E109", f"unknown type `{inner.name}`", span, help_)
    return False


def _limits(scope: Scope, limits: Limits) -> None:
    cost = limits.cost.nano if limits.cost is not None else None
    latency = limits.latency.ns if limits.latency is not None else None
    for name, value in (("cost", cost), ("latency", latency), ("calls", limits.calls)):
        if value is not None and value <= 0:
            message = f"limit {name} must be above zero"
            scope.report("E201", message, limits.span, f"leave `{name}` out for no limit")


def _outputs(scope: Scope, plan: Plan) -> None:
    scope.place = "plan"
    if not plan.outputs:
        last = plan.steps[-1] if plan.steps else None
        help_ = f"add `out {last.name}`" if last else "add a step and an `out` line"
        scope.report("E113", "the plan has no output", last.span if last else None, help_)
    names: set[str] = set()
    for output in plan.outputs:
        scope.place = f"output `{output.name}`"
        scope.ref_type(output.ref)
        if output.ref.optional:
            _optional_output(scope, output)
        if output.name in names:
            help_ = f"write `out other_name = {output.ref}`"
            scope.report("E103", f"two outputs are called `{output.name}`", output.span, help_)
        names.add(output.name)


def _optional_output(scope: Scope, output: Output) -> None:
    message = "it is the output that is optional, not the reference in it"
    scope.report("E121", message, output.span, f"mark the output `{output.name}` as optional")


def _warnings(scope: Scope, plan: Plan) -> None:
    clean = not scope.found  # with a misspelt name about, "nobody uses it" is likely wrong
    used = {output.ref.root for output in plan.outputs}
    for step in plan.steps:
        used.update(ref.root for _, ref in step_refs(step))
    for step in plan.steps:
        scope.place = f"step `{step.name}`"
        if writes(scope, step):
            if step.note("key") is None:
                message = f"`{step.name}` changes the world and has no `@key`, so it is never tried twice"
                scope.warn("W302", message, step.span, 'add `@key(t"...")` with what makes the call unique')
        elif clean and step.name not in used:
            help_ = "name it in `out`, or delete the step; it will not run"
            scope.warn("W301", f"nobody uses the result of `{step.name}`", step.span, help_)
        if len(step.attempts) > 1:
            for position, first in unreachable(step.attempts, scope.registry).items():
                attempt = step.attempts[position]
                message = f"alternative {position + 1} repeats alternative {first + 1}, whose result it cannot change"
                scope.warn("W303", message, attempt.span or step.span, "use `@retry(1)` to try again after a crash")
