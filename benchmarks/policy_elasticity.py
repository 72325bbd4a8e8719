"""How the policy's use of a tool follows the tool's price, without training anew.

    python benchmarks/policy_elasticity.py [--model NAME|DIR] [--inputs N]

One tool's price is multiplied by 0.1 to 10 when the choice is made, all else stays; counted is how often the chosen
plan uses the tool, at alpha 0.8, among measured plans of held-out inputs that can do the work with it or with a rival
(another tool of its capability). The share should fall as the price rises. A policy that only looked at prices would
pass this too, so regret beside it counts (benchmarks/policy.py).

Prints a table; writes benchmarks/results/policy_elasticity.json and policy_elasticity.svg.
"""

import argparse
import importlib.resources
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from catp.tools.bench.report import machine
from catp.training.baselines import Prices
from catp.training.bench.joins import bench_catalogue
from catp.training.data.files import read
from catp.training.evaluate import CandidateSet, candidate_sets
from catp.training.evaluate.protocols import folds
from catp.training.policy.chooser import PolicyChooser
from catp.training.policy.models import default_model

HERE = Path(__file__).parent
DATA = Path(str(importlib.resources.files("catp"))) / "datasets" / "catp-bench" / "measured"
CAPABILITIES = ("ocr", "denoise", "language")
FACTORS = (0.1, 0.5, 1.0, 2.0, 10.0)
ALPHA = 0.8
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Okabe and Ito's, as in the Pareto picture."""


def rivals(capability: str) -> list[str]:
    """Tools that can stand in for one another."""
    return [spec.name for spec in bench_catalogue() if spec.capability == capability]


def with_choice(sets: Sequence[CandidateSet], tools: Sequence[str], most: int) -> list[CandidateSet]:
    """Inputs whose measured plans use two or more of the tools; `most` of them, drawn."""
    found = [one for one in sets if len({t for option in one.options for t in option.tools}.intersection(tools)) > 1]
    order = np.random.default_rng([0, len(found)]).permutation(len(found))[:most]
    return [found[place] for place in sorted(order)]


def share(policy: PolicyChooser, sets: Sequence[CandidateSet], tool: str, factor: float) -> float | None:
    """How often the chosen plan uses the tool, of the inputs where it may but need not; None if there are none."""
    offered = [one for one in sets if 0 < sum(tool in option.tools for option in one.options) < len(one)]
    prices = Prices({tool: factor})
    used = [
        float(policy.choose(one.hidden(), ALPHA, prices) @ [tool in option.tools for option in one.options])
        for one in offered
    ]
    return float(np.mean(used)) if used else None


def measured(policy: PolicyChooser, sets: Sequence[CandidateSet], inputs: int) -> Iterator[dict[str, Any]]:
    for capability in CAPABILITIES:
        tools = rivals(capability)
        some = with_choice(sets, tools, inputs)
        for tool in tools:
            found = [share(policy, some, tool, factor) for factor in FACTORS]
            shares = [round(one, 4) for one in found if one is not None]
            if not shares:
                continue
            print(f"{tool:<20}" + "".join(f"{one:>8.2f}" for one in shares), flush=True)
            asked = sum(0 < sum(tool in option.tools for option in one.options) < len(one) for one in some)
            yield {
                "tool": tool, "capability": capability, "inputs": asked, "used": any(shares),
                "share": dict(zip(map("{:g}".format, FACTORS), shares, strict=True)),
                "never_rises": all(after <= before for before, after in pairwise(shares)),
                "falls": shares[-1] < shares[0],
            }  # fmt: skip


def picture(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """One panel per capability, one line per tool; the same bytes for the same figures."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style: Any = {"svg.hashsalt": "catp", "font.family": "DejaVu Sans", "font.size": 9.0, "axes.spines.top": False,
             "axes.spines.right": False}  # fmt: skip
    panels = [(name, shown) for name in CAPABILITIES if (shown := [row for row in rows if row["capability"] == name])]
    with mpl.rc_context(style):
        figure = Figure(figsize=(3.7 * len(panels), 3.4), layout="constrained")
        FigureCanvasAgg(figure)
        for axes, (name, shown) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            for number, row in enumerate(shown):
                axes.plot(FACTORS, list(row["share"].values()), color=COLOURS[number % 6], marker="os^DvP"[number % 6],
                          ms=4.5, mec="white", mew=0.5, lw=1.4, label=row["tool"])  # fmt: skip
            axes.set_xscale("log")
            axes.set_xticks(FACTORS, [f"{factor:g}" for factor in FACTORS])
            axes.minorticks_off()
            axes.set_ylim(-0.03, 1.03)
            axes.set_title(name, loc="left")
            axes.set_xlabel("price of the tool, times its own")
            axes.set_ylabel("share of chosen plans with it")
            axes.grid(color="#e8eaed", lw=0.6)
            axes.legend(frameon=False, fontsize=7.5)
        out = BytesIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": "catp"})
    return out.getvalue()


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", metavar="NAME|DIR", help="the policy; the shipped one if not given")
    parser.add_argument("--inputs", type=int, default=24, metavar="N", help="inputs of each capability")
    parser.add_argument("--out", type=Path, default=HERE / "results", metavar="FOLDER")
    options = parser.parse_args()
    if options.model is None and default_model() is None:
        print("no policy is installed: train one (catp train --config examples/train/tiny.toml) or name one (--model)")
        return
    import torch

    torch.set_num_threads(1)
    (fold,) = folds(list(candidate_sets(read(DATA))), "inputs")
    policy = PolicyChooser(options.model)
    policy.fit(fold.train)
    print(f"{'price x':<20}" + "".join(f"{factor:>8g}" for factor in FACTORS), file=sys.stderr)
    rows = list(measured(policy, fold.test, options.inputs))
    used = [row for row in rows if row["used"]]
    results = {
        "model": policy.policy.manifest.name, "seed": policy.policy.manifest.seed, "alpha": ALPHA, "tools": rows,
        "used": len(used), "falls": sum(row["falls"] for row in used),
        "never_rises": sum(row["never_rises"] for row in used),
        "half_and_ten": sum(row["share"]["0.5"] >= row["share"]["1"] >= row["share"]["10"] for row in used),
        "load": round(os.getloadavg()[0], 1), "machine": machine(),
    }  # fmt: skip
    print(f"falls in {results['falls']}, never rises in {results['never_rises']} of {len(used)} tools that are used")
    (options.out / "policy_elasticity.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (options.out / "policy_elasticity.svg").write_bytes(picture(rows))


if __name__ == "__main__":
    main()
