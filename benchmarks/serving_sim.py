"""Queue policies, token budgets, batching and paging on the Azure trace, simulated with the real scheduler.

    nice .venv/bin/python benchmarks/serving_sim.py [--only SECTION,...] [--quick]

Everything here is simulated: Llama-2-7B on an A100 (measured linear layers, computed attention; see
docs/serving-simulator.md) serves the first 8000 requests of Azure's 2023 traces, merged. Load 1 is 5.01 requests/s. A
section writes its part of benchmarks/results/serving_sim.json when it is done, so they can be run one by one.

    headline     FCFS and Moore-Hodgson at loads 0.7 and 0.9, and the latter with 40 % error of predicted lengths
    table        all policies by load
    seeds        FCFS and Moore-Hodgson, two more seeds of classes
    errors       shortest feasible first with 40 % error, and Moore-Hodgson on broken predictors, at load 0.7
    budget       fixed token budgets against the controller, Moore-Hodgson
    batching     saturated throughput: continuous against static batches of 32, paged against 4096 tokens reserved
    overload     goodput from load 0.9 to 1.5, hopeless requests shed
    defaults     Moore-Hodgson as the engine runs if nobody says otherwise: admission by bounds, ageing
"""

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from catp.serving.sim.profiles import load_profile
from catp.serving.sim.replay import Replica
from catp.serving.sim.report import Report
from catp.serving.sim.static import static_batches
from catp.serving.sim.sweep import Cell, Sweep, saturated
from catp.serving.sim.table import rows, table
from catp.serving.sim.traces import read_trace
from catp.tools.bench.report import machine

