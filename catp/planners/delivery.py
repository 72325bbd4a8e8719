"""What keeps a plan from delivering what was asked for, in words that say where it is and what to do about it.

`catp.planners.serves` decides by the same rules, with a yes or no; whoever wrote the plan needs the reasons.
"""

from collections.abc import Iterator, Mapping, Sequence

from catp.planlang.check_values import Scope
from catp.planlang.compiled import CompiledPlan
from catp.planlang.nodes import Attempt, Literal, Ref, Step, refs_in
from catp.planners.protocol import PlanRequest, Wanted
from catp.planners.typegraph import carried

__all__ = ["undelivered"]


def undelivered(compiled: CompiledPlan, request: PlanRequest) -> tuple[str, ...]:
    """Return one message for each thing that is missing or wrong, with its output and the fix; empty if nothing is.

    Optional outputs may be missing. Outputs that nobody wants are problems too: their calls cost money.
    """
    return tuple(_Delivery(compiled, request).problems())


class _Delivery:
    def __init__(self, compiled: CompiledPlan, request: PlanRequest) -> None:
        self.request, self.registry, self.plan = request, compiled.registry, compiled.plan
        self.steps: Mapping[str, Step] = {str(step.name): step for step in self.plan.steps}
        self.scope = Scope(self.registry, {})
        self.scope.known.update(compiled.types)
        self.sources = {item.name: frozenset({item.name}) for item in self.plan.inputs}
        for step in self.plan.steps:
            every = [self._sources(attempt) for attempt in step.attempts]
            self.sources[step.name] = every[0].intersection(*every[1:])  # what all alternatives have in common

    def problems(self) -> Iterator[str]:
        given = {output.name: output for output in self.plan.outputs}
        wanted = {want.name for want in self.request.wanted}
        for want in self.request.wanted:
            if want.name in given:
                yield from self._wrong(want, given[want.name].ref)
            elif not want.optional:
                yield f"output `{want.name}` ({want.type}) is missing: add it to the outputs"
        for name in given:
            if name not in wanted:
                yield f"output `{name}` is not wanted: leave it out, and the steps that only it needs"

    def _wrong(self, want: Wanted, ref: Ref) -> Iterator[str]:
        place = f"output `{want.name}`"
        found, types = self.scope.ref_type(ref), self.registry.types
        whole = self.scope.known.get(ref.root)
        if found is None or whole is None or not types.accepts(want.type, found):
            yield f"{place}: `{ref}` is {found or 'nothing'}, wanted is {want.type}"
        elif all(path != ref.path for path, _ in carried(types, whole)):
            yield f"{place}: `{ref}` is {found}, but not what {whole} stands for: take another tool's result"
        for root in self._makers(ref):
            step = self.steps.get(root)
            if step is None:
                yield f"{place}: `{root}` is an input; wanted is what a tool makes of it"
                continue
            for attempt in step.attempts:
                yield from self._wrong_tool(want, step, attempt)
            if want.source and want.source not in self.sources[root]:
                yield f"{place}: `{root}` does not derive from the input `{want.source}`"
            done = self._passed(want)[root][0]
            if done < len(want.through):
                yield f"{place}: before `{root}`, a tool for {' or '.join(want.through[done])} must have been applied"

    def _makers(self, ref: Ref) -> Iterator[str]:
        """The step or input a value comes from, and where a guarded step takes it from otherwise."""
        yield ref.root
        step = self.steps.get(ref.root)
        if step is not None and step.otherwise is not None:
            yield from self._makers(step.otherwise)

    def _wrong_tool(self, want: Wanted, step: Step, attempt: Attempt) -> Iterator[str]:
        sig = self.registry.get(attempt.tool)
        place = f"output `{want.name}`: step `{step.name}`"
        if want.capability and (sig is None or sig.capability not in want.capability):
            yield f"{place} calls `{attempt.tool}`: take a tool for {' or '.join(want.capability)} instead"
        given = {arg.name: arg.value for arg in attempt.args}
        for name, value in want.arguments:
            if given.get(name) != Literal(value):
                yield f"{place} must call `{attempt.tool}` with {name} = {value!r}, or a tool that takes it"

    def _sources(self, attempt: Attempt) -> frozenset[str]:
        return frozenset[str]().union(*(self.sources[ref.root] for ref in _arguments(attempt)))

    def _passed(self, want: Wanted) -> Mapping[str, tuple[int, int]]:
        """How many steps of `want.through`, in their order, lie behind each call, without and with the call itself."""
        found: dict[str, tuple[int, int]] = {item.name: (0, 0) for item in self.plan.inputs}
        for step in self.plan.steps:
            before = [max((found[ref.root][1] for ref in _arguments(one)), default=0) for one in step.attempts]
            after = [
                count + self._is_next(want.through[count:], one)
                for count, one in zip(before, step.attempts, strict=True)
            ]
            found[step.name] = min(before), min(after)
        return found

    def _is_next(self, left: Sequence[tuple[str, ...]], attempt: Attempt) -> bool:
        sig = self.registry.get(attempt.tool)
        return bool(left) and sig is not None and sig.capability in left[0]


def _arguments(attempt: Attempt) -> Iterator[Ref]:
    for arg in attempt.args:
        yield from refs_in(arg.value)
