"""Fitting a request to a policy: which tools it is shown, and whether its plans can be spelled at all."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from catp.planlang.nodes import Literal, Plan
from catp.planlang.registry_view import RegistryView, ToolSig
from catp.planlang.token_ids import constants
from catp.planners.protocol import PlanRequest, Wanted
from catp.planners.typegraph import TypeGraph
from catp.planners.writer import Unwritable
from catp.training.prompt.known import Composer
from catp.training.prompt.view import ToolRow, view_of

__all__ = ["check_spellable", "offered"]


def offered(request: PlanRequest, shown: Sequence[Plan], usual: int, slots: int) -> PlanRequest:
    """Return the request with the tools a policy is shown, in the catalogue's order.

    Tools that write are left out: no plan may use them. If more than `usual` are left, so are those that cannot
    contribute to what is wanted; if that is still more than there are `slots`, those of the least use: tools that many
    others of the same signature and purpose beat in price and accuracy. Tools of plans `shown` stay.

    Args:
        request: the request.
        shown: plans that will be rated.
        usual: most tools the policy saw in training.
        slots: most tools it can tell apart.

    Raises:
        Unwritable: more tools are needed than there are slots.
    """
    used = {attempt.tool for plan in shown for step in plan.steps for attempt in step.attempts}
    tools = [sig for sig in request.registry if sig.effects != "write"]
    if len(tools) > usual:
        graph = TypeGraph(request.registry, request.inputs, request.wanted)
        able = {maker.sig.name for maker in graph.makers}
        if able:
            tools = [sig for sig in tools if sig.name in able | used]
    if len(tools) > slots:
        tools = _of_use(_only(request, tools), used, slots)
    return request if len(tools) == len(request.registry) else _only(request, tools)


def check_spellable(request: PlanRequest) -> None:
    """Check that what is wanted can be written in plan tokens.

    Raises:
        Unwritable: an argument that somebody fixed is a text or number without a token.
    """
    for want in request.wanted:
        makers = [sig for sig in request.registry if not want.capability or sig.capability in want.capability]
        if want.arguments and not any(_spells(sig, want) for sig in makers):
            fixed = ", ".join(f"{name}={value!r}" for name, value in want.arguments)
            raise Unwritable(
                f"`{want.name}` is wanted with {fixed}, for which the policy has no token: it writes choices, levels "
                "and defaults only; plan it by search, or give the parameter `choices`"
            )


def _spells(sig: ToolSig, want: Wanted) -> bool:
    for name, value in want.arguments:
        param = sig.param(name)
        if param is None:
            return False
        known = constants(param.type, param)
        if param.default != Literal(value) and (known is None or Literal(value) not in known[1]):
            return False
    return True


def _only(request: PlanRequest, tools: Sequence[ToolSig]) -> PlanRequest:
    return replace(request, registry=RegistryView(tuple(tools), request.registry.types))


def _of_use(request: PlanRequest, used: Collection[str], slots: int) -> list[ToolSig]:
    """The `slots` tools that fewest others beat."""
    tools = list(request.registry)
    rows = view_of(request, Composer(request.registry, request.estimator, request.inputs)).tools
    beaten = {
        sig.name: -1 if sig.name in used else sum(
            _alike(sig, other) and _beats(theirs, mine, earlier=rival < place)
            for rival, (other, theirs) in enumerate(zip(tools, rows, strict=True))
        )
        for place, (sig, mine) in enumerate(zip(tools, rows, strict=True))
    }  # fmt: skip
    needed = sum(count <= 0 for count in beaten.values())
    if needed > slots:
        raise Unwritable(
            f"{needed} of {len(tools)} tools may be of use here, and the policy tells {slots} apart; offer fewer, "
            "or train a policy with more slots (catp train --set model.tool_slots=...)"
        )
    kept = sorted(tools, key=lambda sig: beaten[sig.name])[:slots]
    return [sig for sig in tools if sig in kept]


def _alike(one: ToolSig, other: ToolSig) -> bool:
    face = [(param.name, param.type) for param in one.params if param.required]
    return (
        one.name != other.name
        and (one.capability, one.returns) == (other.capability, other.returns)
        and face == [(param.name, param.type) for param in other.params if param.required]
    )


def _beats(one: ToolRow, other: ToolRow, *, earlier: bool) -> bool:
    """Whether `one` is no dearer and no less accurate than `other`; of equals the earlier one. Unknown is worst."""
    ours = (_price(one), -(one.accuracy or 0.0))
    theirs = (_price(other), -(other.accuracy or 0.0))
    return ours[0] <= theirs[0] and ours[1] <= theirs[1] and (ours != theirs or earlier)


def _price(row: ToolRow) -> float:
    return float("inf") if row.price is None else row.price
