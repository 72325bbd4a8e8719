"""The compiler: from a plan to a checked, simplified, priced graph.

    check -> normalise -> alternatives -> cse -> dead -> fuse_map -> estimate -> lower -> CompiledPlan

Nothing here calls a tool. Whether the plan may run within a budget is `catp.planlang.passes.admit`'s question.
"""

from collections.abc import Mapping

from catp.planlang.check import check
from catp.planlang.compiled import CompiledPlan, Rewrite
from catp.planlang.digest import digest
from catp.planlang.nodes import Plan, step_refs
from catp.planlang.passes.alternatives import drop_unreachable
from catp.planlang.passes.cse import merge_common
from catp.planlang.passes.dead import drop_dead
from catp.planlang.passes.estimate import DEFAULTS, Assumptions, estimate_plan
from catp.planlang.passes.fuse_map import elementwise_edges
from catp.planlang.passes.lower import lower
from catp.planlang.passes.normalise import normalise
from catp.planlang.registry_view import Estimator, RegistryView, ValueFacts

__all__ = ["compile_plan"]


def compile_plan(
    plan: Plan,
    registry: RegistryView,
    *,
    estimator: Estimator | None = None,
    facts: Mapping[str, ValueFacts] | None = None,
    source: str | None = None,
    assumptions: Assumptions = DEFAULTS,
) -> CompiledPlan:
    """Check `plan` against `registry`, simplify it, predict its price and time, and build its graph.

    Args:
        plan: the plan as read; it is kept as `CompiledPlan.source`, and the digest is its.
        registry: the tools it may use.
        estimator: predicts single calls; without one every step is unpriced and takes no time.
        facts: what is known of the inputs (size, condition); by type alone where missing.
        source: the text the plan was read from, for error messages.
        assumptions: what to take where neither estimator nor facts know.

    Raises:
        PlanError: with every problem found, if the plan cannot run.
    """
    checked = check(plan, registry)
    checked.raise_errors(source)
    rewrites: list[Rewrite] = []
    current = plan
    for rewrite in (normalise, drop_unreachable, merge_common, drop_dead):
        current, changes = rewrite(current, registry)
        rewrites += changes
    alive = {step.name for step in current.steps} | {input_.name for input_ in current.inputs}
    types = {name: type_ for name, type_ in checked.types.items() if name in alive}
    refs = {str(step.name): tuple(step_refs(step)) for step in current.steps}
    estimate = estimate_plan(current, registry, types, refs, estimator=estimator, facts=facts, assumptions=assumptions)
    return CompiledPlan(
        plan=current,
        source=plan,
        registry=registry,
        types=types,
        graph=lower(current, registry, refs, estimate, elementwise_edges(current)),
        estimate=estimate,
        digest=digest(plan),
        rewrites=tuple(rewrites),
        warnings=checked.warnings,
    )
