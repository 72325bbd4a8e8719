"""The search planner: time by size of the catalogue, and how often its front equals that of brute force.

    python benchmarks/planner.py [--quick]

Time is CPU time of one thread for a whole `search` (front, plans, pricing by the compiler), the best of two. The
exactness share compares fronts with `brute_front`, which tries every plan, on random catalogues of up to six tools
and on page catalogues where most calls are shared.
"""

import argparse
import json
import os
import platform
import random
import time
from pathlib import Path

from catp.planlang.registry_view import RegistryView, Size, ValueFacts
from catp.planlang.types import Type
from catp.planners.accuracy import ConditionModel
from catp.planners.protocol import Objective, PlanningFailed, PlanRequest, Wanted
from catp.planners.search import SearchPlanner
from catp.planners.testing import SeededEstimator, brute_front, page_catalogue, small_request

IMAGE = Type("image")
PAGE = {"page": ValueFacts(IMAGE, Size(500_000), "noisy")}
CLEAN, TEXT = (
    Wanted("clean", IMAGE, capability=("denoise", "deblur")),
    Wanted("text", Type("text"), capability=("ocr",)),
)
LANGUAGE, SENTIMENT = Wanted("language", Type("Language")), Wanted("sentiment", Type("Sentiment"))
PHRASES = Wanted("key_phrases", Type("KeyPhrases"))
TASKS = {
    "text": (TEXT,),
    "clean, text": (CLEAN, TEXT),
    "text, language": (TEXT, LANGUAGE),
    "text, language, sentiment": (TEXT, LANGUAGE, SENTIMENT),
    "main job (5 outputs)": (CLEAN, TEXT, LANGUAGE, PHRASES, SENTIMENT),
}


def timed(tools: int, wanted: tuple[Wanted, ...], repeats: int, seeds: int) -> dict[str, object]:
    times, exact, nodes, terms = [], 0, [], []
    for seed in range(seeds):
        registry, estimator = page_catalogue(tools, seed)
        request = PlanRequest("read", PAGE, wanted, Objective(), registry, estimator)
        best = float("inf")
        for _ in range(repeats):
            planner, start = SearchPlanner(max_steps=8), time.process_time()
            proposal = planner.search(request)
            best = min(best, time.process_time() - start)
        times.append(best)
        exact += proposal.exact
        nodes.append(planner.stats.nodes)
        terms.append(planner.stats.terms)
    times.sort()
    return {
        "tools": tools, "cpu_s_median": round(times[len(times) // 2], 4), "cpu_s_max": round(times[-1], 4),
        "exact_share": exact / seeds, "terms_max": max(terms), "nodes_max": max(nodes),
    }  # fmt: skip


def same_front(request: PlanRequest, max_steps: int) -> bool | None:
    """Whether the search finds the whole front; None if there is no plan and the search says so too."""
    brute = sorted((p, round(ms, 6), round(q, 9)) for p, ms, q in
                   brute_front(request, ConditionModel(), max_steps=max_steps))  # fmt: skip
    try:
        found = SearchPlanner(max_steps=max_steps).search(request)
    except PlanningFailed:
        return None if not brute else False
    mine = sorted((c.price.expected or 0, round(c.latency.expected_ms, 6), round(c.quality or 0, 9))
                  for c in found.candidates)  # fmt: skip
    return mine == brute


def shared_request(seed: int) -> PlanRequest:
    registry, _ = page_catalogue(60, seed)
    names = ("denoise_0", "denoise_1", "deblur_0", "ocr_0", "ocr_1", "language_0", "language_1", "sentiment_0")
    kept = RegistryView(tuple(sig for sig in registry if sig.name in names), registry.types)
    wanted = tuple(random.Random(seed).sample((CLEAN, TEXT, LANGUAGE, SENTIMENT), 3))
    return PlanRequest("x", PAGE, wanted, Objective(), kept, SeededEstimator(kept, seed), 500)


def exactness(name: str, results: list[bool | None]) -> dict[str, object]:
    plans = [r for r in results if r is not None]
    row = {"catalogues": name, "compared": len(plans), "no_plan_agreed": results.count(None),
           "equal": sum(plans), "share": sum(plans) / len(plans)}  # fmt: skip
    print(f"{name:32} {len(plans):5} compared, {sum(plans):5} equal ({row['share']:.1%}), "
          f"{results.count(None)} without a plan (agreed)")  # fmt: skip
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer seeds")
    quick = parser.parse_args().quick
    seeds, repeats = (3, 1) if quick else (8, 2)
    sizes: dict[str, list[dict[str, object]]] = {}
    print(f"{'task':28}{'tools':>6}{'median s':>10}{'max s':>8}{'exact':>8}{'partial plans':>15}")
    for name, wanted in TASKS.items():
        rows = [timed(tools, wanted, repeats, seeds) for tools in (10, 50, 100, 500)]
        sizes[name] = rows
        for row in rows:
            print(f"{name:28}{row['tools']:>6}{row['cpu_s_median']:>10}{row['cpu_s_max']:>8}"
                  f"{row['exact_share']:>8.0%}{row['nodes_max']:>15}")  # fmt: skip
    compared = [
        exactness("random, up to 6 tools, 4 steps",
                  [same_front(small_request(s), 4) for s in range(200 if quick else 1000)]),
        exactness("pages, 8 tools, 3 outputs", [same_front(shared_request(s), 7) for s in range(5 if quick else 15)]),
    ]  # fmt: skip
    machine = {"python": platform.python_version(), "machine": platform.machine(), "cpus": os.cpu_count(),
               "load": os.getloadavg()[0]}  # fmt: skip
    path = Path(__file__).parent / "results" / "planner.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"machine": machine, "max_steps": 8, "time": sizes, "exactness": compared}, indent=1))
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
