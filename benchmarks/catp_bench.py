"""The baselines and the search planner on CATP-Bench: held-out tasks, and held-out inputs of known tasks.

    .venv/bin/python benchmarks/catp_bench.py [--search 40]

Prints one table per protocol; writes benchmarks/results/catp_bench.json and catp_bench.svg (score against price, the
Pareto picture of the first protocol). `--search N` asks the search planner about N inputs (0: not at all) and really
runs those of its plans that were not measured.
"""

import argparse
import importlib.resources
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from catp.planners.search import SearchPlanner
from catp.training.baselines import BASELINES
from catp.training.bench.joins import bench_catalogue
from catp.training.bench.live import Live
from catp.training.bench.tasks import load_tasks
from catp.training.data.files import read
from catp.training.evaluate import CandidateSet, Evaluation, candidate_sets, evaluate
from catp.training.evaluate.pictures import pareto_picture
from catp.training.evaluate.planning import Case, evaluate_planner
from catp.training.evaluate.report import table, table_json

HERE = Path(__file__).parent
DATA = Path(str(importlib.resources.files("catp"))) / "datasets" / "catp-bench" / "measured"
HELD_OUT_TASKS = ("random", "cheapest", "accurate", "shortest", "frequent", "gbm", "ridge", "oracle-score", "oracle")
SEARCH_ALPHAS = (0.5, 0.8, 0.95)
"""The search planner takes up to some seconds a plan."""
KNOWN_TASKS = (*HELD_OUT_TASKS, "table", "fixed", "fixed-hindsight")


def searched(sets: list[CandidateSet], count: int, protocol: str) -> Evaluation:
    """The search planner, free to write any plan, on inputs of the test side."""
    test = [one for one in sets if one.split["name" if protocol == "split" else "inputs"] == "test"]
    places = np.random.default_rng([0, len(test)]).choice(len(test), min(count, len(test)), replace=False)
    tasks, catalogue = load_tasks(), bench_catalogue()

    def case(one: CandidateSet) -> Case:
        return Case(one, lambda alpha: tasks[one.id].request(catalogue, alpha, one.price_scale))

    cases = [case(test[place]) for place in sorted(places)]
    live = Live(tasks, catalogue)
    return evaluate_planner(SearchPlanner(), cases, alphas=SEARCH_ALPHAS, protocol=protocol, measure=live)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--search", type=int, default=40, metavar="N")
    options = parser.parse_args()
    sets = list(candidate_sets(read(DATA)))
    found: dict[str, list[Evaluation]] = {}
    for protocol, names in (("split", HELD_OUT_TASKS), ("inputs", KNOWN_TASKS)):
        rows = [evaluate(BASELINES[name], sets, protocol=protocol) for name in names]
        if options.search and protocol == "split":
            rows.append(searched(sets, options.search, protocol))
        found[protocol] = rows
        print(f"protocol {protocol}: {rows[0].sets} inputs of {rows[0].groups} tasks\n\n{table(rows)}\n")
    best = [float(np.mean([np.argmax(one.utility(a)) == np.argmin(one.prices) for one in sets])) for a in (0.5, 0.8)]
    results: dict[str, Any] = {
        "inputs": len(sets), "plans": sum(map(len, sets)), "tasks": len({one.group for one in sets}),
        "cheapest_is_best": {"0.5": round(best[0], 4), "0.8": round(best[1], 4)}, "load": round(os.getloadavg()[0], 1),
        "protocols": {protocol: table_json(rows)["evaluations"] for protocol, rows in found.items()},
    }  # fmt: skip
    out = HERE / "results"
    (out / "catp_bench.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (out / "catp_bench.svg").write_bytes(pareto_picture({"CATP-Bench, held-out tasks": found["split"]}))


if __name__ == "__main__":
    main()
