"""The simulator against the engine on this CPU: the same requests, one served, one simulated.

    python -m benchmarks.serving_real [--requests 250] [--seeds 3] [--load 0.6] [--policy moore-hodgson]

A random Llama of 5M parameters serves Poisson arrivals at 0.6 of the capacity: four catalogues of 600 tokens, one in
front of each task of 20 to 120 tokens, and 10 to 60 tokens of output. Capacity is what is served if all come at once.
Time is virtual: CPU seconds of this thread in `Core.step` (scheduling, forward pass, programs), and gaps until the next
arrival are skipped. So other processes delay nothing; they do slow caches and clocks down, which is why all engines
take turns, step by step.

    fit      the cost model, to the steps of one seed (all at once, and Poisson)
    real     other seeds, with the fitted model for the policy; `again` is the first of them once more: the noise
    simulate the same requests by catp.serving.sim with the fitted step times, same scheduler, limits and policy

Prints TTFT and TPOT of both, over all seeds; writes benchmarks/results/serving_real.json.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.serving import PLAN, VOCABULARY, llama
from catp.serving.engine.admission import Limits
from catp.serving.engine.blocks import BlockPool
from catp.serving.engine.core import Core
from catp.serving.engine.program import Control, Result
from catp.serving.engine.request import Branch, Job, Read, Request
from catp.serving.engine.scheduler import Scheduler
from catp.serving.model.runner import ModelRunner
from catp.serving.model.weights import Weights, from_hf
from catp.serving.policies.costmodel import CostModel, Load
from catp.serving.policies.fitting import fit
from catp.serving.policies.protocol import Context, Interval
from catp.serving.policies.registry import policy
from catp.serving.sim.replay import Replica, simulate
from catp.serving.sim.report import Outcome
from catp.serving.sim.traces import Arrival, Trace
from catp.serving.sim.workload import CLASSES, Task, tasks
from catp.tools.bench.report import machine

HERE = Path(__file__).parent
CATALOGUES, PREFIX = 4, 600
BLOCK, BLOCKS, BUDGET, SEQUENCES = 16, 1024, 256, 64
EVER = 1 << 40
BAR = 0.10
"""Most that the medians may differ."""


class Log:
    """A token budget that stays as it is, and keeps what it hears of steps."""

    def __init__(self, costs: CostModel) -> None:
        self.costs = costs
        self.loads: list[Load] = []

    def budget(self, context: Context) -> int:
        return BUDGET

    def observe(self, load: Load, seconds: float) -> None:
        self.loads.append(load)


class Known:
    """The true lengths, as the simulator tells them."""

    def __init__(self, trace: Sequence[Task]) -> None:
        self._known = {task.id: task.interval() for task in trace}

    def predict(self, request: Request, generated: int = 0) -> Interval:
        return self._known[request.id]

    def observe(self, request: Request, actual: int) -> None: ...


class Greedy:
    """Writes a number of tokens of the plan rows, one at a time."""

    def __init__(self, output: int) -> None:
        self._output = output

    def begin(self, root: Branch, control: Control) -> None:
        control.extend(root, (), (Read(len(root.tokens) - 1),))

    def advance(self, results: Sequence[Result], control: Control) -> None:
        branch = results[0].branch
        control.extend(branch, (PLAN[int(np.argmax(results[0].logits))],), (Read(len(branch.tokens)),))
        if control.job.output_tokens >= self._output:
            control.finish("length")


class Real:
    """One engine on virtual time."""

    def __init__(self, weights: Weights, trace: Sequence[Task], costs: CostModel, name: str, seed: int) -> None:
        self._tasks, self._now = trace, 0.0
        self._began: float | None = None
        self._random = np.random.default_rng([seed, 4])
        self._catalogues = [self._words(PREFIX) for _ in range(CATALOGUES)]
        limits = Limits(max_sequences=SEQUENCES, token_budget=BUDGET, max_waiting=EVER, max_waiting_tokens=EVER,
                        max_skips=EVER, overcommit=True, watermark=BLOCKS // 100)  # fmt: skip
        self._log = Log(costs)
        scheduler = Scheduler(BlockPool(BLOCKS, BLOCK), limits, policy(name), costs, Known(trace), self._log)
        runner = ModelRunner(weights, BLOCKS, BLOCK, plan_ids=PLAN, threads=1)
        self.core = Core(scheduler, runner, self._clock)
        self.steps: list[tuple[Load, float]] = []
        self._found: dict[str, Outcome] = {}

    @property
    def outcomes(self) -> list[Outcome]:
        """How the requests ended, by number."""
        return [self._found[task.id] for task in self._tasks]

    @property
    def seconds(self) -> float:
        """Virtual time."""
        return self._now

    def run(self) -> Iterator[None]:
        """Serve all; one step at a time."""
        left = list(reversed(self._tasks))
        while left or len(self.core):
            if not len(self.core):
                self._now = max(self._now, left[-1].arrival.at)
            while left and left[-1].arrival.at <= self._now:
                task = left.pop()
                request = replace(task.request(task.arrival.at, False), prompt=self._prompt(task.arrival))
                self.core.submit(request, Greedy(task.arrival.output), self)
            began = self._began = time.thread_time()
            self.core.step()
            took = time.thread_time() - began
            self._began, self._now = None, self._now + took
            self.steps.append((self._log.loads[-1], took))
            yield

    def emit(self, event: Any) -> None: ...

    def ended(self, job: Job, value: Any, why: str, code: str) -> None:
        if job.finish != "length":
            raise RuntimeError(f"{job.id} ended as {job.finish}: {why}")
        task = self._tasks[int(job.id)]
        self._found[job.id] = Outcome(task.number, task.slo, job.request.arrival, job.first_token, self._clock(),
                                      job.output_tokens, job.finish, job.cached_tokens)  # fmt: skip

    def _clock(self) -> float:
        return self._now if self._began is None else self._now + time.thread_time() - self._began

    def _prompt(self, arrival: Arrival) -> tuple[int, ...]:
        (catalogue, _), (_, count) = arrival.runs
        return (*self._catalogues[catalogue], *self._words(count))

    def _words(self, count: int) -> tuple[int, ...]:
        return tuple(int(token) for token in self._random.integers(400, VOCABULARY, count))


def workload(seed: int, count: int, rate: float | None) -> list[Task]:
    """Poisson arrivals; all at once if there is no rate."""
    random = np.random.default_rng([seed, 5])
    gaps = random.exponential(1.0, count)
    gaps[0] = 0.0
    times = np.cumsum(gaps) / rate if rate else np.zeros(count)
    found = []
    for number, at in enumerate(times):
        runs = ((int(random.integers(CATALOGUES)), PREFIX), (1000 + number, int(random.integers(20, 121))))
        output = int(random.integers(10, 61))
        found.append(Arrival(float(at), runs, output, output, "text"))
    return tasks(Trace("made up", tuple(found)), seed, classes=CLASSES)


def in_turns(engines: Sequence[Real]) -> None:
    """Serve by all engines, a step of each in turn."""
    for _ in zip_longest(*(engine.run() for engine in engines)):
        pass


def figures(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Milliseconds."""
    found: dict[str, float] = {}
    for name in ("ttft", "tpot", "e2e"):
        values = [1e3 * getattr(outcome, name) for outcome in outcomes]
        found |= {f"{name}_p{p}": float(np.percentile(values, p)) for p in (50, 90, 99)}
    return found


