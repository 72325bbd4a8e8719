"""Why a request cannot be planned: it makes no sense here, no tool makes what it wants, or no plan can be afforded."""

from collections.abc import Sequence

from catp.planlang.money import Money, format_usd
from catp.planners.combine import Label
from catp.planners.protocol import NothingFits, Objective, PlanningFailed, PlanRequest
from catp.planners.terms import UNPRICED_CALL
from catp.planners.typegraph import TypeGraph

__all__ = ["check_request", "inputs_of", "no_tool_makes", "unaffordable"]


def check_request(request: PlanRequest) -> None:
    """Raise `PlanningFailed` if what is wanted makes no sense for this catalogue and these inputs, with the reason."""
    if not request.wanted:
        raise PlanningFailed("nothing is wanted: name at least one result")
    if request.candidates < 1:
        raise ValueError(f"candidates must be at least 1, got {request.candidates!r}")
    names = [want.name for want in request.wanted]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise PlanningFailed(f"two wanted results are called `{twice[0]}`: give each its own name")
    for want in request.wanted:
        if not request.registry.types.known(want.type):
            raise PlanningFailed(f"`{want.name}`: the catalogue has no type `{want.type}`")
        if want.source and want.source not in request.inputs:
            raise PlanningFailed(
                f"`{want.name}` is to come from `{want.source}`, but the inputs are {inputs_of(request)}"
            )


def no_tool_makes(request: PlanRequest, graph: TypeGraph) -> PlanningFailed | None:
    """The first wanted result that no tool of the catalogue makes from the inputs; None if tools make all of them."""
    for want in request.wanted:
        if want.optional or graph.makes(want):
            continue
        made = f" for {' or '.join(want.capability)}" if want.capability else ""
        hint = ""
        asking = [
            s.name
            for s in request.registry
            if s.name in graph.unasked and graph.satisfies(want.type, s.returns) is not None
        ]
        if asking:
            hint = f"; {', '.join(asking)} would, given an input named `question`"
        through = "".join(f" after {' or '.join(step)}" for step in want.through)
        return PlanningFailed(
            f"`{want.name}`: no tool{made}{through} in the catalogue makes {want.type} from {inputs_of(request)}{hint}"
        )
    return None


def unaffordable(objective: Objective, labels: Sequence[Label], refused: set[str]) -> NothingFits:
    """What the cheapest and the fastest plan would need; `labels` are plans found without budget and deadline."""
    priced = [label for label in labels if label.price < UNPRICED_CALL]
    asked = []
    if objective.budget is not None:
        asked.append(f"for {format_usd(objective.budget)} USD (95th percentile)")
    if objective.deadline_ms is not None:
        asked.append(f"in {objective.deadline_ms:g} ms")
    parts = [f"no plan does this {' and '.join(asked)}"]
    if priced:
        cheapest = min(priced, key=lambda x: (x.price, x.finish))
        tail = f" (95th percentile {format_usd(Money(cheapest.p95))})" if objective.budget is not None else ""
        parts.append(f"the cheapest is expected to cost {format_usd(Money(cheapest.price))} USD{tail} and take "
                     f"{cheapest.finish:.0f} ms")  # fmt: skip
    elif refused:
        parts.append(f"every plan needs a tool of unknown price ({', '.join(sorted(refused))}): raise no budget, or "
                     "give the tool a price")  # fmt: skip
    fastest = min(labels, key=lambda x: (x.finish, x.price))
    price = f"costs {format_usd(Money(fastest.price))} USD" if fastest.price < UNPRICED_CALL else "has no known price"
    parts.append(f"the fastest takes {fastest.finish:.0f} ms and {price}")
    late = objective.deadline_ms is not None and fastest.finish > objective.deadline_ms
    return NothingFits("; ".join(parts), "deadline" if late else "budget")


def inputs_of(request: PlanRequest) -> str:
    """The inputs of a request and their types, for messages."""
    return ", ".join(f"`{name}` ({facts.type})" for name, facts in request.inputs.items()) or "nothing"
