"""Dead steps: what no output, no write and nothing they wait for needs is removed."""

from dataclasses import replace

from catp.planlang.compiled import Rewrite
from catp.planlang.nodes import Plan, step_refs
from catp.planlang.registry_view import RegistryView

__all__ = ["drop_dead"]


def drop_dead(plan: Plan, registry: RegistryView) -> tuple[Plan, tuple[Rewrite, ...]]:
    """Remove steps whose result nobody needs; steps that write stay, and so does all that a step names in `@after`."""
    needed = {output.ref.root for output in plan.outputs}
    kept = []
    for step in reversed(plan.steps):
        sigs = [registry.get(attempt.tool) for attempt in step.attempts]
        if step.name in needed or any(sig is not None and sig.effects == "write" for sig in sigs):
            kept.append(step)
            needed.update([ref.root for _, ref in step_refs(step)])
    if len(kept) == len(plan.steps):
        return plan, ()
    alive = {step.name for step in kept}
    rewrites = [Rewrite("dead", s.name, "nobody needs its result") for s in plan.steps if s.name not in alive]
    steps = tuple(reversed(kept))
    return replace(plan, steps=steps), tuple(rewrites)
