"""Which planner an agent uses: one that it is given, or one by name.

None        what `CATP_PLANNER` says; else the learned policy, or search where there is none
"search"    exact search, without a model
"policy"    the learned policy that is shipped
"openai:MODEL@URL"  a chat model, see `catp.planners.chat`
other text  the learned policy of that name or in that folder, with or without `policy:` before it
"""

import os

from catp.planners.protocol import Planner

__all__ = ["planner_for"]


def planner_for(wanted: Planner | str | None) -> Planner:
    """Return the planner; a policy is loaded when it is first asked.

    Raises:
        ValueError: the name is empty, or begins with `openai:` and names no chat model.
    """
    if wanted is None:
        wanted = os.environ.get("CATP_PLANNER") or "policy"
    if not isinstance(wanted, str):
        return wanted
    if not wanted.strip():
        raise ValueError("the planner has no name: say search, policy, or the name or folder of a model")
    if wanted == "search":
        from catp.planners.search import SearchPlanner

        return SearchPlanner()
    from catp.planners.shipped import default_planner

    return default_planner(None if wanted == "policy" else wanted.removeprefix("policy:"))
