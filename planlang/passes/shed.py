"""Degradation before failure: a plan that is too dear is made cheaper, in the order that costs its user least.

1. Optional outputs are given up, with all steps that only they need: what has the highest price per value first.
2. Inside steps, cheaper alternatives are tried first; dearer ones stay as their fallbacks.
3. Dear alternatives are left out.
4. What fits after all is taken back, the lowest price per value first.

If the plan is then still too dear, nothing is changed: it must be refused. Required outputs and steps that write are
never given up, and neither is the last output. The choice is greedy: one thing at a time until the plan fits. With
equal values and no shared steps it keeps as many outputs as any choice can.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from catp.planlang.compiled import CompiledPlan, Rewrite
from catp.planlang.errors import PlanError
from catp.planlang.money import Money, format_usd
from catp.planlang.nodes import Plan, Step, step_refs
from catp.planlang.registry_view import RegistryView

__all__ = ["GivenUp", "Shed", "required_steps", "shed"]


@dataclass(frozen=True, slots=True)
class GivenUp:
    """An optional output that is not made: by how much that lowers the price (None if its price is unknown)."""

    output: str
    saves: Money | None
    reason: str


@dataclass(frozen=True)
class Shed:
    """The plan that fits, what was given up for it, and which alternatives were moved or left out.

    If nothing helps, `fits` is False, `compiled` the plan as it was, and `least` the lowest price that was reached.
    """

    compiled: CompiledPlan
    fits: bool
    given_up: tuple[GivenUp, ...] = ()
    rewrites: tuple[Rewrite, ...] = ()
    least: Money | None = None


def required_steps(plan: Plan, registry: RegistryView) -> frozenset[str]:
    """Return the steps that required outputs or steps that write depend on, those that write among them."""
    return _needed(plan, registry, (output.name for output in plan.outputs if not output.optional))


def shed(
    compiled: CompiledPlan,
    recompile: Callable[[Plan], CompiledPlan],
    cap: Money,
    *,
    strict: bool = False,
    values: Mapping[str, float] | None = None,
) -> Shed:
    """Make a plan fit `cap` (nano-USD) by its expected price, or by its p95 if `strict`.

    `recompile` compiles a changed source as the plan itself was compiled. `values` says what optional outputs are worth
    to the user; 1 where it does not say.
    """
    shedding = _Shedding(compiled, recompile, cap, strict, values or {})
    if shedding.price(compiled) <= cap:
        return Shed(compiled, True)
    for stage in (shedding.give_up_outputs, shedding.reorder, shedding.leave_out):
        stage()
        if shedding.fits:
            shedding.take_back()
            return shedding.result()
    least = shedding.price(shedding.now)
    return Shed(compiled, False, least=None if least == _UNKNOWN else Money(round(least)))


_UNKNOWN = float("inf")


class _Shedding:
    """The plan on its way down."""

    def __init__(
        self,
        compiled: CompiledPlan,
        recompile: Callable[[Plan], CompiledPlan],
        cap: Money,
        strict: bool,
        values: Mapping[str, float],
    ) -> None:
        self.before = self.now = compiled
        self.recompile = recompile
        self.cap = cap
        self.strict = strict
        self.values = values
        self.gone: dict[str, float] = {}
        self.rewrites: list[Rewrite] = []

    def price(self, compiled: CompiledPlan) -> float:
        price = compiled.estimate.price
        amount = price.p95 if self.strict else price.expected
        return _UNKNOWN if amount is None else float(amount)

    @property
    def fits(self) -> bool:
        return self.price(self.now) <= self.cap

    # --- outputs ----------------------------------------------------------------------------------------------------

    def give_up_outputs(self) -> None:
        while not self.fits:
            choices = [(self.saving(names) / self.worth(names), sorted(names)) for names in self.bundles()]
            best = max((choice for choice in choices if choice[0] > 0), default=None)
            if best is None:
                return
            for name in best[1]:
                self.gone[name] = self.saving({name})
            self.now = self.compile()

    def bundles(self) -> set[frozenset[str]]:
        """Outputs that can be given up together: each alone, and all that share a step, if anything is left then."""
        plan = self.now.plan
        found: set[frozenset[str]] = set()
        required = required_steps(plan, self.now.registry)
        optional = [output.name for output in plan.outputs if output.optional]
        feeds = {name: _needed(plan, None, [name]) for name in optional}
        found.update(frozenset([name]) for name in optional)
        for step in plan.steps:
            if step.name not in required:
                found.add(frozenset(name for name in optional if step.name in feeds[name]))
        return {names for names in found if names and len(names) < len(plan.outputs)}

    def saving(self, names: Iterable[str]) -> float:
        """Sum of the prices of the steps that only these outputs need."""
        plan, gone = self.now.plan, set(names)
        kept = _needed(plan, self.now.registry, (o.name for o in plan.outputs if o.name not in gone))
        steps = self.now.estimate.steps
        prices = [steps[step.name].price for step in plan.steps if step.name not in kept]
        amounts = [price.p95 if self.strict else price.expected for price in prices]
        return sum(_UNKNOWN if amount is None else float(amount) for amount in amounts)

    def worth(self, names: Iterable[str]) -> float:
        return max(sum(self.values.get(name, 1.0) for name in names), 1e-9)

    def take_back(self) -> None:
        for name in sorted(self.gone, key=lambda name: (self.gone[name] / self.worth([name]), name)):
            saves = self.gone.pop(name)
            tried = self.compile()
            if self.price(tried) <= self.cap:
                self.now = tried
            else:
                self.gone[name] = saves

    # --- alternatives -----------------------------------------------------------------------------------------------

    def reorder(self) -> None:
        self.change_steps(_fronted, "cheaper", "is tried first: it is cheaper")

    def leave_out(self) -> None:
        self.change_steps(_without, "left_out", "is left out: it is too dear")

    def change_steps(self, variants: Callable[[Step], Iterator[tuple[str, Step]]], rule: str, reason: str) -> None:
        """Make the change that just suffices or else saves most, one after the other until the plan fits."""
        while not self.fits:
            price = self.price(self.now)
            tried = [
                (self.price(compiled), step.name, tool, compiled)
                for step in self.now.source.steps
                if step.name in self.now.estimate.steps
                for tool, changed in variants(step)
                if (compiled := self.attempt(changed)) is not None and self.price(compiled) < price
            ]
            if not tried:
                return
            enough = [one for one in tried if one[0] <= self.cap]
            best = max(enough, key=_by_price) if enough else min(tried, key=_by_price)
            self.now = best[3]
            self.rewrites.append(Rewrite(rule, best[1], f"`{best[2]}` {reason}"))

    def attempt(self, changed: Step) -> CompiledPlan | None:
        source = self.now.source
        steps = tuple(changed if step.name == changed.name else step for step in source.steps)
        try:
            return self.recompile(replace(source, steps=steps))
        except PlanError:  # alternatives of different types may not be exchangeable
            return None

    def compile(self) -> CompiledPlan:
        """The plan with its present alternatives and without the outputs that are given up."""
        outputs = tuple(output for output in self.before.source.outputs if output.name not in self.gone)
        return self.recompile(replace(self.now.source, outputs=outputs))

    def result(self) -> Shed:
        given_up = tuple(self.explain(output.name) for output in self.before.plan.outputs if output.name in self.gone)
        return Shed(self.now, True, given_up, tuple(self.rewrites), Money(round(self.price(self.now))))

    def explain(self, name: str) -> GivenUp:
        saves = self.gone[name]
        limit = f"${format_usd(self.cap)}"
        if saves == _UNKNOWN:
            return GivenUp(name, None, f"given up: its price is unknown and the budget is {limit}")
        amount = Money(round(saves))
        what = f" (${format_usd(amount)})" if amount else ""
        return GivenUp(name, amount, f"given up{what} so that the plan fits {limit}")


def _needed(plan: Plan, registry: RegistryView | None, outputs: Iterable[str]) -> frozenset[str]:
    """The steps that these outputs depend on, and with a registry also steps that write and what those depend on."""
    wanted = set(outputs)
    roots = {output.ref.root for output in plan.outputs if output.name in wanted}
    needed: set[str] = set()
    for step in reversed(plan.steps):
        if step.name in roots or (registry is not None and _writes(step, registry)):
            needed.add(step.name)
            roots.update(ref.root for _, ref in step_refs(step))
    return frozenset(needed)


def _writes(step: Step, registry: RegistryView) -> bool:
    sigs = [registry.get(attempt.tool) for attempt in step.attempts]
    return any(sig is not None and sig.effects == "write" for sig in sigs)


def _fronted(step: Step) -> Iterator[tuple[str, Step]]:
    """The step with each other alternative in front."""
    for place in range(1, len(step.attempts)):
        first = step.attempts[place]
        rest = step.attempts[:place] + step.attempts[place + 1 :]
        yield first.tool, replace(step, attempts=(first, *rest))


def _without(step: Step) -> Iterator[tuple[str, Step]]:
    """The step without one of its alternatives."""
    if len(step.attempts) > 1:
        for place, attempt in enumerate(step.attempts):
            yield attempt.tool, replace(step, attempts=step.attempts[:place] + step.attempts[place + 1 :])


def _by_price(tried: tuple[float, str, str, CompiledPlan]) -> tuple[float, str, str]:
    return tried[:3]
