"""Fused maps: where element i of one mapped step needs only element i of another, it need not wait for the rest.

    short = summarise(each pages)
    local = translate(each short)      translate(pages[3]) may start as soon as summarise(pages[3]) is done

An edge is elementwise if the producer is mapped and unguarded, and every reference of the consumer to it is `each` over
its whole result or over fields of it (`each pages.text`), which are fields of each element. Elements keep their index:
one that the producer lost under `@quorum` is lost in the consumer too.
"""

from collections.abc import Set

from catp.planlang.nodes import Arg, Plan, Ref, Step, step_refs

__all__ = ["elements_of", "elementwise_edges"]


def elements_of(arg: Arg) -> Ref | None:
    """The reference that `arg` maps over if each element depends on the same element of its root only, else None."""
    value = arg.value
    if not arg.each or not isinstance(value, Ref) or any(isinstance(part, int) for part in value.path):
        return None
    return value


def elementwise_edges(plan: Plan) -> Set[tuple[str, str]]:
    """Return the (producer, consumer) pairs of steps whose edge is elementwise."""
    producers = {step.name for step in plan.steps if not step.when and step.mapped}
    if not producers:
        return frozenset()
    return {(name, step.name) for step in plan.steps for name in _element_by_element(step) & producers}


def _element_by_element(step: Step) -> Set[str]:
    """The roots that a step uses in no other way than element by element."""
    over = [elements_of(arg) for attempt in step.attempts for arg in attempt.args if arg.each]
    mapped = [ref.root for ref in over if ref is not None]
    if not mapped:
        return frozenset()
    uses = [ref.root for _, ref in step_refs(step)]
    return {root for root in mapped if mapped.count(root) == uses.count(root)}
