"""How long the scheduler decides: `schedule()` with 64 running jobs and a queue, for every policy.

    .venv/bin/python benchmarks/scheduler.py [--quick]

Plans on a shared catalogue of 1,000 tokens, blocks of 16, a pool in which the worst of all running jobs does not fit
together, so that every allocation is checked. Each round computes one step (nothing is really computed) and replaces
jobs that end, so the policy is asked in most rounds. Submission (`add`, where the keys of a prompt's blocks are hashed)
is measured beside it. CPU time of this process, as others share the machine; wall time
beside it. Prints the table and writes benchmarks/results/scheduler.json.
"""

import argparse
import json
import os
import platform
import time
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from catp.serving.engine.blocks import BlockPool
from catp.serving.engine.request import Job, Read, Request, Slo
from catp.serving.engine.scheduler import Limits, Scheduler
from catp.serving.policies.budget import BudgetController
from catp.serving.policies.costmodel import CostModel
from catp.serving.policies.length import LengthPredictor
from catp.serving.policies.registry import names, policy

RESULTS = Path(__file__).parent / "results" / "scheduler.json"
RUNNING = 64


class Load:
    """Keeps 64 jobs running and so many waiting."""

    def __init__(self, name: str, waiting: int, *, learned: bool) -> None:
        self.rng = Random(0)
        self.catalogue = [self.rng.randrange(5000) for _ in range(1000)]
        limits = Limits(max_sequences=RUNNING, token_budget=512, max_waiting=4096)
        # a tenth of the pool is free when 64 jobs hold what they hold on average
        pool = BlockPool(62 + RUNNING * 10, 16)
        budget = BudgetController() if learned else None
        self.scheduler = Scheduler(pool, limits, policy(name), CostModel(), LengthPredictor(), budget)
        self.waiting, self.number, self.now = waiting, 0, 0.0
        self.ends: dict[str, int] = {}
        self.adds: list[float] = []

    def fill(self) -> None:
        while len(self.scheduler.queue) < self.waiting:
            prompt = (*self.catalogue, *(self.rng.randrange(5000) for _ in range(self.rng.randrange(20, 100))))
            slo = Slo(ttft=1.0, e2e=self.rng.uniform(2.0, 20.0))
            request = Request(str(self.number), prompt, 128, 1, self.now, slo=slo, kind=f"kind {self.number % 7}")
            job: Any = Job(request, program=None)  # type: ignore[arg-type]
            cpu = time.process_time()
            root = self.scheduler.add(job, self.now)
            self.adds.append(time.process_time() - cpu)
            root.extend((), [Read(len(prompt) - 1)])
            self.ends[job.id] = len(prompt) + self.rng.randrange(10, 128)
            self.number += 1

    def step(self) -> tuple[float, float]:
        """Do a step; return the CPU and wall seconds of the decision."""
        self.fill()
        cpu, wall = time.process_time(), time.perf_counter()
        step = self.scheduler.schedule(self.now)
        took = time.process_time() - cpu, time.perf_counter() - wall
        self.now += 0.02
        reading = [row.branch for row in step.rows if row.branch.reads and row.branch.reads[0].at < row.end]
        self.scheduler.complete(step, 0.02)
        for branch in reading:
            if len(branch.tokens) >= self.ends[branch.job.id]:
                self.scheduler.finish(branch.job, "stop", self.now)
            else:
                branch.extend([self.rng.randrange(5000)], [Read(len(branch.tokens))])
        return took


def measure(name: str, waiting: int, steps: int, *, learned: bool = False) -> dict[str, Any]:
    load = Load(name, waiting, learned=learned)
    for _ in range(100):
        load.step()
    times = np.array([load.step() for _ in range(steps)]) * 1e3
    (cpu50, wall50), (cpu99, wall99) = np.percentile(times, [50, 99], axis=0)
    return {
        "policy": name + (" (learned budget)" if learned else ""), "waiting": waiting,
        "running": len(load.scheduler.running), "steps": steps, "cpu_p50_ms": round(float(cpu50), 4),
        "cpu_p99_ms": round(float(cpu99), 4), "wall_p50_ms": round(float(wall50), 4),
        "wall_p99_ms": round(float(wall99), 4), "preempted": load.scheduler.preempted,
        "add_cpu_p50_ms": round(float(np.median(load.adds)) * 1e3, 4), "fallbacks": load.scheduler.guard.fallbacks,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    steps = 200 if parser.parse_args().quick else 1000
    cases = [(name, False) for name in names()] + [("moore-hodgson", True)]
    rows = []
    print(f"{'policy':32} waiting running  cpu p50  cpu p99  wall p50  wall p99 (ms)")
    for name, learned in cases:
        for waiting in (64, 256, 1024):
            row = measure(name, waiting, steps, learned=learned)
            rows.append(row)
            print(
                f"{row['policy']:32} {waiting:7} {row['running']:7} {row['cpu_p50_ms']:8.3f} {row['cpu_p99_ms']:8.3f} "
                f"{row['wall_p50_ms']:9.3f} {row['wall_p99_ms']:9.3f}",
                flush=True,
            )
    machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(),
               "python": platform.python_version()}  # fmt: skip
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
