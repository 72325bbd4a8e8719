"""What else could do a step: tools that take its arguments and give what the steps after it need."""

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from catp.dashboard.forms import usd
from catp.dashboard.read.history import typical
from catp.planlang.nodes import Arg, Attempt, Step
from catp.planlang.registry_view import Param, RegistryView, ToolSig

if TYPE_CHECKING:
    from catp.tools.catalogue import Catalogue

__all__ = ["alternatives", "price_rule"]


def price_rule(catalogue: "Catalogue", tool: str | None) -> str | None:
    """Return how calls of a tool are charged, in words; None if this server does not know the tool."""
    return catalogue.get(tool).price.describe() if tool is not None and tool in catalogue else None


def alternatives(connection: Connection, catalogue: "Catalogue", step: Step, run_id: str) -> list[dict[str, Any]]:
    """Return tools that could stand in for the first one of a step, with what their steps used to cost and take.

    `planned` are those that the plan itself falls back to. `cost` and `ms` are medians over other runs than `run_id`,
    None if there are none; the price of a tool that was never called is only a rule.
    """
    planned = [str(attempt.tool) for attempt in step.attempts[1:]]
    names = dict.fromkeys([*planned, *_fitting(catalogue.view(), step.attempts[0])])
    found = []
    for name in names:
        past = typical(connection, name, without=run_id)
        found.append(
            {
                "tool": name, "planned": name in planned, "price": price_rule(catalogue, name),
                "cost": usd(past.cost[0]) if past is not None and past.cost is not None else None,
                "ms": None if past is None else round(past.ms[0], 3), "n": 0 if past is None else past.n,
            }
        )  # fmt: skip
    return found


def _fitting(view: RegistryView, attempt: Attempt) -> list[str]:
    now = view.get(attempt.tool)
    return [] if now is None else [tool.name for tool in view if tool is not now and _fits(view, tool, now, attempt)]


def _fits(view: RegistryView, tool: ToolSig, now: ToolSig, attempt: Attempt) -> bool:
    """True if the call could be written with the other tool's name; what the plan says is checked when it is."""
    if not view.types.accepts(now.returns, tool.returns) or tool.effects == "write":
        return False
    given = [(_param(tool, arg, place), _param(now, arg, place)) for place, arg in enumerate(attempt.args)]
    if not all(new is not None and old is not None and view.types.accepts(new.type, old.type) for new, old in given):
        return False
    named = {new.name for new, _ in given if new is not None}
    return all(param.name in named for param in tool.params if param.required)


def _param(tool: ToolSig, arg: Arg, place: int) -> Param | None:
    if arg.name is not None:
        return tool.param(arg.name)
    return tool.params[place] if place < len(tool.params) else None
