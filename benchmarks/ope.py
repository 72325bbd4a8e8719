"""Which off-policy estimator to trust: each against the known truth, 200 logs of one plan per input.

    .venv/bin/python benchmarks/ope.py [--draws 200] [--fqe 2] [--quick]      --draws 0 or --fqe 0 keeps the old results

Pools where every plan of an input is measured, so that the truth is known: the OpenCATP pools (looked for in
`shared/data` beside the repository, or in $CATP_SHARED_DATA) and a generated one. One plan per input is logged by an
even or a biased behaviour policy (prefers long plans, one choice in ten is even), the value of five target policies is
estimated at alpha 0.5, and compared with the truth. `matched` is the mean of rows weighted by the target alone, as if
agreeing with the log were no selection: what not to do.

The tables give the range of the root mean squared error and the largest bias over the targets, refused estimates
included (to show what refusing saves); `refused` is how often the effective sample size was below 50.

FQE: plans as episodes of "choose a tool or stop", observed as what is placed so far and the input's size; fitted on one
half of the tasks, judged on the other, then corrected by whole plans. Chains only; targets are the deterministic ones.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from catp.planlang.money import Money
from catp.tools.bench.report import machine
from catp.training.data.files import read
from catp.training.evaluate.candidates import CandidateSet, Floats, Option, StepUse, candidate_sets
from catp.training.evaluate.flat import Weights
from catp.training.evaluate.fqe import Episodes, corrected, fit
from catp.training.evaluate.logged import Logged, draw_log
from catp.training.evaluate.ope import METHODS, REFUSE_BELOW, bare_value, effective_sample_size
from catp.training.evaluate.regret import best_of, oracle, uniform
from catp.training.evaluate.reward_model import reward_model

RESULTS = Path(__file__).parent / "results"
ALPHA = 0.5
TARGETS = ("even", "cheapest", "longest", "most accurate", "oracle")


# --- pools ----------------------------------------------------------------------------------------------------------


def opencatp() -> dict[str, list[CandidateSet]]:
    """The sets with a choice of both OpenCATP pools; empty if the file is not there."""
    folder = Path(os.environ.get("CATP_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    path = folder / "opencatp" / "trajectories.jsonl.gz"
    if not path.exists():
        print(f"no {path}: the OpenCATP pools are left out")
        return {}
    sets = [one for one in candidate_sets(read(path)) if len(one) >= 2]
    return {name: [one for one in sets if one.dataset == name] for name in sorted({one.dataset for one in sets})}


QUALITY = {"fast": 0.35, "fine": 0.55, "clean": 0.1, "sharpen": 0.08}
PRICE = {"fast": 30_000, "fine": 220_000, "clean": 60_000, "sharpen": 50_000}


def generated(inputs: int, seed: int = 0) -> list[CandidateSet]:
    """Chains of four tools on 30 tasks; quality depends on the task, the size, and noise nobody can see beforehand."""
    rng = np.random.default_rng([seed, inputs])
    ease = rng.normal(0.3, 0.08, 30)
    sets = []
    for number in range(inputs):
        size, dirt = int(rng.integers(50, 2000)), rng.random()
        drawn = [rng.permutation(list(QUALITY))[: rng.integers(1, 5)].tolist() for _ in range(8)]
        options = []
        for place, plan in enumerate(sorted({tuple(tools) for tools in drawn})):
            helped = sum(QUALITY[tool] * (2 * dirt if tool in ("clean", "sharpen") else 1) for tool in plan)
            score = float(np.clip(ease[number % 30] + 0.6 * helped - 0.2 * dirt + 0.03 * rng.normal(), 0, 1))
            spent = [PRICE[tool] * (0.4 + size / 1500) * float(np.exp(0.05 * rng.normal())) for tool in plan]
            steps = tuple(
                StepUse(tool, (at - 1,) if at else (), cost)
                for at, (tool, cost) in enumerate(zip(plan, spent, strict=True))
            )
            options.append(Option(f"{number}-{place}", "-".join(plan), steps, score, float(sum(spent))))
        if len(options) >= 2:
            name = f"task-{number % 30}"
            sets.append(
                CandidateSet(f"made-{number}", name, "generated", tuple(options), Money(1_000_000), sizes=(size,))
            )
    return sets


# --- policies -------------------------------------------------------------------------------------------------------


def length(one: CandidateSet) -> Floats:
    return np.array([len(option.steps) for option in one.options], dtype=np.float64)


def biased(sets: Sequence[CandidateSet]) -> list[Floats]:
    """Prefers long plans; one choice in ten is even."""
    pulls = [np.exp(length(one) - length(one).max()) for one in sets]
    return [0.9 * pull / pull.sum() + 0.1 / len(pull) for pull in pulls]


def targets(sets: Sequence[CandidateSet]) -> dict[str, list[Floats]]:
    return dict(
        zip(
            TARGETS,
            (
                uniform(sets),
                [best_of(-one.prices) for one in sets],
                [best_of(length(one)) for one in sets],
                oracle(sets, 1.0),
                oracle(sets, ALPHA),
            ),
            strict=True,
        )
    )


def single(weights: Weights) -> list[Floats]:
    """Break ties: the first of the likeliest options."""
    return [np.eye(len(mine))[int(np.argmax(mine))] for mine in weights]


def value(sets: Sequence[CandidateSet], weights: Weights) -> float:
    return float(np.mean([mine @ one.utility(ALPHA) for one, mine in zip(sets, weights, strict=True)]))


# --- IPS, SNIPS, DM, DR ---------------------------------------------------------------------------------------------


def matched(log: Logged, target: Weights) -> float:
    """The mean over rows where target and log agree."""
    share = np.array([mine[place] for mine, place in zip(target, log.chosen, strict=True)])
    return float((share * log.reward).sum() / share.sum()) if share.sum() else float("nan")


def sample_size(log: Logged, target: Weights) -> float:
    share = np.array([mine[place] for mine, place in zip(target, log.chosen, strict=True)])
    return effective_sample_size(share / log.propensity)


def against_truth(sets: Sequence[CandidateSet], behaviour: Weights, draws: int) -> dict[str, Any]:
    """Error of every estimator for every target."""
    wanted = targets(sets)
    truth = {name: value(sets, weights) for name, weights in wanted.items()}
    found: dict[str, dict[str, list[float]]] = {name: {m: [] for m in (*METHODS, "matched")} for name in wanted}
    sizes: dict[str, list[float]] = {name: [] for name in wanted}
    for draw in range(draws):
        log = draw_log(sets, behaviour, ALPHA, np.random.default_rng([draw, 1]))
        predicted = reward_model(log, seed=draw)
        for name, weights in wanted.items():
            sizes[name].append(sample_size(log, weights))
            found[name]["matched"].append(matched(log, weights))
            for method in METHODS:
                usable = sizes[name][-1] > 0 or method == "dm"
                guess = bare_value(method, log, weights, predicted) if usable else float("nan")
                found[name][method].append(guess)
    return {
        "inputs": len(sets),
        "tasks": len({one.group for one in sets}),
        "targets": {
            name: {
                "truth": round(truth[name], 5),
                "ess": round(float(np.mean(sizes[name])), 1),
                "refused": round(float(np.mean(np.array(sizes[name]) < REFUSE_BELOW)), 3),
                "errors": {method: errors(np.array(got) - truth[name]) for method, got in found[name].items()},
            }
            for name in wanted
        },
    }


def errors(gaps: Floats) -> dict[str, float]:
    return {"rmse": round(float(np.sqrt(np.nanmean(gaps**2))), 5), "bias": round(float(np.nanmean(gaps)), 5)}


# --- FQE ------------------------------------------------------------------------------------------------------------

Prefix = tuple[str, ...]


def episodes(sets: Sequence[CandidateSet], chosen: Sequence[int], target: Weights, tools: Sequence[str]) -> Episodes:
    """Logged chains as steps; the target does what most of its weight does with the same beginning."""
    observations, actions, rewards, terminals, policy = [], [], [], [], []
    for one, place, weights in zip(sets, chosen, target, strict=True):
        option = one.options[place]
        for at in range(len(option.tools) + 1):
            last = at == len(option.tools)
            placed = option.tools[:at]
            observations.append(observed(one, placed, tools))
            actions.append(len(tools) if last else tools.index(option.tools[at]))
            cost = 0.0 if last else (1 - ALPHA) * option.steps[at].price / one.price_scale
            rewards.append(ALPHA * option.score if last else -cost)
            terminals.append(last)
            policy.append(does(one, weights, placed, tools))
    return Episodes(
        np.array(observations, dtype=np.float32),
        np.array(actions),
        np.array(rewards),
        np.array(terminals),
        np.array(policy),
        len(tools) + 1,
    )


def observed(one: CandidateSet, placed: Prefix, tools: Sequence[str]) -> list[float]:
    """What is placed, in what order, and how large the input is."""
    sizes = [units for units in one.sizes if units is not None]
    counts = [float(placed.count(tool)) for tool in tools]
    latest = [float(bool(placed) and placed[-1] == tool) for tool in tools]
    return [*counts, *latest, len(placed) / 4, float(np.log1p(sum(sizes))) / 10]


def does(one: CandidateSet, weights: Floats, placed: Prefix, tools: Sequence[str]) -> int:
    """The target's next action; where none of its plans begins so, that of any plan that does."""
    mass = np.zeros(len(tools) + 1)
    for option, weight in zip(one.options, weights, strict=True):
        if option.tools[: len(placed)] == placed:
            stops = len(option.tools) == len(placed)
            mass[len(tools) if stops else tools.index(option.tools[len(placed)])] += weight + 1e-9
    return int(mass.argmax())


