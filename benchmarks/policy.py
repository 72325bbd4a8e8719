"""The learned policy on CATP-Bench's test splits, beside the baselines and the other methods of training.

    python -m benchmarks.policy --model catp-tiny=runs/s0/best --model catp-tiny=runs/s1/best \\
        --model without-tools=runs/w/best --model caorl=runs/caorl/best --model filtered-bc=runs/fbc/best

Folders of one name are seeds of one thing; the first name is the policy that the figures are about, and without
`--model` it is the shipped one. Which protocols and rivals a model is for stands in its manifest: one that was trained
without the held-out tools is judged on those tools, one that decides by likelihood stands in the table of methods.

split, inputs, phrasing, tools, prices    regret and hypervolume among measured plans, all rows on the same inputs
ablations                                 the policy without its network's ratings, and without its forest
methods                                   methods of training, which must be asked at every alpha: on fewer inputs
free                                      the planner of `catp run`, which writes its plans itself: valid, covered, over
bars                                      what was to be reached, and whether it is

`composed` is the policy without what it learned of quality: what the tools' profiles promise. Intervals of a row are
bootstrapped over tasks, those over seeds are Student's. A rating by the network takes about 0.16 s of one core, one by
profiles and forest (of a policy whose `trust` is 0) a tenth: by default 80 inputs are drawn for a protocol.

Prints the tables; writes benchmarks/results/policy.json.
"""

import argparse
import importlib.resources
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.policy_bars import bars
from benchmarks.policy_models import Model, Rater, Seeds, models_of, r4
from catp.planners.shipped import load_policy
from catp.tools.bench.report import machine
from catp.training.baselines import BASELINES, Chooser, Prices
from catp.training.bench.joins import bench_catalogue
from catp.training.bench.live import Live
from catp.training.bench.tasks import load_tasks
from catp.training.data.files import read
from catp.training.evaluate import CandidateSet, Evaluation, candidate_sets, evaluate
from catp.training.evaluate.pareto import ALPHAS
from catp.training.evaluate.planning import Case, evaluate_planner
from catp.training.evaluate.protocols import folds
from catp.training.policy.models import default_model

HERE = Path(__file__).parent
BENCH = Path(str(importlib.resources.files("catp"))) / "datasets" / "catp-bench"
PROTOCOLS = ("inputs", "split", "phrasing", "tools", "prices")
SHOWN = (0.5, 0.8, 0.9, 0.95, 1.0)
ALL = 10**9
FREE_ALPHAS = (0.5, 0.8, 0.95)
BASELINE_NAMES = ("cheapest", "accurate", "frequent", "gbm", "gbm-advantage", "table", "fixed")
NEED_TASK = ("table", "fixed")
"""Know nothing of tasks that are held out."""


class Measured:
    """The data, and one protocol after the other measured on (a draw of) its test side."""

    def __init__(self, limit: int, progress: Callable[[str], None]) -> None:
        self.sets = list(candidate_sets(read(BENCH / "measured")))
        held = json.loads((BENCH / "splits.json").read_text(encoding="utf-8"))["tools"]["held_out"]
        tables = json.loads((BENCH / "prices.json").read_text(encoding="utf-8"))["test"]
        self.held_out: frozenset[str] = frozenset(held)
        self._apart: dict[str, Any] = {"tools": [held], "tables": [Prices(table["factors"]) for table in tables]}
        self.limit, self.progress = limit, progress

    def test(self, protocol: str) -> list[str]:
        """The ids of the inputs a protocol is judged on."""
        found = {one.id for fold in folds(self.sets, protocol, **self._apart) for one in fold.test}
        return sorted(found)

    def drawn(self, protocol: str, limit: int) -> list[CandidateSet]:
        """All sets but those of the test side that were not drawn."""
        ids = self.test(protocol)
        if limit >= len(ids):
            return self.sets
        kept = {ids[place] for place in np.random.default_rng([0, len(ids)]).permutation(len(ids))[:limit]}
        left_out = set(ids) - kept
        return [one for one in self.sets if one.id not in left_out]

    def judge(
        self, name: str, make: Callable[[], Chooser], protocol: str, *, limit: int | None = None,
        alphas: Sequence[float] = ALPHAS,
    ) -> Evaluation:  # fmt: skip
        began = time.perf_counter()
        sets = self.drawn(protocol, self.limit if limit is None else limit)
        found = evaluate(make, sets, alphas=alphas, protocol=protocol, **self._apart)
        self.progress(f"{protocol}: {name}, {found.sets} inputs, {time.perf_counter() - began:.1f} s")
        return found

    def row(self, model: Model, protocol: str, *, limit: int | None = None, alphas: Sequence[float] = ALPHAS) -> Any:
        """A policy's row: all seeds as one, and each alone."""
        judge = partial(self.judge, protocol=protocol, limit=limit, alphas=alphas)
        alone = [judge(f"{model.name} {n}", always(rater)) for n, rater in enumerate(model.raters)]
        mixed = judge(model.name, lambda: Seeds(model.raters)) if len(alone) > 1 else alone[0]
        return row_of(model.name, "policy" if model.rates else "method", mixed, alone)