def compared(real: Sequence[Outcome], simulated: Sequence[Outcome]) -> dict[str, dict[str, float]]:
    """Both, and how far the second is off."""
    mine, theirs = figures(real), figures(simulated)
    return {"real": mine, "simulated": theirs, "error": {key: theirs[key] / mine[key] - 1 for key in mine}}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(1)
    weights = from_hf(llama("5m"))
    burst = Real(weights, workload(0, 100, None), CostModel(), args.policy, 0)
    in_turns([burst])  # warm
    burst = Real(weights, workload(0, 100, None), CostModel(), args.policy, 0)
    in_turns([burst])
    capacity = 100 / burst.seconds
    rate = args.load * capacity
    guess = fit(burst.steps).costs
    training = Real(weights, workload(0, args.requests, rate), guess, args.policy, 0)
    traces = {seed: workload(seed, args.requests, rate) for seed in range(1, args.seeds + 1)}
    real = {seed: Real(weights, trace, guess, args.policy, seed) for seed, trace in traces.items()}
    again = Real(weights, traces[1], guess, args.policy, 1)
    in_turns([training, *real.values(), again])
    found = fit(training.steps)
    replica = Replica(found.costs, guess, BLOCK * BLOCKS, BLOCK, BUDGET, SEQUENCES)
    rows: list[dict[str, Any]] = []
    pooled: tuple[list[Outcome], list[Outcome]] = ([], [])
    for seed, engine in real.items():
        simulated = simulate(traces[seed], replica, args.policy)
        errors = [(found.costs.step(load) - took) / took for load, took in engine.steps]
        pooled[0].extend(engine.outcomes)
        pooled[1].extend(simulated.requests)
        rows.append({
            "seed": seed, **compared(engine.outcomes, simulated.requests),
            "step_mape": float(np.mean(np.abs(errors))), "step_bias": float(np.mean(errors)),
            "steps": len(engine.steps), "steps_simulated": simulated.steps,
            "cached": sum(one.cached for one in engine.outcomes),
            "cached_simulated": sum(one.cached for one in simulated.requests),
        })  # fmt: skip
    return {
        "schema": "catp.bench.serving-real/1", "machine": machine(), "policy": args.policy, "load": args.load,
        "requests": args.requests, "capacity": capacity, "fit": {"mape": found.mape, **asdict(found.costs)},
        "all": compared(*pooled), "noise": compared(real[1].outcomes, again.outcomes)["error"], "rows": rows,
        "bar": BAR,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=250)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--load", type=float, default=0.6)
    parser.add_argument("--policy", default="moore-hodgson")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "serving_real.json")
    args = parser.parse_args()
    found = measure(args)
    print(f"capacity {found['capacity']:.2f} requests/s, load {args.load:g}, {args.policy}; "
          f"fit {found['fit']}")  # fmt: skip
    for row in found["rows"]:
        medians = ", ".join(f"{key} {row['error'][key]:+.1%}" for key in ("ttft_p50", "tpot_p50"))
        print(f"seed {row['seed']}: {row['steps']} steps ({row['steps_simulated']} simulated), step times off by "
              f"{row['step_mape']:.1%} (bias {row['step_bias']:+.1%}); {medians}")  # fmt: skip
    for key, value in found["all"]["real"].items():
        print(f"  {key:8} real {value:8.2f} ms, simulated {found['all']['simulated'][key]:8.2f} ms "
              f"{found['all']['error'][key]:+.1%}, one seed served twice {found['noise'][key]:+.1%}")  # fmt: skip
    print(f"the medians may differ by {BAR:.0%}")
    args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
