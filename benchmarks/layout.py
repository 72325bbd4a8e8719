"""The layered layout: time and quality on chains, trees and random plans, beside networkx's own layered layout.

    .venv/bin/python -m benchmarks.layout [--quick]

`networkx.multipartite_layout` places ranks and nothing else: no crossing reduction, no routing, no box sizes. It is
the only peer without a native dependency; its crossings show what the sweeps are worth. CPU seconds, best of three.
"""

import argparse
import json
import os
import platform
import random
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import networkx as nx

from catp.dashboard.read.graph import drawing
from catp.planlang.parser import parse
from catp.planlang.render.groups import Tree
from catp.planlang.render.layout import layout, ranks
from catp.planlang.render.view import view
from tests.dashboard.plans import SHAPES, plan_text

RESULTS = Path(__file__).parent / "results" / "layout.json"


def chain_with_bus(count: int) -> "nx.DiGraph[str]":
    """Every step reads the previous one and one shared input, and one output collects everything."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    for i in range(count - 2):
        graph.add_edge("lang", f"s{i}")
        graph.add_edge(f"s{i}", "report")
        if i:
            graph.add_edge(f"s{i - 1}", f"s{i}")
    return graph


def random_plan(count: int, reach: float, seed: int = 1) -> "nx.DiGraph[str]":
    """Each step reads one to three of the steps before it, mostly recent ones."""
    rng = random.Random(seed)
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_node("s0")
    for i in range(1, count):
        for _ in range(rng.choice((1, 1, 2, 3))):
            graph.add_edge(f"s{max(0, i - 1 - int(rng.expovariate(1 / reach)))}", f"s{i}")
    return graph


def best_of(repeat: int, work: Callable[[], object]) -> float:
    times = []
    for _ in range(repeat):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def crossings(graph: "nx.DiGraph[str]", place: dict[str, tuple[float, float]]) -> int:
    """Crossings of straight edges between adjacent ranks: the part both layouts can be compared on."""
    level = ranks(graph)
    by_rank: dict[int, list[tuple[float, float]]] = {}
    for source, target in graph.edges:
        if level[target] == level[source] + 1:
            by_rank.setdefault(level[source], []).append((place[source][1], place[target][1]))
    return sum((a[0] - b[0]) * (a[1] - b[1]) < 0 for edges in by_rank.values() for a, b in combinations(edges, 2))


def networkx_places(graph: "nx.DiGraph[str]") -> dict[str, tuple[float, float]]:
    marked = graph.copy()
    nx.set_node_attributes(marked, ranks(graph), "layer")
    return {name: (float(x), float(y)) for name, (x, y) in nx.multipartite_layout(marked, subset_key="layer").items()}


def _plans(quick: bool) -> list[dict[str, Any]]:
    """From the text of a stored plan to what a browser draws, with its groups: bar 0.3 s for 1,000 steps."""
    rows: list[dict[str, Any]] = []
    print(f"\n{'plan, drawn for a browser':28}{'boxes':>7}{'parse':>9}{'groups':>10}{'drawing':>11}")
    for steps in (100,) if quick else (300, 1_000, 2_000):
        for shape in SHAPES:
            text = plan_text(steps, shape)
            drawn = view(parse(text))
            tree, kinds = Tree(drawn), {node.id: node.kind for node in drawn.nodes}
            row = {
                "plan": f"{shape}, {steps} steps", "boxes": len(tree.drawn().graph),
                "parse_cpu_s": round(best_of(3, lambda text=text: view(parse(text))), 4),  # type: ignore[misc]
                "groups_cpu_s": round(best_of(3, lambda drawn=drawn: Tree(drawn)), 4),  # type: ignore[misc]
                "drawing_cpu_s": round(best_of(3, lambda t=tree, k=kinds: drawing(t, k, "LR")), 4),  # type: ignore[misc]
            }  # fmt: skip
            rows.append(row)
            print(
                f"{row['plan']:28}{row['boxes']:>7}{row['parse_cpu_s']:>9.3f}{row['groups_cpu_s']:>10.3f}"
                f"{row['drawing_cpu_s']:>11.3f}"
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="graphs of up to 100 nodes")
    quick = parser.parse_args().quick
    graphs = {
        "random, 8 nodes": random_plan(8, 2),
        "random, 100 nodes": random_plan(100, 10),
        "shared input, 100 nodes": chain_with_bus(100),
    }
    if not quick:
        graphs |= {
            "random, 1000 nodes, near": random_plan(1000, 5),
            "random, 1000 nodes, far": random_plan(1000, 50),
            "chain, 1000 nodes": nx.relabel_nodes(nx.path_graph(1000, create_using=nx.DiGraph), str),
            "fan-out, 1000 nodes": nx.DiGraph([("s", f"t{i}") for i in range(999)]),
            "shared input, 1000 nodes": chain_with_bus(1000),
        }
    rows: list[dict[str, Any]] = []
    print(f"{'graph':28}{'edges':>7}{'seconds':>9}{'networkx':>10}{'crossings':>11}{'networkx':>10}")
    for name, graph in graphs.items():
        drawn = layout(graph)
        row = {
            "graph": name, "nodes": len(graph), "edges": graph.number_of_edges(),
            "cpu_s": round(best_of(3, lambda graph=graph: layout(graph)), 4),  # type: ignore[misc]
            "networkx_cpu_s": round(best_of(3, lambda graph=graph: networkx_places(graph)), 4),  # type: ignore[misc]
            "crossings": crossings(graph, {n: (b.x, b.y + b.h / 2) for n, b in drawn.nodes.items()}),
            "networkx_crossings": crossings(graph, networkx_places(graph)),
        }  # fmt: skip
        rows.append(row)
        print(
            f"{name:28}{row['edges']:>7}{row['cpu_s']:>9.3f}{row['networkx_cpu_s']:>10.3f}"
            f"{row['crossings']:>11}{row['networkx_crossings']:>10}"
        )
    plans = _plans(quick)
    if quick:
        return  # the stored figures are those of the full run
    machine = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "load_1m": round(os.getloadavg()[0], 2),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(
        json.dumps({"benchmark": "layout", "machine": machine, "rows": rows, "plans": plans}, indent=2) + "\n"
    )


if __name__ == "__main__":
    main()