def fitted_values(log: Logged, target: Weights, seed: int) -> Floats:
    """FQE's value of each row's input, by a model fitted on the other half of the tasks."""
    tools = sorted({tool for one in log.sets for option in one.options for tool in option.tools})
    names = sorted({one.group for one in log.sets})
    half = set(np.random.default_rng([seed, 2]).permutation(names)[: len(names) // 2].tolist())
    side = np.array([one.group in half for one in log.sets])
    values = np.zeros(len(log))
    for mine in (side, ~side):
        parts = []
        for rows in (np.flatnonzero(~mine), np.flatnonzero(mine)):
            picked = [log.sets[int(row)] for row in rows]
            parts.append(episodes(picked, log.chosen[rows].tolist(), [target[int(row)] for row in rows], tools))
        values[mine] = fit(parts[0], steps=1500, hidden=(64, 64), seed=seed).start_values(parts[1])
    return values


def fqe_against_truth(sets: Sequence[CandidateSet], behaviour: Weights, draws: int) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for name, weights in targets(sets).items():
        if name == "even":
            continue
        target = single(weights)
        truth = value(sets, target)
        plain, mended, refused = [], [], 0
        for draw in range(draws):
            log = draw_log(sets, behaviour, ALPHA, np.random.default_rng([draw, 1]))
            values = fitted_values(log, target, draw)
            plain.append(float(values.mean()))
            refused += not hasattr(corrected(values, log, target), "value")
            flat = [np.full(len(one), guess) for one, guess in zip(log.sets, values, strict=True)]
            mended.append(bare_value("dr", log, target, flat))
        found[name] = {
            "truth": round(truth, 5),
            "fqe": errors(np.array(plain) - truth) | {"off": round(abs(float(np.mean(plain)) / truth - 1), 4)},
            "fqe + dr": errors(np.array(mended) - truth) | {"off": round(abs(float(np.mean(mended)) / truth - 1), 4)},
            "refused": refused / draws,
        }
    return found


# --- report ---------------------------------------------------------------------------------------------------------


def show(title: str, found: Mapping[str, Any]) -> None:
    rows = found["targets"].values()
    print(f"\n{title} ({found['inputs']} inputs, {found['tasks']} tasks; ESS "
          f"{min(r['ess'] for r in rows):.0f}-{max(r['ess'] for r in rows):.0f}, refused "
          f"{np.mean([r['refused'] for r in rows]):.0%})")  # fmt: skip
    for method in (*METHODS, "matched"):
        rmse = [row["errors"][method]["rmse"] for row in rows]
        bias = max((row["errors"][method]["bias"] for row in rows), key=abs)
        print(f"  {method:8} rmse {min(rmse):.4f}-{max(rmse):.4f}  largest bias {bias:+.4f}")


def show_fqe(title: str, found: Mapping[str, Any]) -> None:
    print(f"\n{title}, fitted Q evaluation")
    for name, row in found.items():
        parts = [f"{m} bias {row[m]['bias']:+.4f} ({row[m]['off']:.1%} off)" for m in ("fqe", "fqe + dr")]
        print(f"  {name:14} truth {row['truth']:.4f}  {'  '.join(parts)}  refused {row['refused']:.0%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--fqe", type=int, default=2, help="logs for fitted Q evaluation, which is slow")
    parser.add_argument("--quick", action="store_true", help="5 draws, no FQE; results are not stored")
    options = parser.parse_args()
    draws, few = (5, 0) if options.quick else (options.draws, options.fqe)
    before, start = os.getloadavg()[0], time.perf_counter()
    pools = {**opencatp(), "generated": generated(300)}
    behaviours: dict[str, Callable[[Sequence[CandidateSet]], list[Floats]]] = {"even": uniform, "biased": biased}
    data: dict[str, Any] = {}
    for pool, sets in pools.items() if draws else ():
        for name, behaviour in behaviours.items():
            data[f"{pool}, {name} logging"] = found = against_truth(sets, behaviour(sets), draws)
            show(f"{pool}, {name} logging", found)
    fqe: dict[str, Any] = {}
    for pool, sets in pools.items():
        chains = all(len(step.parents) <= 1 for one in sets for option in one.options for step in option.steps)
        if few and chains and not pool.endswith("/nonseq"):  # forks are not chains
            fqe[pool] = fqe_against_truth(sets, uniform(sets), few)
            show_fqe(pool, fqe[pool])
    if options.quick:
        return
    setting = {**machine(), "load_before": round(before, 2), "load_after": round(os.getloadavg()[0], 2)}
    setting["seconds"] = round(time.perf_counter() - start)
    path = RESULTS / "ope.json"
    report = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    report |= {"benchmark": "ope", "alpha": ALPHA}
    if draws:
        report["estimators"] = {"machine": setting, "draws": draws, "pools": data}
    if few:
        report["fqe"] = {"machine": setting, "draws": few, "pools": fqe}
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