def always(rater: Rater) -> Callable[[], Chooser]:
    return lambda: rater


def row_of(name: str, kind: str, found: Evaluation, alone: Sequence[Evaluation]) -> dict[str, Any]:
    regrets = {}
    for row in found.rows:
        each = [one.regret.regret for seed in alone if (one := seed.at(row.alpha)) is not None]
        regrets[f"{row.alpha:g}"] = over_seeds(each) | {
            "mean": r4(row.regret.regret), "low": r4(row.regret.low), "high": r4(row.regret.high)
        }  # fmt: skip
    areas = [one.hv_ratio for one in alone if one.hv_ratio is not None]
    budget = found.budget
    return {
        "name": name, "kind": kind, "inputs": found.sets, "tasks": found.groups, "regret": regrets,
        "hypervolume": over_seeds(areas), "over_budget": None if budget is None else r4(budget.violations),
        "decide_ms": r4(found.decide_ms),
    }  # fmt: skip


def over_seeds(values: Sequence[float]) -> dict[str, Any]:
    """The mean, the figure of each seed, and Student's 95 % interval of the mean if there are several."""
    if not values:
        return {"mean": None}
    mean = float(np.mean(values))
    if len(values) == 1:
        return {"mean": r4(mean)}
    from scipy.stats import t

    half = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return {"mean": r4(mean), "seeds": [r4(v) for v in values], "seeds_low": r4(mean - half),
            "seeds_high": r4(mean + half)}  # fmt: skip


def protocol_rows(data: Measured, models: Sequence[Model], protocol: str) -> list[dict[str, Any]]:
    rows = []
    for name in BASELINE_NAMES:
        if protocol != "split" or name not in NEED_TASK:
            found = data.judge(name, BASELINES[name], protocol)
            rows.append(row_of(name, "baseline", found, [found]))
    main = models[0]
    if main.rates:
        composed = Rater(main.folders[0], trust=0.0, share=0.0)
        found = data.judge("composed", lambda: composed, protocol)
        rows.append(row_of("composed", "composed", found, [found]))
    rows += [data.row(one, protocol) for one in models if one.rates and judged(one, main, data, protocol)]
    return rows


def ablations(data: Measured, main: Model, limit: int) -> dict[str, Any]:
    """The policy without its network's ratings, and without its forest, on a draw of the inputs: the network takes
    its time."""
    if not main.rates:
        return {}
    manifests = [rater.policy.manifest for rater in main.raters]
    network = [Rater(one, manifest.figures.get("trust"), 0.0)
               for one, manifest in zip(main.folders, manifests, strict=True)]  # fmt: skip
    forest = [Rater(one, 0.0) for one in main.folders]
    composed = Model("composed", main.folders[:1], (Rater(main.folders[0], 0.0, 0.0),))
    shown = [composed, Model("network alone", main.folders, tuple(network)),
             Model("forest alone", main.folders, tuple(forest)), main]  # fmt: skip
    return {name: [data.row(one, name, limit=limit) for one in shown] for name in ("inputs", "split")}


def judged(one: Model, main: Model, data: Measured, protocol: str) -> bool:
    """Held-out tools are for who never saw them; the other protocols for all others."""
    unseen = data.held_out <= one.without
    return unseen if protocol == "tools" else one is main or not unseen


def methods(data: Measured, models: Sequence[Model], limit: int) -> dict[str, Any]:
    """The policy beside other methods: at five alphas, on a draw of the inputs, because each alpha is asked anew."""
    others = [one for one in models if not one.rates]
    shown = [models[0], *(one for one in others if one is not models[0])]
    if not others:
        return {}
    return {
        protocol: [data.row(one, protocol, limit=limit, alphas=SHOWN) for one in shown]
        for protocol in ("inputs", "split")
    }