RESULTS = Path(__file__).parent / "results" / "serving_sim.json"
SHARED = Path(os.environ.get("CATP_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
CAPACITY = 5.01
MH = "moore-hodgson"
RESERVED = 4096
BARS = {
    "mh_0.7": 0.88, "mh_0.9": 0.81, "fcfs_0.7": 0.48, "fcfs_0.9": 0.26, "error_ratio": 0.98, "tuner_gap": 0.01,
    "continuous_over_static": 2.5, "paged_over_reserved": 1.15, "overload_over_peak": 0.9,
}  # fmt: skip


class Bench:
    """The sections; each returns what it found."""

    def __init__(self, requests: int) -> None:
        self.replica = Replica(*load_profile("a100-llama2-7b"))
        self.trace = read_trace(SHARED / "traces").first(requests)
        self.sweep = Sweep(self.trace, self.replica, CAPACITY)
        self.section = ""
        self.quick = requests < 8000

    def run(self, cells: list[Cell], sweep: Sweep | None = None) -> dict[Cell, Report]:
        """Simulate cells; after each, what there is so far is written, as the whole takes an hour."""
        found: dict[Cell, Report] = {}

        def done(cell: Cell, report: Report) -> None:
            found[cell] = report
            _told(cell, report)
            self.write({"unfinished": True, "rows": rows(found)})

        return (sweep or self.sweep).run_all(cells, 1, done)

    def write(self, found: dict[str, Any]) -> None:
        """Write the section's part of the results."""
        if self.quick:
            return
        known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        head = {
            "schema": "catp.bench.serving-sim/1", "simulated": True, "machine": machine(), "profile": "a100-llama2-7b",
            "trace": self.trace.name, "requests": len(self.trace.arrivals), "capacity": CAPACITY, "bars": BARS,
        }  # fmt: skip
        RESULTS.write_text(json.dumps({**known, **head, self.section: found}, indent=1) + "\n")

    def headline(self) -> dict[str, Any]:
        found = rows(self.run([Cell(p, load) for p in (MH, "fcfs") for load in (0.7, 0.9)]))
        wrong = rows(self.run([Cell(MH, load, 0.4) for load in (0.7, 0.9)]))
        right = {row["load"]: row["attainment"] for row in found if row["policy"] == MH}
        return {
            "rows": found + wrong,
            "attainment": {f"{row['policy']}_{row['load']}": row["attainment"] for row in found},
            "error_ratio": {str(row["load"]): row["attainment"] / right[row["load"]] for row in wrong},
        }

    def table(self) -> dict[str, Any]:
        policies = ("spf+demote", "spf", "edf", "edf+demote", "annealing", "priority", "bins", "fcfs", MH)
        cells = [Cell(policy, load) for load in (0.7, 0.9, 0.5) for policy in policies]
        found = rows(self.run(cells))
        print(table(found))
        return {"rows": found}

    def seeds(self) -> dict[str, Any]:
        cells = [Cell(policy, load, 0.0, seed) for policy in ("fcfs", MH) for load in (0.7, 0.9) for seed in (1, 2)]
        return {"rows": rows(self.run(cells))}

    def errors(self) -> dict[str, Any]:
        cells = [Cell("spf+demote", 0.7, error) for error in (0.0, 0.4)]
        cells += [Cell(MH, 0.7, predictor=name) for name in ("shuffled", "inverted", "constant", "low")]
        return {"rows": rows(self.run(cells))}

    def budget(self) -> dict[str, Any]:
        cells = [Cell(MH, load, budget=budget) for load in (0.7, 0.5) for budget in (None, 512, 256, 1024, 160, 2048)]
        found = rows(self.run(cells))
        gaps = {}
        for load in (0.5, 0.7):
            attained = {row["budget"]: row["attainment"] for row in found if row["load"] == load}
            gaps[str(load)] = max(value for budget, value in attained.items() if budget) - attained[None]
        return {"rows": found, "tuner_gap": gaps}

    def batching(self) -> dict[str, Any]:
        static = static_batches(self.trace.arrivals, self.replica.times)
        paged = saturated(self.trace, self.replica)
        reserved = saturated(self.trace, replace(self.replica, sequences=self.replica.kv_tokens // RESERVED))
        return {
            "static": static.throughput, "static_effective_rows": static.effective, "paged": paged,
            "reserved": reserved, "continuous_over_static": paged / static.throughput,
            "paged_over_reserved": paged / reserved,
        }  # fmt: skip

    def overload(self) -> dict[str, Any]:
        found = rows(self.run([Cell(MH, load, shed=True) for load in (1.5, 0.9, 1.0, 1.2)]))
        goodput = {row["load"]: row["goodput"] for row in found}
        return {"rows": found, "overload_over_peak": goodput[1.5] / max(goodput.values())}

    def defaults(self) -> dict[str, Any]:
        usual = Sweep(self.trace, replace(self.replica, overcommit=False, max_skips=256), CAPACITY)
        return {"rows": rows(self.run([Cell(policy, load) for policy in (MH,) for load in (0.7, 0.9)], usual))}


def _told(cell: Cell, report: Report) -> None:
    print(
        f"{time.strftime('%H:%M:%S')} {cell.policy:14} load {cell.load:g} error {cell.error:g} {cell.predictor} "
        f"budget {cell.budget} seed {cell.seed}: {100 * report.attainment:.1f} %, goodput {report.goodput:.2f}, "
        f"p99 {report.e2e[2]:.0f} s",
        flush=True,
    )


def main() -> None:
    sections = ("headline", "batching", "overload", "budget", "errors", "table", "defaults", "seeds")
    parser = argparse.ArgumentParser(description="Queue policies on the Azure trace, simulated.")
    parser.add_argument("--only", default=",".join(sections), help=f"of {', '.join(sections)}")
    parser.add_argument("--quick", action="store_true", help="800 requests, nothing written")
    options = parser.parse_args()
    bench = Bench(800 if options.quick else 8000)
    for section in options.only.split(","):
        bench.section, began = section, time.process_time()
        found = getattr(bench, section)()
        found["cpu_s"] = round(time.process_time() - began, 1)
        print(f"{section}: {json.dumps({key: value for key, value in found.items() if key != 'rows'})}", flush=True)
        bench.write(found)


if __name__ == "__main__":
    main()
