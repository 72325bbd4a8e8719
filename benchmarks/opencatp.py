"""The pool of OpenCATP under our harness, beside the figures that were measured on the whole pool.

    python benchmarks/opencatp.py [--data shared/data/opencatp/trajectories.jsonl.gz] [--quick]

Theirs: `design/training.md`, tables 2.2 B (alpha 0.5; 5-fold by task, 3 seeds) and 2.3 (sweep; seed 0), from all 59 and
12 tasks. Ours: the same protocol and the same rules on the part of the pool that is public here, 45 and 9 tasks; so a
row agrees if the 95 % intervals overlap (where theirs has none: if ours holds their figure).
"""

import argparse
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from catp.training.baselines import BASELINES
from catp.training.data.files import read
from catp.training.evaluate import CandidateSet, Evaluation, candidate_sets, evaluate

SWEEP = (0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0)
HV_ALPHAS = (0.0, 0.1, *SWEEP)
"""Nine alphas, as in table 2.3."""


@dataclass(frozen=True)
class Theirs:
    """A row of table 2.2 B: normalised regret at alpha 0.5, its interval if given, utility, score and price."""

    regret: float
    interval: tuple[float, float] | None
    utility: float
    score: float
    price: float


TABLE: Mapping[str, Mapping[str, Theirs]] = {
    "opencatp/seq": {
        "longest": Theirs(0.782, (0.75, 0.82), 0.3463, 0.923, 0.1303),
        "random": Theirs(0.531, (0.51, 0.55), 0.3667, 0.918, 0.1044),
        "frequent": Theirs(0.499, (0.40, 0.58), 0.3692, 0.916, 0.1009),
        "shortest": Theirs(0.203, (0.14, 0.27), 0.3933, 0.911, 0.0707),
        "gbm": Theirs(0.100, (0.06, 0.16), 0.4016, 0.911, 0.0609),
        "ridge": Theirs(0.080, (0.04, 0.14), 0.4033, 0.910, 0.0584),
        "cheapest": Theirs(0.061, (0.03, 0.10), 0.4048, 0.909, 0.0564),
        "gbm-advantage": Theirs(0.059, (0.03, 0.10), 0.4049, 0.911, 0.0572),
        "oracle-price": Theirs(0.055, (0.02, 0.10), 0.4053, 0.909, 0.0560),
        "oracle-score": Theirs(0.494, None, 0.3697, 0.933, 0.1098),
        "oracle": Theirs(0.0, None, 0.4097, 0.923, 0.0589),
        "worst": Theirs(1.0, None, 0.3286, 0.910, 0.1432),
    },
    "opencatp/nonseq": {
        "longest": Theirs(0.656, (0.55, 0.76), 0.2409, 0.694, 0.1205),
        "random": Theirs(0.534, (0.50, 0.57), 0.2467, 0.691, 0.1118),
        "shortest": Theirs(0.348, (0.22, 0.46), 0.2556, 0.688, 0.1001),
        "ridge": Theirs(0.248, (0.14, 0.41), 0.2604, 0.691, 0.0968),
        "frequent": Theirs(0.241, (0.09, 0.42), 0.2607, 0.690, 0.0955),
        "gbm": Theirs(0.215, (0.11, 0.33), 0.2619, 0.690, 0.0941),
        "gbm-advantage": Theirs(0.191, (0.09, 0.30), 0.2631, 0.691, 0.0935),
        "cheapest": Theirs(0.156, (0.06, 0.24), 0.2648, 0.692, 0.0920),
        "oracle-price": Theirs(0.138, (0.05, 0.21), 0.2656, 0.689, 0.0893),
        "oracle-score": Theirs(0.327, None, 0.2566, 0.721, 0.1179),
        "oracle": Theirs(0.0, None, 0.2722, 0.710, 0.0938),
        "worst": Theirs(1.0, None, 0.2244, 0.669, 0.1249),
    },
}

SWEEPS: Mapping[str, Mapping[str, tuple[tuple[float, ...], float]]] = {
    "opencatp/seq": {
        "random": ((0.52, 0.53, 0.51, 0.50, 0.48, 0.47, 0.45), 0.28),
        "cheapest": ((0.014, 0.061, 0.176, 0.290, 0.454, 0.563, 0.696), 0.315),
        "longest": ((0.79, 0.78, 0.69, 0.60, 0.48, 0.40, 0.31), 0.15),
        "gbm": ((0.017, 0.089, 0.252, 0.278, 0.284, 0.238, 0.134), 0.714),
        "gbm-advantage": ((0.012, 0.058, 0.173, 0.243, 0.277, 0.303, 0.231), 0.689),
    },
    "opencatp/nonseq": {
        "random": ((0.55, 0.53, 0.51, 0.50, 0.49, 0.49, 0.49), 0.25),
        "cheapest": ((0.074, 0.156, 0.279, 0.348, 0.414, 0.444, 0.472), 0.535),
        "gbm": ((0.063, 0.216, 0.493, 0.510, 0.491, 0.450, 0.445), 0.557),
        "ridge": ((0.100, 0.245, 0.470, 0.489, 0.390, 0.353, 0.332), 0.566),
    },
}

KNOWN_TASKS: Mapping[str, tuple[float, ...]] = {
    "opencatp/seq": (0.074, 0.261, 0.306, 0.328, 0.358),
    "opencatp/nonseq": (0.179, 0.297, 0.271, 0.266, 0.256),
}
"""The leave-one-input-out table of 2.3, at alpha 0.5, 0.8, 0.9, 0.95 and 1."""


def pools(path: Path) -> dict[str, list[CandidateSet]]:
    """Return the candidate sets of each pool."""
    found: dict[str, list[CandidateSet]] = {}
    for one in candidate_sets(read(path)):
        found.setdefault(one.dataset, []).append(one)
    return found


