"""What the policy was to reach in `policy.py`, and whether it does."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.policy_models import r4
from catp.training.evaluate.pareto import ALPHAS

NAMED_IN_THE_BAR = ("cheapest", "accurate", "frequent", "gbm", "table")


def bars(results: Mapping[str, Any], main: str) -> list[dict[str, Any]]:
    """What was to be reached, with the numbers; `met` is None where nothing was measured."""
    measured = results["protocols"]
    found = known_task_bars(measured["inputs"], main) if "inputs" in measured else []
    found += [area_bar(measured[name], name) for name in ("split", "tools", "phrasing", "prices") if name in measured]
    if results["free"]:
        valid, over = results["free"]["valid"], results["free"]["budget"]["violations"]
        found.append(bar("plans written freely are valid", valid == 1, valid, 1))
        found.append(bar("budget violations of plans written freely", None if over is None else over == 0, over, 0))
    for protocol, rows in results["methods"].items():
        found += method_bars(rows, protocol, main)
    return found


def bar(name: str, met: bool | None, value: Any, to_reach: Any, **more: Any) -> dict[str, Any]:
    return {"bar": name, "met": met, "value": value, "to_reach": to_reach, **more}


def known_task_bars(rows: Sequence[Any], main: str) -> list[dict[str, Any]]:
    policy = next((row for row in rows if row["name"] == main), None)
    if policy is None:
        return []
    found, named = [], [row for row in rows if row["name"] in NAMED_IN_THE_BAR]
    for alpha in map("{:g}".format, ALPHAS):
        value = policy["regret"][alpha]["mean"]
        if float(alpha) >= 0.8:
            best = min(named, key=lambda row: row["regret"][alpha]["mean"])
            limit = r4(0.6 * best["regret"][alpha]["mean"])
            name = f"inputs: regret at alpha {alpha} at most 0.6 x the best baseline's"
            found.append(bar(name, value <= limit, value, limit, best=best["name"]))
        elif float(alpha) <= 0.5:
            limit = r4(next(row for row in rows if row["name"] == "cheapest")["regret"][alpha]["mean"] + 0.01)
            found.append(
                bar(f"inputs: regret at alpha {alpha} at most the cheapest's + 0.01", value <= limit, value, limit)
            )
    return found


def area_bar(rows: Sequence[Any], protocol: str) -> dict[str, Any]:
    policy = next((row for row in rows if row["kind"] == "policy"), None)
    rivals = [row for row in rows if row["kind"] == "baseline" and row["hypervolume"]["mean"] is not None]
    best = max(rivals, key=lambda row: row["hypervolume"]["mean"])
    value, limit = policy and policy["hypervolume"]["mean"], best["hypervolume"]["mean"]
    composed = next((row["hypervolume"]["mean"] for row in rows if row["kind"] == "composed"), None)
    name = f"{protocol}: hypervolume above every baseline's"
    return bar(name, None if value is None else value > limit, value, limit, best=best["name"], composed=composed)


def method_bars(rows: Sequence[Any], protocol: str, main: str) -> list[dict[str, Any]]:
    policy = next(row for row in rows if row["name"] == main)
    found = []
    for row in rows:
        if row is not policy:
            mine, theirs = ([one["regret"][a]["mean"] for a in ("0.8", "0.9", "0.95", "1")] for one in (policy, row))
            met = bool(np.mean(mine) < np.mean(theirs))
            name = f"{protocol}: mean regret at alpha 0.8 to 1 below that of {row['name']}"
            found.append(bar(name, met, r4(float(np.mean(mine))), r4(float(np.mean(theirs)))))
    return found
