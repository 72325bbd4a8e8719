"""Reading and compiling plans: an 8-step plan and a 1,000-step plan, stage by stage.

    .venv/bin/python benchmarks/compile.py [--quick]

Bars: parse + compile <= 1.5 ms for 8 steps and <= 200 ms for 1,000. Best of several repeats, in CPU time, since the
machine is shared. The peer for the schedule is networkx, which finds the longest path only, without slack or width.
"""

import argparse
import json
import os
import platform
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import networkx as nx

from catp.planlang.check import check
from catp.planlang.compile import compile_plan
from catp.planlang.critical import schedule
from catp.planlang.digest import digest
from catp.planlang.money import Money
from catp.planlang.nodes import ToolName, step_refs
from catp.planlang.parser import parse
from catp.planlang.registry_view import CallEstimate, Latency, PriceRange, Size, ValueFacts
from catp.planlang.signatures import parse_registry

RESULTS = Path(__file__).parent / "results" / "compile.json"
BARS_MS = {"8 steps": 1.5, "1000 steps": 200.0}

REGISTRY = parse_registry("""
type Answer(text: text, confidence: number)
type Caption(text: text)
type Seen(boxes: list[json])
type Language(code: text)
denoise(photo: image) -> image
detect(photo: image) -> Seen
caption(photo: image) -> Caption
caption_small(photo: image) -> Caption
vqa(photo: image, question: text) -> Answer
detect_lang(text: text) -> Language
translate(text: text, to: text) -> text
upscale(photo: image, factor: int = 2) -> image
summarise(text: text) -> text
ask(question: text, context: list[text] = ...) -> text
""")

EIGHT = """plan inspect_photo
in photo: image
in question: text
in lang: text = "en"
limit cost $0.30
clean = denoise(photo)
seen = detect(clean)
said = caption(clean) | caption_small(clean)
reply = vqa(clean, question)
check = vqa(photo, question)
tongue = detect_lang(question)
local = translate(reply.text, to=tongue.code) when tongue.code != "en" else reply.text
big = upscale(clean, factor=2)
out reply = local, caption = said.text?, boxes = seen.boxes?, raw = check.text?
"""


class Priced:
    """An estimator that costs next to nothing itself; one call in fifty fails."""

    def estimate(self, tool: ToolName, args: Mapping[str, ValueFacts]) -> CallEstimate:
        sig = REGISTRY.get(tool)
        assert sig is not None
        price = PriceRange(Money(10), Money(20), Money(50))
        return CallEstimate(price, Latency(100.0, 300.0), ValueFacts(sig.returns, Size(100)), failure=0.02)


def long_plan(steps: int, seed: int = 1) -> str:
    """Steps of four kinds, each reading one or two of the last fifty: templates, retries, fallbacks, lists, guards."""
    rng = random.Random(seed)
    lines, names = ["in q: text"], ["q"]
    for k in range(steps):
        a, b = rng.choice(names[-20:]), rng.choice(names[-50:])
        kinds = (
            f't = translate(t"{{{a}}} and {{{b}}}", to="l{k}") @retry(2) @timeout(3s)',
            f't = summarise({a}) | translate({b}, to="l{k}")',
            f"t = ask({a}, context=[{b}, {a}])",
            f't = translate({a}, to="l{k}") when {b} != "z" else {b}',
        )
        lines.append(f"s{k}{rng.choice(kinds)[1:]}")
        names.append(f"s{k}")
    return "\n".join([*lines, "out " + ", ".join(names[1:])]) + "\n"


def best_ms(work: Callable[[], object], repeat: int, loops: int) -> float:
    work()
    times = []
    for _ in range(repeat):
        begin = time.process_time()
        for _ in range(loops):
            work()
        times.append((time.process_time() - begin) / loops)
    return min(times) * 1000


def measure(source: str, repeat: int, loops: int) -> dict[str, float]:
    plan, estimator = parse(source), Priced()
    compiled = compile_plan(plan, REGISTRY, estimator=estimator)
    steps = compiled.estimate.steps
    ms = {str(name): step.latency.expected_ms for name, step in steps.items()}
    before = {
        str(s.name): tuple(dict.fromkeys(r.root for _, r in step_refs(s) if r.root in ms)) for s in compiled.plan.steps
    }
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(before)
    graph.add_edges_from((b, after, {"weight": ms[b]}) for after, befores in before.items() for b in befores)
    found = {
        "parse_ms": best_ms(lambda: parse(source), repeat, loops),
        "compile_ms": best_ms(lambda: compile_plan(plan, REGISTRY, estimator=estimator), repeat, loops),
        "of_which_check_ms": best_ms(lambda: check(plan, REGISTRY), repeat, loops),
        "of_which_digest_ms": best_ms(lambda: digest(plan), repeat, loops),
        "of_which_schedule_ms": best_ms(lambda: schedule(before, ms), repeat, loops),
        "networkx_longest_path_ms": best_ms(lambda: nx.dag_longest_path(graph), repeat, loops),
    }
    return {"parse_and_compile_ms": found["parse_ms"] + found["compile_ms"], **found}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--quick", action="store_true", help="fewer repeats")
    quick = options.parse_args().quick
    repeat = 3 if quick else 15
    rows = {
        "8 steps": measure(EIGHT, repeat, 20 if quick else 100),
        "1000 steps": measure(long_plan(1000), repeat, 1),
    }
    print(f"{'CPU milliseconds':28}" + "".join(f"{name:>14}" for name in rows))
    for key in rows["8 steps"]:
        print(f"{key.removesuffix('_ms').replace('_', ' '):28}" + "".join(f"{row[key]:14.3f}" for row in rows.values()))
    met = {name: rows[name]["parse_and_compile_ms"] <= bar for name, bar in BARS_MS.items()}
    print(
        "bars:", ", ".join(f"{name} <= {bar} ms: {'met' if met[name] else 'MISSED'}" for name, bar in BARS_MS.items())
    )
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()[0]}
    result = {"machine": machine, "quick": quick, "bars_ms": BARS_MS, "met": met, "rows": rows}
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
