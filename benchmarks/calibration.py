"""How much the predicted quantiles of price and time cover: 2,000 held-out calls of the built-in tools.

    .venv/bin/python benchmarks/calibration.py [--calls 2000] [--seed 0] [--empty] [--quick]

Each call is predicted, made, compared and learned, after as many calls that only teach. Starts from the shipped
profiles, or with --empty from none. Peers on the same calls, learned in the same order: the 95th percentile of all
earlier prices of the tool whatever their input size, and the dearest price so far. `reserved` is what a p95 sets aside
per dollar spent. Prices are whole nano-USD: a tool that always costs 201 is covered by any price that covers it once,
so its coverage is near 100 %; `varying` are the tools with at least 10 different prices.
"""

import argparse
import asyncio
import json
import math
import os
from bisect import insort
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from catp.tools.bench.calibrate import Calibrated, calibrate, can_be_calibrated
from catp.tools.bench.report import machine
from catp.tools.builtin import default_catalogue
from catp.tools.calibration import TARGET
from catp.tools.call_fact import CallFact
from catp.tools.coverage import CheckedCall, coverage
from catp.tools.profile import ProfileBook

RESULTS = Path(__file__).parent / "results"
VARYING = 10


async def measure(calls: int, seed: int, empty: bool) -> Calibrated:
    """Call every built-in tool that can run here in turn."""
    catalogue = default_catalogue(ProfileBook() if empty else None)
    names = [spec.name for spec in catalogue if can_be_calibrated(spec)]
    try:
        return await calibrate(catalogue, names, calls=calls, seed=seed, progress=shown)
    finally:
        await catalogue.close()


def shown(done: int, total: int, tool: str) -> None:
    if done % 200 == 0:
        print(f"{done}/{total} {tool}", flush=True)


def percentile(earlier: Sequence[float]) -> float:
    """The 95th percentile of earlier prices, as split conformal prediction takes it."""
    return earlier[min(len(earlier), math.ceil(TARGET * (len(earlier) + 1))) - 1]


def dearest(earlier: Sequence[float]) -> float:
    return earlier[-1]


def peer(facts: Sequence[CallFact], measured: int, rule: Callable[[Sequence[float]], float]) -> dict[str, float]:
    """Coverage and reserved money of a rule on the prices seen so far, over the last `measured` calls."""
    seen: dict[str, list[float]] = {}
    pairs: list[tuple[float, float]] = []
    for number, fact in enumerate(facts):
        if fact.failed or fact.amount is None:
            continue
        earlier = seen.setdefault(fact.tool, [])
        if number >= len(facts) - measured and earlier:
            pairs.append((rule(earlier), fact.amount))
        insort(earlier, fact.amount)
    return summary(pairs)


def summary(pairs: Sequence[tuple[float, float]]) -> dict[str, float]:
    return {
        "calls": len(pairs),
        "covered": round(sum(actual <= bound for bound, actual in pairs) / len(pairs), 4),
        "reserved": round(sum(bound for bound, _ in pairs) / sum(actual for _, actual in pairs), 3),
    }


def ours(calls: Sequence[CheckedCall]) -> dict[str, float]:
    return summary([(call.price.predicted[TARGET], call.price.actual) for call in calls if call.price is not None])


def report(done: Calibrated) -> dict[str, Any]:
    overall, by_tool = coverage(done.calls)
    varying = {one.tool for one in by_tool if one.price is not None and one.price.distinct >= VARYING}
    held = [call for call in done.calls if call.tool in varying]
    return {
        "learned_from": done.learned,
        "seconds": round(done.seconds, 1),
        "overall": overall.to_json(),
        "varying": coverage(held)[0].to_json() | {"tools": len(varying)},
        "frozen": coverage(done.frozen)[0].to_json(),
        "price_p95": {
            "catp": ours(done.calls),
            "catp, without learning from the measured calls": ours(done.frozen),
            "peer: 95th percentile of earlier prices": peer(done.facts, len(done.calls), percentile),
            "peer: dearest earlier price": peer(done.facts, len(done.calls), dearest),
        },
        "tools": [one.to_json() for one in by_tool],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--empty", action="store_true", help="start from no profiles")
    parser.add_argument("--quick", action="store_true", help="100 calls; results are not stored")
    options = parser.parse_args()
    before = os.getloadavg()[0]
    done = asyncio.run(measure(100 if options.quick else options.calls, options.seed, options.empty))
    found = report(done)
    for name in ("overall", "varying", "frozen"):
        for quantity in ("price_usd", "latency_ms"):
            if found[name][quantity] is None:
                continue
            print(f"{name:10} {quantity:11} covered {found[name][quantity]['covered']}")
    for name, row in found["price_p95"].items():
        print(f"{name:48} covered {row['covered']:.1%}  reserved {row['reserved']:.2f} x spent")
    if options.quick:
        return
    start = "empty" if options.empty else "shipped"
    setting = {**machine(), "load_before": round(before, 2), "load_after": round(os.getloadavg()[0], 2)}
    data = {"benchmark": "calibration", "machine": setting, "seed": options.seed, "profiles": start, **found}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "calibration.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