def free(data: Measured, folder: Path, limit: int, run: bool) -> dict[str, Any]:
    """The planner that `catp run` uses, on a draw of the inputs of test tasks."""
    planner = load_policy(str(folder), threads=1)
    tasks, catalogue = load_tasks(BENCH / "tasks.jsonl.gz"), bench_catalogue()
    by_id = {one.id: one for one in data.sets}
    ids = data.test("split")
    places = sorted(np.random.default_rng([1, len(ids)]).permutation(len(ids))[:limit])

    def case(one: CandidateSet) -> Case:
        return Case(one, lambda alpha: tasks[one.id].request(catalogue, alpha, one.price_scale))

    live = Live(tasks, catalogue) if run else None
    found = evaluate_planner(
        planner, [case(by_id[ids[place]]) for place in places], alphas=FREE_ALPHAS, protocol="split", measure=live,
        progress=data.progress,
    )  # fmt: skip
    assert found.budget is not None
    return {
        "inputs": found.sets, "tasks": found.groups, "requests": found.sets * len(FREE_ALPHAS), "run": run,
        "valid": r4(found.valid), "coverage": r4(found.coverage), "failures": dict(found.failures),
        "budget": {"asked": found.budget.asked, "refused": found.budget.refused,
                   "violations": r4(found.budget.violations)},
        "decide_ms": r4(found.decide_ms), "regret": {f"{row.alpha:g}": r4(row.regret.regret) for row in found.rows},
    }  # fmt: skip


def table(rows: Sequence[Any]) -> str:
    lines = [f"{'':<22}" + "".join(f"{f'a={a:g}':>9}" for a in SHOWN) + f"{'hv':>9}{'over':>8}"]
    for row in rows:
        cells = [f"{row['regret'][f'{a:g}']['mean']:>9.3f}" for a in SHOWN]
        hv, over = row["hypervolume"]["mean"], row["over_budget"]
        tail = (f"{hv:>9.3f}" if hv is not None else f"{'-':>9}") + (f"{over:>8.1%}" if over is not None else "")
        lines.append(f"{row['name']:<22}" + "".join(cells) + tail)
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", action="append", metavar="NAME=DIR", help="a policy; repeat, also a name for seeds")
    parser.add_argument("--inputs", type=int, default=80, metavar="N", help="inputs drawn for each protocol; 0: all")
    parser.add_argument("--ablation-inputs", type=int, default=60, metavar="N", help="the same for the ablations")
    parser.add_argument("--method-inputs", type=int, default=20, metavar="N", help="the same for the table of methods")
    parser.add_argument("--limit", type=int, default=40, metavar="N", help="inputs that are planned freely; 0: none")
    parser.add_argument("--run", action="store_true", help="really run freely written plans that were not measured")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "policy.json", metavar="FILE")
    options = parser.parse_args()
    if not options.model and default_model() is None:
        print("no policy is installed: train one (catp train --config examples/train/tiny.toml) or name one (--model)")
        return
    import torch

    torch.set_num_threads(1)
    models = models_of(options.model or [str(default_model())])
    data = Measured(options.inputs or ALL, lambda text: print(text, file=sys.stderr))
    began = time.perf_counter()
    results: dict[str, Any] = {
        "main": models[0].name, "models": {one.name: one.told() for one in models}, "alphas": list(ALPHAS),
        "protocols": {}, "ablations": {}, "methods": {}, "free": {}, "bars": [],
    }  # fmt: skip

    def keep() -> None:
        """Write what there is; a benchmark that is stopped has measured something."""
        results["bars"] = bars(results, models[0].name)
        about = {"seconds": round(time.perf_counter() - began), "load": round(os.getloadavg()[0], 1)}
        options.out.write_text(json.dumps(results | about | {"machine": machine()}, indent=1) + "\n", encoding="utf-8")

    for protocol in PROTOCOLS:
        rows = results["protocols"][protocol] = protocol_rows(data, models, protocol)
        print(
            f"\nprotocol {protocol}: {rows[0]['inputs']} inputs of {rows[0]['tasks']} tasks\n\n{table(rows)}",
            flush=True,
        )
        keep()
    results["ablations"] = ablations(data, models[0], options.ablation_inputs or ALL)
    for protocol, rows in results["ablations"].items():
        print(f"\nablations, {protocol}: {rows[0]['inputs']} inputs of {rows[0]['tasks']} tasks\n\n{table(rows)}")
    keep()
    results["methods"] = methods(data, models, options.method_inputs or ALL)
    for protocol, rows in results["methods"].items():
        print(f"\nmethods, {protocol}: {rows[0]['inputs']} inputs of {rows[0]['tasks']} tasks\n\n{table(rows)}")
    if options.limit:
        results["free"] = free(data, models[0].folders[0], options.limit, options.run)
        print("\nplanning freely:", json.dumps(results["free"]))
    keep()
    print(
        "\n"
        + "\n".join(f"{one['met']!s:>5}  {one['bar']}: {one['value']} ({one['to_reach']})" for one in results["bars"])
    )


if __name__ == "__main__":
    main()
