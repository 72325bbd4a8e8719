"""The part of a plan that a request fixes before a policy writes the rest, and the names that steps get then."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from catp.planlang.nodes import Input, Limits, Output, Plan, Step, StepName

__all__ = ["Header", "step_names"]


@dataclass(frozen=True, slots=True)
class Header:
    """The part of a plan that belongs to the request: name, approval, inputs and limits."""

    inputs: tuple[Input, ...] = ()
    limits: Limits = field(default_factory=Limits)
    name: str | None = None
    doc: str | None = None
    approve: bool = False

    @classmethod
    def of(cls, plan: Plan) -> "Header":
        """The header of `plan`."""
        return cls(plan.inputs, plan.limits, plan.name, plan.doc, plan.approve)

    def plan(self, steps: Iterable[Step] = (), outputs: Iterable[Output] = ()) -> Plan:
        """The plan with this header."""
        return Plan(tuple(steps), tuple(outputs), self.inputs, self.limits, self.name, self.doc, self.approve)


def step_names(inputs: Sequence[Input], count: int) -> tuple[StepName, ...]:
    """The names given to `count` steps: `n0`, `n1`, ..., or `n_0`, ... where an input already has such a name."""
    taken = {declared.name for declared in inputs}
    prefix = "n"
    while any(f"{prefix}{k}" in taken for k in range(count)):
        prefix += "_"
    return tuple(StepName(f"{prefix}{k}") for k in range(count))