def shared_pool() -> Path:
    """Return where the pool lies beside a checkout, or where $CATP_SHARED_DATA says."""
    base = os.environ.get("CATP_SHARED_DATA")
    folder = Path(base) if base else Path(__file__).resolve().parents[2] / "shared" / "data"
    return folder / "opencatp" / "trajectories.jsonl.gz"


def agrees(theirs: Theirs, regret: float, low: float, high: float) -> bool:
    """Whether the intervals overlap; without theirs, whether ours holds their figure (to its last digit)."""
    if theirs.interval is None:
        return low - 0.0005 <= theirs.regret <= high + 0.0005 or abs(regret - theirs.regret) <= 0.0005
    return low <= theirs.interval[1] and theirs.interval[0] <= high


def table(
    name: str, sets: Sequence[CandidateSet], seeds: Sequence[int], say: Callable[[str], None]
) -> list[dict[str, object]]:
    """Print and return table 2.2 B of one pool."""
    say(
        f"\n{name}, alpha 0.5, 5-fold by task, {len(seeds)} seeds: theirs | ours ({len({s.group for s in sets})} tasks)"
    )
    head = f"{'regret':>8}{'95 % CI':>15}"
    say(f"{'policy':15}{head} |{head}  {'QoP':>6} {'score':>6} {'price':>7}  agrees")
    rows: list[dict[str, object]] = []
    for policy, theirs in TABLE[name].items():
        found = [evaluate(BASELINES[policy], sets, alphas=(0.5,), seed=seed).rows[0].regret for seed in seeds]
        regret, low, high = (sum(getattr(one, key) for one in found) / len(found) for key in ("regret", "low", "high"))
        same = agrees(theirs, regret, low, high)
        interval = "-" if theirs.interval is None else f"[{theirs.interval[0]:.2f},{theirs.interval[1]:.2f}]"
        figures = f"{found[0].utility:6.4f} {found[0].score:6.3f} {found[0].price / 1e9:7.4f}"
        ours = f"{regret:8.3f}{f'[{low:.2f},{high:.2f}]':>15}"
        say(f"{policy:15}{theirs.regret:8.3f}{interval:>15} |{ours}  {figures}  {'yes' if same else 'NO'}")
        rows.append({
            "policy": policy, "theirs": theirs.regret, "theirs_interval": theirs.interval, "ours": round(regret, 4),
            "ours_interval": [round(low, 4), round(high, 4)], "utility": round(found[0].utility, 4),
            "score": round(found[0].score, 4), "price_usd": round(found[0].price / 1e9, 4), "agrees": same,
        })  # fmt: skip
    return rows


def sweep(name: str, sets: Sequence[CandidateSet], say: Callable[[str], None]) -> list[dict[str, object]]:
    """Print and return table 2.3 of one pool, with the table of known tasks."""
    say(f"\n{name}, sweep of alpha (theirs above ours)")
    say(f"{'policy':15}" + "".join(f"{alpha:>8g}" for alpha in SWEEP) + f"{'HV':>8}")
    rows: list[dict[str, object]] = []
    for policy, (regrets, ratio) in SWEEPS[name].items():
        found = evaluate(BASELINES[policy], sets, alphas=HV_ALPHAS)
        ours = [regret_at(found, alpha) for alpha in SWEEP]
        say(f"{policy:15}" + "".join(f"{value:8.3f}" for value in (*regrets, ratio)))
        say(f"{'':15}" + "".join(f"{value:8.3f}" for value in (*ours, found.hv_ratio or 0.0)))
        rows.append({"policy": policy, "theirs": regrets, "ours": [round(v, 4) for v in ours], "theirs_hv": ratio,
                     "ours_hv": round(found.hv_ratio or 0.0, 4)})  # fmt: skip
    alphas = (0.5, 0.8, 0.9, 0.95, 1.0)
    known = evaluate(BASELINES["table"], sets, alphas=HV_ALPHAS, protocol="loo")
    ours = [regret_at(known, alpha) for alpha in alphas]
    say("known tasks, leave one input out, at " + ", ".join(f"{alpha:g}" for alpha in alphas))
    say(f"{'table':15}" + "".join(f"{value:8.3f}" for value in KNOWN_TASKS[name]))
    say(f"{'':15}" + "".join(f"{value:8.3f}" for value in ours) + f"   HV {known.hv_ratio:.3f}")
    rows.append({"policy": "table (known tasks)", "alphas": alphas, "theirs": KNOWN_TASKS[name],
                 "ours": [round(v, 4) for v in ours], "ours_hv": round(known.hv_ratio or 0.0, 4)})  # fmt: skip
    return rows


def regret_at(found: Evaluation, alpha: float) -> float:
    """Return the regret at an alpha that was asked for."""
    row = found.at(alpha)
    assert row is not None
    return row.regret.regret


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=shared_pool(), help="the pool, as catp.trajectory/1")
    parser.add_argument("--quick", action="store_true", help="one seed")
    options = parser.parse_args()
    seeds = (0,) if options.quick else (0, 1, 2)
    result: dict[str, object] = {"seeds": seeds, "theirs": "whole pool (59 and 12 tasks)", "pools": {}}
    found = {}
    for name, sets in pools(options.data).items():
        choice = [one for one in sets if len(one) > 1]
        found[name] = {
            "tasks": len({one.group for one in sets}), "inputs": len(sets), "inputs_with_a_choice": len(choice),
            "plans": sum(map(len, sets)), "table": table(name, sets, seeds, print), "sweep": sweep(name, sets, print),
        }  # fmt: skip
    result["pools"] = found
    path = Path(__file__).parent / "results" / "opencatp.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
