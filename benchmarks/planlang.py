"""Figures behind the language's claims: exact round trips, agreement with the grammar, speed, behaviour on huge input.

.venv/bin/python benchmarks/planlang.py [--quick]
"""

import argparse
import importlib.util
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from catp.planlang.digest import canonical, digest
from catp.planlang.errors import PlanError
from catp.planlang.jsonform import from_json, to_json
from catp.planlang.lexer import MAX_BYTES
from catp.planlang.parser import parse
from catp.planlang.printer import to_text
from catp.planlang.testing import random_plan
from catp.planlang.tokens import decode, encode

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "planlang.json"


def tests_module(name: str) -> Any:
    """The differential test lives with the tests; the benchmark runs the same check on more texts."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tests" / "planlang" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def round_trips(count: int) -> dict[str, Any]:
    exact = dict.fromkeys(("text", "text_stable", "json_values", "json_text", "tokens"), 0)
    for seed in range(count):
        plan = random_plan(Random(seed))
        text, form = to_text(plan), to_json(plan)
        again = parse(text)
        exact["text"] += again == plan
        exact["text_stable"] += to_text(again) == text
        exact["json_values"] += from_json(form) == plan
        exact["json_text"] += from_json(json.dumps(form)) == plan
        exact["tokens"] += canonical(decode(encode(plan))) == canonical(plan)  # steps come back as n0, n1, ...
    return {"plans": count, **exact}


def differential(count: int) -> dict[str, Any]:
    module = tests_module("test_grammar_differential")
    accepted, unexplained = 0, []
    for text in module.mutations(20_261, count):
        said = module.disagreement(text)
        if said is not None:
            unexplained.append([text, said])
        try:
            parse(text)
            accepted += 1
        except PlanError:
            pass
    return {"texts": count, "accepted": accepted, "unexplained": len(unexplained), "examples": unexplained[:5]}


def thousand_steps() -> str:
    steps = "".join(
        f's{k} = tool{k % 7}(s{max(k - 1, 0)}.text, to="de", k={k}) @retry(2) @timeout(3s)\n' for k in range(1_000)
    )
    return f"in x: text\n{steps}out s999\n"


def milliseconds(work: Callable[[], object], repeats: int) -> dict[str, float]:
    """Best and median CPU time: other processes of a shared machine do not count."""
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        taken.append((time.process_time() - start) * 1e3)
    taken.sort()
    return {"best_ms": round(taken[0], 3), "median_ms": round(taken[len(taken) // 2], 3)}


def speed(repeats: int) -> dict[str, Any]:
    small = (ROOT / "tests" / "planlang" / "plans" / "inspect_photo.plan").read_text(encoding="utf-8")
    large = thousand_steps()
    plan, big = parse(small), parse(large)
    form, big_form = to_json(plan), to_json(big)
    return {
        "parse_8_steps": milliseconds(lambda: parse(small), repeats * 20),
        "print_8_steps": milliseconds(lambda: to_text(plan), repeats * 20),
        "to_json_8_steps": milliseconds(lambda: to_json(plan), repeats * 20),
        "from_json_8_steps": milliseconds(lambda: from_json(form), repeats * 20),
        "digest_8_steps": milliseconds(lambda: digest(plan), repeats * 20),
        "parse_1000_steps": milliseconds(lambda: parse(large), repeats),
        "print_1000_steps": milliseconds(lambda: to_text(big), repeats),
        "to_json_1000_steps": milliseconds(lambda: to_json(big), repeats),
        "from_json_1000_steps": milliseconds(lambda: from_json(big_form), repeats),
    }


def huge_inputs(size: int) -> dict[str, Any]:
    """Time on repeated hostile pieces at full and at half size: linear work doubles, quadratic work would quadruple."""
    module = tests_module("test_parser_fuzz")
    rows = []
    for start, piece, end in module.REPEATED:
        seconds = []
        for scale in (2, 1):
            text = module.repeated(start, piece, end, size // scale)
            begin = time.process_time()
            try:
                parse(text)
            except PlanError:
                pass
            seconds.append(time.process_time() - begin)
        rows.append(
            {"piece": start[:12] + piece, "seconds": round(seconds[1], 3), "seconds_half": round(seconds[0], 3)}
        )
    slowest = max(rows, key=lambda row: float(row["seconds"]))
    growth = max(float(r["seconds"]) / float(r["seconds_half"]) for r in rows if float(r["seconds_half"]) > 0.05)
    return {"bytes": size, "inputs": len(rows), "slowest": slowest, "largest_growth_for_double": round(growth, 2)}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="a hundredth of the work; writes no result")
    quick = arguments.parse_args().quick
    share = 100 if quick else 1
    result = {
        "machine": {
            "python": platform.python_version(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "load": os.getloadavg()[0],
        },
        "speed": speed(3 if quick else 15),
        "round_trips": round_trips(100_000 // share),
        "differential": differential(100_000 // share),
        "huge_inputs": huge_inputs(MAX_BYTES // (16 if quick else 1)),
    }
    for part, figures in result.items():
        print(part)
        for name, value in figures.items():
            print(f"  {name:28} {value}")
    if not quick:
        RESULT.parent.mkdir(parents=True, exist_ok=True)
        RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.exit(0 if result["differential"]["unexplained"] == 0 else 1)


if __name__ == "__main__":
    main()
