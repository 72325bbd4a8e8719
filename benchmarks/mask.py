"""The decode mask: a million random walks, every one audited; time per token; small requests against an oracle.

    .venv/bin/python benchmarks/mask.py                     all: 1,000,000 walks, timing, exhaustive comparison
    .venv/bin/python benchmarks/mask.py --quick             20,000 walks
    .venv/bin/python benchmarks/mask.py --resume            go on where a stopped run left off

A walk picks uniformly among the allowed tokens until the plan is finished. Its ids are decoded, and the plan is given
to the type checker together with an invented tool that wants the requested outputs; price and size are added up anew.
Results go to benchmarks/results/mask.json after every catalogue, so a stopped run loses little.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from catp.planlang.errors import PlanError
from catp.planlang.mask import Infeasible, MaskContext, PlanMask
from catp.planlang.mask.oracle import Auditor, every_plan, every_walk
from catp.planlang.mask.reach import Reach, call_edges
from catp.planlang.mask.space import TypeSpace
from catp.planlang.mask.worlds import feasible, random_context, random_registry, small_context, zoo_context
from catp.planlang.money import Money
from catp.planlang.token_ids import decode_ids, encode_ids

RESULTS = Path(__file__).parent / "results" / "mask.json"
WORLDS: tuple[tuple[str, int], ...] = (("zoo", 11), ("random", 3), ("random", 11), ("random", 60), ("random", 500))
ROUND = 1_000
"""Walks per request; each round draws a new catalogue and a new request."""


def bits(mask: int) -> list[int]:
    found = []
    while mask:
        low = mask & -mask
        found.append(low.bit_length() - 1)
        mask ^= low
    return found


def mask_of(kind: str, tools: int, seed: int) -> PlanMask:
    rng = Random(f"{kind}-{tools}-{seed}")
    if kind == "zoo":
        return PlanMask(zoo_context(rng.choice((None, 62, 80, 120, 200, 400)), rng.randint(3, 8)))
    return feasible(rng, random_registry(rng, tools))


def walk(mask: PlanMask, rng: Random, choices: dict[int, list[int]]) -> list[int] | None:
    """One random walk; None if it met a dead end."""
    state, ids = mask.start(), list[int]()
    while not mask.finished(state):
        allowed = mask.allowed(state)
        if not allowed:
            return None
        options = choices.get(allowed)
        if options is None:
            options = choices[allowed] = bits(allowed)
        token = options[int(rng.random() * len(options))]
        state, forced = mask.advance(state, token)
        ids.append(token)
        ids += forced
    return ids


def one_round(kind: str, tools: int, seed: int, tally: dict[str, int]) -> None:
    mask, rng = mask_of(kind, tools, seed), Random(seed)
    auditor, choices = Auditor(mask.context), dict[int, list[int]]()
    for _ in range(ROUND):
        ids = walk(mask, rng, choices)
        tally["walks"] += 1
        if ids is None:
            tally["dead_ends"] += 1
            continue
        tally["tokens"] += len(ids)
        try:
            faults = auditor.faults(decode_ids(ids, mask.context.tokens))
        except PlanError as error:
            faults = [str(error)]
        tally["over_budget"] += any(fault.startswith("over budget") for fault in faults)
        if faults:
            tally["invalid"] += 1
            print(kind, tools, seed, faults[0], ids)


def walks(total: int, done: dict[str, dict[str, int]], save: Callable[[], None]) -> None:
    """Rounds over all worlds in turn, so that a stopped run has covered each of them."""
    empty = {"rounds": 0, "walks": 0, "tokens": 0, "dead_ends": 0, "invalid": 0, "over_budget": 0}
    while sum(tally["walks"] for tally in done.values()) < total:
        for kind, tools in WORLDS:
            tally = done.setdefault(f"{kind} {tools}", dict(empty))
            one_round(kind, tools, tally["rounds"], tally)
            tally["rounds"] += 1
        save()
    for name, tally in done.items():
        print(f"{name:12} {tally}", flush=True)


def timing(tools: int, requests: int, count: int) -> dict[str, float]:
    """CPU microseconds per token of `allowed` + `advance`, forced tokens included, and set-up time per request."""
    spent = tokens = forced_tokens = 0.0
    spaces: list[float] = []
    reaches: list[float] = []
    firsts = first_tokens = 0.0
    for seed in range(requests):
        rng = Random(f"timing-{tools}-{seed}")
        registry = random_registry(rng, tools)
        while True:
            context = random_context(rng, registry, budget=True)
            try:
                before = time.process_time()
                space = TypeSpace(context.tokens)
                middle = time.process_time()
                mask = PlanMask(context, space)
                after = time.process_time()
                break
            except Infeasible:
                continue
        spaces.append(middle - before)
        reaches.append(after - middle)
        for number in range(count):
            picks = [rng.random() for _ in range(400)]
            state, path = mask.start(), list[int]()
            while not mask.finished(state):  # not timed: chooses the walk
                options = bits(mask.allowed(state))
                token = options[int(picks[len(path)] * len(options))]
                path.append(token)
                if number == 0:
                    before = time.process_time()
                state, forced = mask.advance(state, token)
                if number == 0:
                    firsts += time.process_time() - before
                    first_tokens += 1 + len(forced)
            before = time.process_time()
            state = mask.start()
            for token in path:
                mask.allowed(state)
                state, forced = mask.advance(state, token)
                forced_tokens += len(forced)
                tokens += len(forced)
            spent += time.process_time() - before
            tokens += len(path)
    return {
        "tools": tools,
        "us_per_token": round(spent / tokens * 1e6, 2),
        "us_per_token_first_walk_of_a_request": round(firsts / first_tokens * 1e6, 2),
        "forced_share": round(forced_tokens / tokens, 3),
        "setup_types_ms": round(sum(spaces) / len(spaces) * 1e3, 1),
        "setup_reach_ms": round(sum(reaches) / len(reaches) * 1e3, 1),
    }


def exhaustive(requests: int, most: int) -> dict[str, int]:
    """Every walk against every plan of small requests; `missed` plans are valid but not allowed."""
    tally = {
        "requests": 0,
        "too_large": 0,
        "plans": 0,
        "walks": 0,
        "unsound": 0,
        "missed": 0,
        "requests_with_missed": 0,
    }
    for seed in range(requests):
        context = small_context(Random(seed))
        plans = {tuple(encode_ids(plan, context.tokens)) for plan in islice(every_plan(context), most)}
        if len(plans) == most:
            tally["too_large"] += 1
            continue
        try:
            allowed = set(every_walk(PlanMask(context)))
        except Infeasible:
            allowed = set()
        missed = len(plans - allowed)
        tally["requests"] += 1
        tally["plans"] += len(plans)
        tally["walks"] += len(allowed)
        tally["unsound"] += len(allowed - plans)
        tally["missed"] += missed
        tally["requests_with_missed"] += bool(missed)
    return tally


def least_money(context: MaskContext, space: TypeSpace, most: int) -> list[int | None] | None:
    """The true least money for the goals with 0, 1, .. steps, by trying all sets of values; None if too many sets."""
    goals = 0
    for demand, goal in zip(space.goals, context.tokens.goals, strict=True):
        goals |= 0 if goal.optional else 1 << demand
    edges = [(sum(1 << d for d in e.demands), space.serves[e.value], e.price) for e in call_edges(context, space)]
    sets = {space.served(space.inputs): 0}
    least: list[int | None] = []
    for _ in range(context.max_steps + 1):
        reached = [money for met, money in sets.items() if goals & ~met == 0]
        reached += [money for money in least[-1:] if money is not None]
        least.append(min(reached, default=None))
        following: dict[int, int] = {}
        for met, money in sets.items():
            for needed, given, price in edges:
                if needed & ~met == 0 and given & ~met:
                    following[met | given] = min(money + price, following.get(met | given, money + price))
        sets = following
        if len(sets) > most:
            return None
    return least


def optimum(tools: int, requests: int) -> dict[str, int]:
    """How often the money known to suffice is the true least, over requests and numbers of steps."""
    tally = {"tools": tools, "cells": 0, "exact": 0, "dearer": 0, "not_found": 0}
    for seed in range(requests):
        rng = Random(f"optimum-{tools}-{seed}")
        context = random_context(rng, random_registry(rng, tools), budget=True)
        context = replace(context, budget=Money(10**9), max_steps=4)
        space = TypeSpace(context.tokens)
        least = least_money(context, space, 20_000)
        if least is None or least[-1] is None:
            continue
        try:
            need: tuple[int | None, ...] = Reach(context, space).root.need
        except Infeasible:
            need = (None,) * len(least)
        for truth, known in zip(least, need, strict=True):
            if truth is not None:
                tally["cells"] += 1
                tally["not_found" if known is None else "exact" if known == truth else "dearer"] += 1
    return tally


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--resume", action="store_true")
    given = parser.parse_args()
    result: dict[str, Any] = json.loads(RESULTS.read_text()) if given.resume and RESULTS.exists() else {"walks": {}}
    result["machine"] = {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }

    def save() -> None:
        result["total_walks"] = sum(tally["walks"] for tally in result["walks"].values())
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(result, indent=2) + "\n")

    result["timing"] = [
        timing(tools, 4 if given.quick else 12, 100 if given.quick else 500) for tools in (3, 11, 60, 500)
    ]
    for row in result["timing"]:
        print(row, flush=True)
    save()
    walks(20_000 if given.quick else 1_000_000, result["walks"], save)
    result["exhaustive"] = exhaustive(60 if given.quick else 300, 500)
    print(result["exhaustive"], flush=True)
    result["optimum"] = [optimum(tools, 40 if given.quick else 300) for tools in (11, 30)]
    print(result["optimum"], flush=True)
    save()


if __name__ == "__main__":
    main()
