"""Critics and their kin as planners: normalised regret over alpha, beside the cheapest plan and gradient boosting.

    .venv/bin/python benchmarks/critic.py [--seeds 1] [--only inputs]

CATP-Bench, held-out inputs of known tasks (`inputs`) and held-out tasks (`split`); the OpenCATP pools, 5-fold by task
(looked for in `shared/data` beside the repository, or in $CATP_SHARED_DATA). `cql`, `bcq`, `bc` and `dt` are d3rlpy's
algorithms, decoded greedily along the measured plans; `critic` is CQL's value at the end of a plan less the known
price. One thread. Prints tables; writes benchmarks/results/critic.json, part by part.
"""

import argparse
import importlib.resources
import json
import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from catp.tools.bench.report import machine
from catp.training.baselines import BASELINES
from catp.training.critic.choosers import CRITICS, CriticChooser
from catp.training.critic.config import CriticConfig
from catp.training.data.files import read
from catp.training.evaluate import CandidateSet, candidate_sets, evaluate

OUT = Path(__file__).parent / "results" / "critic.json"
BENCH = Path(str(importlib.resources.files("catp"))) / "datasets" / "catp-bench" / "measured"
ALPHAS = (0.5, 0.8, 0.9, 0.95, 1.0)
PLAIN = ("random", "cheapest", "gbm")
LEARNED = ("bc", "dt", "bcq", "cql", "critic")
SMALL = {"tools": 8, "slots": 8, "steps": 150, "batch": 64}
"""OpenCATP has eight tools, plans of at most six steps, and few inputs: it is learned by heart at once."""


def pools() -> dict[str, list[CandidateSet]]:
    """The sets of both OpenCATP pools; empty if the file is not there."""
    folder = Path(os.environ.get("CATP_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    path = folder / "opencatp" / "trajectories.jsonl.gz"
    if not path.exists():
        print(f"no {path}: the OpenCATP pools are left out")
        return {}
    sets = list(candidate_sets(read(path)))
    return {name: [one for one in sets if one.dataset == name] for name in sorted({one.dataset for one in sets})}


def chooser(name: str, seed: int, small: bool) -> CriticChooser:
    """A critic of the default config, with a seed."""
    made = CRITICS[name]()
    assert isinstance(made, CriticChooser)
    update = {"seed": seed, **(SMALL if small else {})}
    return CriticChooser(name, CriticConfig.model_validate(made.config.model_dump() | update))


def measured(sets: Sequence[CandidateSet], protocol: str, seeds: int, small: bool) -> list[dict[str, Any]]:
    """One row per planner: mean regret over the seeds of training, and the interval over tasks of the first."""
    rows = []
    for name in (*PLAIN, *LEARNED):
        begin, runs = time.process_time(), []
        for seed in range(seeds if name in LEARNED else 1):
            make = partial(chooser, name, seed, small) if name in LEARNED else BASELINES[name]
            runs.append(evaluate(make, sets, alphas=ALPHAS, protocol=protocol))
        regrets = np.array([[row.regret.regret for row in run.rows] for run in runs])
        first = runs[0]
        ratio = first.hv_ratio
        row = {
            "planner": name,
            "regret": {
                f"{alpha:g}": round(float(value), 4) for alpha, value in zip(ALPHAS, regrets.mean(0), strict=True)
            },
            "by_seed": np.round(regrets, 4).tolist(),
            "interval": {f"{r.alpha:g}": [r.regret.low, r.regret.high] for r in first.rows},
            "hv_ratio": None if ratio is None else round(ratio, 4),
            "decide_ms": None if first.decide_ms is None else round(first.decide_ms, 2),
            "cpu_s": round(time.process_time() - begin, 1),
        }
        rows.append(row)
        cells = "".join(f"{value:8.3f}" for value in regrets.mean(0))
        print(f"{name:10}{cells}   hv {row['hv_ratio']}  {row['cpu_s']:6.1f} s", flush=True)
    return rows


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", help="a part: inputs, split, opencatp/seq, opencatp/nonseq")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    bench = list(candidate_sets(read(BENCH)))
    parts = {"inputs": (bench, "inputs"), "split": (bench, "split")}
    parts |= {name: (sets, "kfold") for name, sets in pools().items()}
    results: dict[str, Any] = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {}
    results |= {
        "alphas": ALPHAS,
        "config": CriticConfig().model_dump(mode="json"),
        "small": SMALL,
        "machine": machine(),
    }
    for name, (sets, protocol) in parts.items():
        if options.only not in (None, name):
            continue
        print(f"\n{name}, protocol {protocol}, alpha " + ", ".join(f"{alpha:g}" for alpha in ALPHAS), flush=True)
        rows = measured(sets, protocol, options.seeds, small=name.startswith("opencatp"))
        results.setdefault("parts", {})[name] = {"protocol": protocol, "seeds": options.seeds, "rows": rows}
        OUT.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
