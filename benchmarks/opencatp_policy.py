"""A small policy on the pool of OpenCATP, 5-fold by task, beside the cheapest plan.

    python -m benchmarks.opencatp_policy [--data shared/data/opencatp/trajectories.jsonl.gz] [--steps 120]

Nothing is known there of how accurate tools are, so all of quality is learned from the plans of other tasks, by network
and forest. One policy a fold, for both pools, on one thread; a sixth of the tasks it learns from is its validation
side. The bars (`design/training.md`, 2.3, on the whole pool): cheapest at alpha up to 0.5; hypervolume ratio above 0.72
(seq) and 0.57 (nonseq).
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.opencatp import HV_ALPHAS, pools, regret_at, shared_pool
from catp.planlang.vocabulary import Vocabulary
from catp.training.baselines import BASELINES
from catp.training.baselines.chooser import LISTED, Prices
from catp.training.caorl.algorithm import PlanLearning, texts_of
from catp.training.caorl.cases import CaseMaker
from catp.training.caorl.config import EvalConfig, MethodConfig, ModelConfig, OptimConfig, PromptConfig, TrainConfig
from catp.training.caorl.finish import WithForest
from catp.training.caorl.run import Ready, run_training
from catp.training.caorl.source_files import FileRequests
from catp.training.data.files import read
from catp.training.evaluate import CandidateSet, Evaluation, evaluate
from catp.training.evaluate.candidates import Floats
from catp.training.evaluate.protocols import folds
from catp.training.policy.checkpoint import new
from catp.training.policy.chooser import PolicyChooser
from catp.training.policy.manifest import read_manifest

ALPHAS = (0.5, 0.8, 0.9, 0.95)
BARS = {"opencatp/seq": 0.72, "opencatp/nonseq": 0.57}
VALIDATION = 6
"""Every how manieth task of those learned from is on the validation side."""


def configuration(steps: int) -> TrainConfig:
    return TrainConfig(
        name="opencatp",
        model=ModelConfig(hidden=128, layers=3, heads=4, kv_heads=4, intermediate=384, text_tokens=400),
        prompt=PromptConfig(
            max_tools=8, max_description=0, max_name=4, max_request=16, drop_tools=0.5, condition_return=0.0,
            condition_budget=0.0,
        ),
        method=MethodConfig(plans=5),
        optim=OptimConfig(lr=2e-3, steps=steps, batch=8, warmup=10, ema=0.95, threads=1),
        eval=EvalConfig(every=max(1, steps // 3), limit=60, alphas=ALPHAS),
        save_every=steps,
    )  # fmt: skip


class Pool:
    """Policies by the tasks they learned from; each is trained once."""

    def __init__(self, data: Path, by_name: dict[str, list[CandidateSet]], steps: int, folder: Path) -> None:
        self.data, self.config, self.folder = data, configuration(steps), folder
        self.requests = FileRequests([data], Vocabulary().tool_slots)
        parts = [folds(sets, "kfold") for sets in by_name.values()]
        self.tasks = [frozenset(one.group for fold in row for one in fold.train) for row in zip(*parts, strict=True)]
        self.sets = [one for sets in by_name.values() for one in sets]
        self.seconds: list[float] = []
        self.validation: list[dict[str, float]] = []

    def policy(self, groups: frozenset[str]) -> Path:
        """Return the policy that learned from these tasks (of one pool; it learned from the other's fold too)."""
        number = next(k for k, tasks in enumerate(self.tasks) if groups <= tasks)
        out = self.folder / str(number)
        if not out.exists():
            begin = time.perf_counter()
            self._train(number, out)
            self.seconds.append(time.perf_counter() - begin)
            print(f"fold {number}: {self.seconds[-1]:.0f} s, {self.validation[-1]}", file=sys.stderr, flush=True)
        return out / "best"

    def _train(self, number: int, out: Path) -> None:
        tasks = self.tasks[number]
        self.requests.fit([one for one in self.sets if one.group in tasks])
        maker = CaseMaker(self.requests, Vocabulary(), self.requests.plan)
        cases = list(maker.cases(record for record in read(self.data) if record.group in tasks))
        held = frozenset(sorted(tasks)[number % VALIDATION :: VALIDATION])
        train, val = ([c for c in cases if (c.group in held) is side] for side in (False, True))
        policy = new(self.config, list(texts_of(train)))
        learning = PlanLearning(self.config, policy.tokens, train, val, "0" * 64)
        ready = Ready(learning, policy, {}, WithForest(learning))
        result = run_training(ready, self.config, out, warn=lambda text: None)
        figures = read_manifest(out / "best").figures
        kept = ("composed_regret", "regret", "forest_regret", "mixed_regret", "mixed_trust", "mixed_share")
        best = {name: round(value, 4) for name in kept if (value := figures.get(name)) is not None}
        self.validation.append({"step": result.best_step or 0, **best})


class FoldChooser:
    """The policy of the fold in hand; implements `Chooser`."""

    name = "policy"

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._chooser: PolicyChooser | None = None

    def fit(self, sets: Sequence[CandidateSet]) -> None:
        self._chooser = PolicyChooser(self._pool.policy(frozenset(one.group for one in sets)), self._pool.requests)
        self._chooser.fit(sets)

    def choose(self, set: CandidateSet, alpha: float, prices: Prices = LISTED) -> Floats:
        assert self._chooser is not None
        return self._chooser.choose(set, alpha, prices)

    def predict(self, set: CandidateSet) -> Floats | None:
        assert self._chooser is not None
        return self._chooser.predict(set)


def row(found: Evaluation) -> dict[str, Any]:
    regrets = {f"{alpha:g}": round(regret_at(found, alpha), 4) for alpha in ALPHAS}
    intervals = {
        f"{one.alpha:g}": [round(one.regret.low, 4), round(one.regret.high, 4)]
        for one in found.rows
        if one.alpha in ALPHAS
    }
    return {
        "policy": found.planner,
        "regret": regrets,
        "interval": intervals,
        "hv_ratio": round(found.hv_ratio or 0, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=shared_pool(), help="the pool, as catp.trajectory/1")
    parser.add_argument("--steps", type=int, default=120, help="gradient steps of each fold")
    options = parser.parse_args()
    torch.set_num_threads(1)
    by_name = pools(options.data)
    with tempfile.TemporaryDirectory() as folder:
        pool = Pool(options.data, by_name, options.steps, Path(folder))
        result: dict[str, Any] = {"steps": options.steps, "folds": len(pool.tasks), "pools": {}}
        for name, sets in by_name.items():
            rows = []
            print(f"{name}, 5-fold by task ({len({one.group for one in sets})} tasks): regret at {ALPHAS}, hypervolume")
            makers: list[tuple[str, Any]] = [("cheapest", BASELINES["cheapest"]), ("policy", lambda: FoldChooser(pool))]
            for planner, maker in makers:
                rows.append(row(evaluate(maker, sets, alphas=HV_ALPHAS)))
                figures = "".join(f"{value:8.3f}" for value in (*rows[-1]["regret"].values(), rows[-1]["hv_ratio"]))
                print(f"{planner:10}{figures}", flush=True)
            cheapest, policy = rows
            bars = {
                "regret at 0.5 within cheapest's interval": policy["regret"]["0.5"] <= cheapest["interval"]["0.5"][1],
                f"hypervolume ratio above {BARS[name]}": policy["hv_ratio"] > BARS[name],
            }
            result["pools"][name] = {"rows": rows, "bars": bars}
            print(bars)
        result["seconds_per_fold"] = [round(value) for value in pool.seconds]
        result["validation"] = pool.validation
    path = Path(__file__).parent / "results" / "opencatp_policy.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
