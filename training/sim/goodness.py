"""How well simulated calls agree with measured ones: the same quantiles of both, side by side."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from catp.training.sim.calls import Call, Kind, grouped, mean_known, median_log, rivals_of

__all__ = ["goodness", "summary"]

_LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)


def summary(calls: Sequence[Call], like: Sequence[Call] | None = None) -> dict[str, Any]:
    """Quantiles of what calibration is about, over capabilities with rivals and over calls.

    With `like`, capabilities and calls are weighted so that each kind counts for as much as it does there: a simulated
    world has other shares of them than what was measured.
    """
    good = [call for call in calls if call.price > 0 and call.ms > 0]
    tools = grouped(good, lambda call: call.tool)
    price = {tool: math.exp(median_log([c.price for c in of])) for tool, of in tools.items()}
    score = {tool: mean_known([c.relative for c in of]) or 0.0 for tool, of in tools.items()}
    kind = {call.tool: call.kind for call in good}
    rivals = rivals_of({call.tool: call.capability for call in good})
    of_group = _weights([kind[group[0]] for group in rivals], _kinds_of_rivals(like) if like else None)
    of_call = _weights([call.kind for call in good], [call.kind for call in like] if like else None)
    dearest = [math.log10(max(price[t] for t in group) / min(price[t] for t in group)) for group in rivals]
    champion = [
        math.log10(price[max(group, key=lambda t: score[t])] / min(price[t] for t in group)) for group in rivals
    ]
    spread = [max(score[t] for t in group) - min(score[t] for t in group) for group in rivals]
    return {
        "log10 price, dearest / cheapest rival": _quantiles(dearest, of_group),
        "log10 price, best-scoring / cheapest rival": _quantiles(champion, of_group),
        "log10 ms per USD": _quantiles([math.log10(call.ms / (call.price / 1e9)) for call in good], of_call),
        "score, best - worst rival": _quantiles(spread, of_group),
        "tools": len(tools),
        "calls": len(good),
    }


def goodness(measured: Sequence[Call], simulated: Sequence[Call]) -> dict[str, Any]:
    """Put measured and simulated quantiles side by side; `gap` is the mean absolute difference of the quantiles."""
    left, right = summary(measured), summary(simulated, like=measured)
    found: dict[str, Any] = {"levels": list(_LEVELS)}
    for name, values in left.items():
        if isinstance(values, list):
            gaps = [abs(a - b) for a, b in zip(values, right[name], strict=False)]
            gap = round(float(np.mean(gaps)), 3) if gaps else None
            found[name] = {"measured": values, "simulated": right[name], "gap": gap}
    found["tools"] = {"measured": left["tools"], "simulated": right["tools"]}
    found["calls"] = {"measured": left["calls"], "simulated": right["calls"]}
    return found


def _kinds_of_rivals(calls: Sequence[Call]) -> list[Kind]:
    kind = {call.tool: call.kind for call in calls}
    return [kind[group[0]] for group in rivals_of({call.tool: call.capability for call in calls})]


def _weights(kinds: Sequence[Kind], like: Sequence[Kind] | None) -> list[float]:
    """A weight for each thing, so that kinds are shared as in `like`; a kind that is not there weighs nothing."""
    if like is None:
        return [1.0] * len(kinds)
    have, want = Counter(kinds), Counter(like)
    return [want[kind] / len(like) / have[kind] for kind in kinds]


def _quantiles(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    if not values or sum(weights) <= 0:
        return []
    found = np.quantile(np.array(values), _LEVELS, weights=np.array(weights), method="inverted_cdf")
    return [round(float(q), 3) for q in found]
