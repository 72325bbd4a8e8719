"""Who gets the money of a run while it is short.

A step is required if a required output or a step that writes depends on it. What required steps may still need (their
p95 price, less what they have reserved so far) is kept back from calls that feed optional outputs alone.
"""

from collections.abc import Iterable
from typing import NamedTuple

from catp.planlang.compiled import CompiledPlan
from catp.planlang.money import Money
from catp.planlang.passes.shed import required_steps
from catp.runtime.limits import BudgetRefused

__all__ = ["KeptBack", "Refusal"]


class Refusal(NamedTuple):
    """One call that was refused for money: which, of which tool, and what it would have taken."""

    step: str
    element: int | None
    attempt: int
    tool: str
    refused: BudgetRefused


class KeptBack:
    """Money that the required steps of a plan may still need, nano-USD."""

    def __init__(self, compiled: CompiledPlan) -> None:
        self._needs: dict[str, int] = {}
        self._required: frozenset[str] = frozenset()
        self._over: set[str] = set()
        self.total = Money(0)
        self.plan(compiled)

    def plan(self, compiled: CompiledPlan, again: Iterable[str] = ()) -> None:
        """Go by this plan from now on; steps that are over need nothing unless they are to be run `again`."""
        self._over.difference_update(again)
        self._required = required_steps(compiled.plan, compiled.registry)
        steps = compiled.estimate.steps
        self._needs = {
            str(name): steps[name].price.p95 or 0 for name in steps if name in self._required and name not in self._over
        }
        self.total = Money(sum(self._needs.values()))

    def beside(self, step: str) -> Money:
        """What must stay free when a call of this step reserves: nothing for required steps, they come first."""
        return Money(0) if step in self._required else self.total

    def reserved(self, step: str, amount: Money) -> None:
        """A call of the step holds its money now."""
        need = self._needs.get(step)
        if need:
            self._set(step, max(0, need - amount))

    def over(self, step: str) -> bool:
        """The step has ended; True if money is free for others now."""
        self._over.add(step)
        if not self._needs.get(step):
            return False
        self._set(step, 0)
        return True

    def _set(self, step: str, need: int) -> None:
        self.total = Money(self.total + need - self._needs[step])
        self._needs[step] = need
