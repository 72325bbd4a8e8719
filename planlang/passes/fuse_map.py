"""Fused maps: where element i of one mapped step needs only element i of another, it need not wait for the rest.

    short = summarise(each pages)
    local = translate(each short)      translate(pages[3]) may start as soon as summarise(pages[3]) is done

An edge is elementwise if the producer is mapped and unguarded, and every reference of the consumer to it is `each` over
its whole result. Elements keep their index: one that the producer lost under `@quorum` is lost in the consumer too.
"""

from collections.abc import Set

from catp.planlang.nodes import Plan, Ref, Step, step_refs

__all__ = ["elementwise_edges"]


def elementwise_edges(plan: Plan) -> Set[tuple[str, str]]:
    """Return the (producer, consumer) pairs of steps whose edge is elementwise."""
    producers = {step.name for step in plan.steps if not step.when and step.mapped}
    if not producers:
        return frozenset()
    return {(name, step.name) for step in plan.steps for name in _whole(step) & producers}


def _whole(step: Step) -> Set[str]:
    """The roots that a step uses in no other way than as `each root`."""
    mapped = [
        arg.value.root
        for attempt in step.attempts
        for arg in attempt.args
        if arg.each and isinstance(arg.value, Ref) and not arg.value.path
    ]
    if not mapped:
        return frozenset()
    uses = [ref.root for _, ref in step_refs(step)]
    return {root for root in mapped if mapped.count(root) == uses.count(root)}
