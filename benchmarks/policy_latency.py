"""How long the policy takes to plan, in process: time by tools offered and plans sampled, and where it goes.

    python benchmarks/policy_latency.py [--model NAME] [--repeats N] [--threads N]

A request is to read a page and tell language and sentiment; the four cheapest plans are shown and rated, as the policy
planner has it; `bench` are requests of held-out tasks of CATP-Bench, narrowed to the tools the policy was trained with
(16 for `catp-tiny`). Time is of one draft: narrowing the catalogue, the decode mask, the prompt, all forward passes,
ratings. `cpu` is CPU time of all threads, `wall` what a caller waits, which other programs on the machine add to.
Without a shipped model one of the same size with random weights is used; it has no sense of when to stop, so its plans
are as long as plans may be (12 steps) and its times an upper bound.
"""

import argparse
import asyncio
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from catp.planlang.money import Money
from catp.planlang.nodes import Plan
from catp.planlang.registry_view import Size, ValueFacts
from catp.planlang.types import Type
from catp.planners.cheapest import cheapest_plans
from catp.planners.protocol import Objective, PlanRequest, Wanted
from catp.planners.testing import page_catalogue
from catp.planners.writer import Draft
from catp.training.bench.joins import bench_catalogue
from catp.training.bench.tasks import load_tasks
from catp.training.caorl.config import ModelConfig, TrainConfig
from catp.training.policy import checkpoint, decode, session, writer
from catp.training.policy.models import default_model, find_model
from catp.training.policy.tree import TokenTree

PAGE = {"page": ValueFacts(Type("image"), Size(500_000), "noisy")}
WANTED = (
    Wanted("text", Type("text"), capability=("ocr",)),
    Wanted("language", Type("Language")),
    Wanted("sentiment", Type("Sentiment")),
)
TEXT = "Read this scan and tell me its language and how its author feels."


def random_policy() -> checkpoint.Policy:
    """A network of catp-tiny's size: 4 layers of width 256."""
    registry, _ = page_catalogue(64)
    texts = [str(sig) for sig in registry] + [TEXT]
    config = TrainConfig(name="random-4x256", model=ModelConfig(heads=4, kv_heads=4))
    return checkpoint.new(config, texts)


def request_of(tools: int) -> tuple[PlanRequest, list[Plan]]:
    registry, estimator = page_catalogue(tools)
    request = PlanRequest(TEXT, PAGE, WANTED, Objective(), registry, estimator)
    return request, [cheap.priced.plan for cheap in cheapest_plans(request, 4)]


class Clocks:
    """CPU time spent in forward passes and in making the mask."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        for owner, name, label in ((TokenTree, "compute", "forward"), (session, "_mask", "mask"),
                                   (decode.Places, "after", "between")):  # fmt: skip
            setattr(owner, name, self._clocked(getattr(owner, name), label))

    def _clocked(self, function: Callable[..., Any], label: str) -> Callable[..., Any]:
        def timed(*args: Any) -> Any:
            began = time.process_time()
            try:
                return function(*args)
            finally:
                self.spent[label] = self.spent.get(label, 0.0) + time.process_time() - began

        return timed


def task_requests() -> list[tuple[PlanRequest, list[Plan]]]:
    """Held-out requests of CATP-Bench, one of each of a dozen tasks; the policy narrows the catalogue by itself."""
    tasks, catalogue = load_tasks(), bench_catalogue()
    first: dict[str, PlanRequest] = {}
    for task in tasks.values():
        if task.split.get("name") == "test":
            first.setdefault(task.family, task.request(catalogue, 0.8, Money(3000)))
    some = [first[family] for family in sorted(first)][:12]
    return [(request, [cheap.priced.plan for cheap in cheapest_plans(request, 4)]) for request in some]


def timed(
    local: writer.LocalWriter, asked: Sequence[tuple[PlanRequest, list[Plan]]], tools: int, samples: int, repeats: int,
    clocks: Clocks,
) -> dict[str, float | int | dict[str, float]]:  # fmt: skip
    def once(seed: int) -> Draft:
        request, shown = asked[seed % len(asked)]
        return asyncio.run(local.write(request, samples=samples, shown=shown, seed=seed))

    once(0)
    clocks.spent.clear()
    wall, cpu, drafts = [], [], []
    for seed in range(repeats):
        began, used = time.perf_counter(), time.process_time()
        drafts.append(once(seed))
        wall.append(1000 * (time.perf_counter() - began))
        cpu.append(1000 * (time.process_time() - used))
    return {
        "tools": tools, "samples": samples, "prompt_tokens": drafts[0].usage.prompt_tokens,
        "plan_tokens": round(mean([d.usage.plan_tokens for d in drafts])),
        "steps": round(mean([len(w.plan.steps) for d in drafts for w in d.written]), 1),
        "cpu_ms_p50": percentile(cpu, 50), "cpu_ms_p95": percentile(cpu, 95),
        "wall_ms_p50": percentile(wall, 50), "wall_ms_p95": percentile(wall, 95),
        "cpu_ms_of": {label: round(1000 * spent / repeats, 1) for label, spent in sorted(clocks.spent.items())},
    }  # fmt: skip


def mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def percentile(values: Sequence[float], share: int) -> float:
    return round(float(np.percentile(values, share)), 1)


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="name or folder of a policy; by default the shipped one, if there is one")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    folder = find_model(given.model) if given.model else default_model()
    policy = random_policy() if folder is None else checkpoint.load(folder)
    local = writer.LocalWriter(policy, threads=given.threads)
    clocks, rows = Clocks(), []
    print(f"{local.name}: {sum(p.numel() for p in policy.model.parameters()):,} parameters, {given.threads} thread(s)")
    print(f"{'tools':>6}{'samples':>9}{'prompt':>8}{'tokens':>8}{'steps':>7}"
          f"{'cpu p50':>9}{'p95':>7}{'wall p50':>10}{'p95':>7}   cpu ms of")  # fmt: skip
    usual = policy.manifest.prompt.max_tools
    questions = {f"{tools}": (tools, [request_of(tools)]) for tools in (8, 16, 32, 64)}
    questions |= {"bench": (usual, task_requests())} if folder is not None else {}
    for name, (tools, asked) in questions.items():
        for samples in (0, 4, 8):
            row = timed(local, asked, tools, samples, given.repeats, clocks)
            rows.append({"request": "a task of CATP-Bench" if name == "bench" else "a page", **row})
            print(f"{name:>6}{samples:>9}{row['prompt_tokens']:>8}{row['plan_tokens']:>8}{row['steps']:>7}"
                  f"{row['cpu_ms_p50']:>9}{row['cpu_ms_p95']:>7}{row['wall_ms_p50']:>10}{row['wall_ms_p95']:>7}   "
                  f"{row['cpu_ms_of']}", flush=True)  # fmt: skip
    machine = {"python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine(),
               "cpus": os.cpu_count(), "load": os.getloadavg()[0]}  # fmt: skip
    path = Path(__file__).parent / "results" / "policy_latency.json"
    made = {"machine": machine, "model": local.name, "random_weights": folder is None, "threads": given.threads,
            "repeats": given.repeats, "shown": 4, "rows": rows}  # fmt: skip
    path.write_text(json.dumps(made, indent=1) + "\n")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
