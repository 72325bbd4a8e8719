"""catp-sim: trajectories per CPU second, and the oracle's time against writing all plans out.

nice .venv/bin/python benchmarks/sim.py        # prints tables, writes benchmarks/results/sim.json
"""

import argparse
import json
import statistics
import time
from itertools import islice
from pathlib import Path
from typing import Any

from catp.tools.bench.report import machine
from catp.training.sim.behaviour import price_scale
from catp.training.sim.build import logged
from catp.training.sim.families import tasks
from catp.training.sim.oracle import best_plan
from catp.training.sim.plans import enumerate_plans, single_values
from catp.training.sim.space import Space
from catp.training.sim.streaming import stream
from catp.training.sim.world import World

RESULTS = Path(__file__).parent / "results" / "sim.json"
_MOST = 20_000
_ALPHA = 0.8


def rates(count: int) -> list[dict[str, Any]]:
    """Trajectories per CPU second by size of the world, with the making of the world left out, and of a stream."""
    rows: list[dict[str, Any]] = []
    for size in (5, 20, 100, 500):
        found = tasks(World(11, size), 10)
        started = time.process_time()
        for number in range(count):
            logged(found[number % len(found)].case(number)).to_line()
        rows.append({"tools": size, "per_cpu_s": round(count / (time.process_time() - started))})
    started = time.process_time()
    for record in islice(stream(1), count):
        record.to_line()
    rows.append({"tools": "stream, 5 to 500", "per_cpu_s": round(count / (time.process_time() - started))})
    return rows


def oracle(repeats: int) -> list[dict[str, Any]]:
    """Median and longest time of the oracle by size and shape; brute force where all plans can be written out."""
    rows = []
    for size in (6, 12, 20, 50, 100):
        for shape in ("chain", "fork", "join", "map", "repeat"):
            found = [t for t in tasks(World(12, size), 15) if t.shape == shape][:repeats]
            ours, brute, plans = [], [], []
            for task in found:
                scale = float(price_scale(task))
                space = Space(task.case(0))
                started = time.process_time()
                best = best_plan(space, _ALPHA, scale)
                ours.append((time.process_time() - started) * 1e3)
                fresh = Space(task.case(0))
                if len(single_values(fresh)) > 40:
                    continue
                started = time.process_time()
                utilities = [fresh.utility(p, _ALPHA, scale) for p in enumerate_plans(fresh, _MOST + 1)]
                if len(utilities) <= _MOST:
                    brute.append((time.process_time() - started) * 1e3)
                    plans.append(len(utilities))
                    assert abs(max(utilities) - best.utility) < 1e-9
            if found:
                rows.append({
                    "tools": size, "shape": shape, "tasks": len(found), "oracle_ms": round(statistics.median(ours), 2),
                    "oracle_ms_most": round(max(ours), 2),
                    "brute_ms": round(statistics.median(brute), 2) if brute else None,
                    "plans": round(statistics.median(plans)) if plans else None,
                })  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="trajectories per row")
    parser.add_argument("--tasks", type=int, default=3, help="tasks per size and shape")
    args = parser.parse_args()
    result: dict[str, Any] = {
        "schema": "catp.benchmark/sim/1", "machine": machine(),
        "rates": rates(args.count), "oracle": oracle(args.tasks),
    }  # fmt: skip
    for row in result["rates"]:
        print(f"{row['tools']!s:>18} tools: {row['per_cpu_s']:>5} trajectories / CPU s")
    print(f"{'tools':>5} {'shape':<7} {'oracle ms':>9} {'longest':>9} {'brute ms':>9} {'plans':>7}")
    for row in result["oracle"]:
        brute = "-" if row["brute_ms"] is None else f"{row['brute_ms']:.1f}"
        print(f"{row['tools']:>5} {row['shape']:<7} {row['oracle_ms']:>9.2f} {row['oracle_ms_most']:>9.2f} "
              f"{brute:>9} {row['plans'] or '-':>7}")  # fmt: skip
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
