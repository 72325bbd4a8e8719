"""Common steps: two steps that would do the same become one.

Steps are the same if their attempts, guards, `else` values and annotations are, once references to merged steps are
renamed, and no tool in them writes. Reading the world twice within one plan is taken to see the same world; a plan that
means to look again says `@cache(off)`, which keeps a step from being merged.
"""

from dataclasses import replace

from catp.planlang.compiled import Rewrite
from catp.planlang.nodes import Output, Plan, Step
from catp.planlang.notes import step_policy
from catp.planlang.passes.rewrite import rename_ref, rename_step
from catp.planlang.registry_view import RegistryView

__all__ = ["merge_common"]


def merge_common(plan: Plan, registry: RegistryView) -> tuple[Plan, tuple[Rewrite, ...]]:
    """Merge each step into the first equal one and rename references to it everywhere."""
    names: dict[str, str] = {}
    first: dict[object, str] = {}
    rewrites: list[Rewrite] = []
    steps: list[Step] = []
    for old in plan.steps:
        step = rename_step(old, names) if names else old
        if _mergeable(step, registry):
            same = first.setdefault((step.attempts, step.when, step.otherwise, step.notes), step.name)
            if same != step.name:
                names[step.name] = same
                rewrites.append(Rewrite("cse", step.name, f"does the same as {same}"))
                continue
        steps.append(step)
    if not names:
        return plan, ()
    outputs = tuple(Output(o.name, rename_ref(o.ref, names), o.optional, o.span) for o in plan.outputs)
    return replace(plan, steps=tuple(steps), outputs=outputs), tuple(rewrites)


def _mergeable(step: Step, registry: RegistryView) -> bool:
    for attempt in step.attempts:
        sig = registry.get(attempt.tool)
        if sig is None or sig.effects == "write":
            return False
    return not step.notes or step_policy(step).cache_ttl != 0.0
