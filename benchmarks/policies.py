"""How long a decision of each queue policy takes, by requests that wait; and of the parts that decide once a step.

    python benchmarks/policies.py [--quick]

Requests have sizes as in Azure's 2023 conversation trace (log-normal) and due times of which about a third can no
longer be met; half as many run as wait, at most 64. `cpu` is CPU time of the deciding thread, `wall` what the engine
waits, which other programs on the machine add to. The bars: CPU p50 <= 0.2 ms at 64 waiting, p99 <= 1 ms at 256.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from catp.serving.engine.request import Request
from catp.serving.policies.budget import BudgetController
from catp.serving.policies.costmodel import CostModel, Load
from catp.serving.policies.drift import DriftGuard
from catp.serving.policies.length import LengthPredictor
from catp.serving.policies.protocol import Context, Interval, View
from catp.serving.policies.registry import DEFAULT, names, policy

RESULTS = Path(__file__).parent / "results" / "policies.json"
WAITING = (16, 64, 256)
POLICIES = (*names(), "spf+demote", "edf+demote", "slack+demote", f"{DEFAULT}+age", f"{DEFAULT}+fair")
COSTS = CostModel(fixed=1.1e-2, token=5e-5, attend=3e-9, sequence=1e-5, kv=3.5e-7)
NOW = 1000.0


def queue(count: int, rng: np.random.Generator) -> list[View]:
    """Requests that have waited for up to a minute."""
    views = []
    for number in range(count):
        prompt, output = int(rng.lognormal(6.8, 0.9)) + 1, float(rng.lognormal(5.0, 0.85)) + 1
        arrival = NOW - 60 * float(rng.random())
        premium = rng.random() < 0.3
        views.append(View(
            f"r{number}", arrival, prompt, prompt, 2000, Interval(output, output / 3, output * 3, output * 4), 0,
            f"tenant{number % 5}", int(premium), "text", arrival + 0.5 if premium else None,
            None if premium else arrival + 40 + 0.06 * output, 0.1 if premium else None, 1,
        ))  # fmt: skip
    return views


def timed(decide: Callable[[], Any], repeats: int) -> dict[str, float]:
    """Milliseconds of repeated decisions, after some to warm up."""
    cpu, wall = np.empty(repeats), np.empty(repeats)
    for number in range(-5, repeats):
        began_wall, began_cpu = time.perf_counter(), time.thread_time()
        decide()
        cpu[number], wall[number] = time.thread_time() - began_cpu, time.perf_counter() - began_wall
    found = {}
    for name, values in (("cpu", cpu), ("wall", wall)):
        found[f"{name}_p50_ms"], found[f"{name}_p99_ms"] = (
            round(1e3 * float(np.quantile(values, q)), 4) for q in (0.5, 0.99)
        )
    return found


def policies(repeats: int) -> list[dict[str, Any]]:
    """Every policy at every size of the queue; a new queue for every tenth decision."""
    rows = []
    for name in POLICIES:
        for count in WAITING:
            rng = np.random.default_rng([7, count])
            queues = [queue(count, rng) for _ in range(max(repeats // 10, 1))]
            around = Context(NOW, COSTS, tuple(queue(min(count // 2, 64), rng)), 512)
            one, turn = policy(name), iter(range(10**9))
            rows.append(
                {"policy": name, "waiting": count}
                | timed(lambda one=one, queues=queues, around=around, turn=turn:  # type: ignore[misc]
                        one.order(queues[next(turn) % len(queues)], around), repeats)
            )  # fmt: skip
            print_row(name, count, rows[-1])
    return rows


def parts(repeats: int) -> list[dict[str, Any]]:
    """What is asked once a step or once a request, with 64 that run."""
    rng = np.random.default_rng(8)
    around = Context(NOW, COSTS, tuple(queue(64, rng)), 512)
    controller, lengths = BudgetController(costs=COSTS), LengthPredictor(DriftGuard())
    request, load = Request("r", (0,) * 900, 2000), Load(512, 4e5, 64, 64_000)
    for _ in range(600):
        lengths.observe(request, int(rng.lognormal(5.0, 0.85)) + 1)
    decisions: dict[str, Callable[[], Any]] = {
        "budget": lambda: controller.budget(around),
        "budget: learn a step": lambda: controller.observe(load, 0.04),
        "length": lambda: lengths.predict(request),
        "length: learn a request": lambda: lengths.observe(request, int(rng.lognormal(5.0, 0.85)) + 1),
    }
    rows = []
    for name, decide in decisions.items():
        rows.append({"part": name} | timed(decide, repeats))
        print_row(name, 64, rows[-1])
    return rows


def print_row(name: str, count: int, row: dict[str, Any]) -> None:
    cells = "".join(f"{row[key]:9.3f}" for key in ("cpu_p50_ms", "cpu_p99_ms", "wall_p50_ms", "wall_p99_ms"))
    print(f"{name:26}{count:6}{cells}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the repeats; writes nothing")
    quick = parser.parse_args().quick
    repeats = 50 if quick else 500
    print(f"{'ms':26}{'n':>6}{'cpu p50':>9}{'cpu p99':>9}{'wall p50':>9}{'wall p99':>9}")
    found = {
        "schema": "catp.bench.policies/1",
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "processor": platform.machine()},
        "repeats": repeats,
        "policies": policies(repeats),
        "parts": parts(repeats),
    }
    if not quick:
        RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(f"written: {RESULTS}")


if __name__ == "__main__":
    main()
