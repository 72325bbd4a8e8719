"""OpenCATP's pools as upstream pickles them, checked, plan by plan; `catp.training.data.opencatp` tells more."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from catp.training.data.opencatp_tools import TOOLS
from catp.training.data.safe_pickle import Record, load
from catp.training.data.trajectory import Plan, PlanNode

__all__ = ["Costs", "Measured", "read_pool"]

_POOL: Final = "src.catpllm.data.plan_pool.PlanPool"
_SCALARS: Final = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
_NAMES: Final = frozenset({_POOL, "collections.defaultdict", "builtins.dict", "numpy.dtype", *_SCALARS})
_TABLES: Final = ("plans", "scores", "tools_exec_time", "tools_cpu_mem", "tools_gpu_mem")

_QUERY: Final = frozenset({"input_of_query", "input of query"})
_SCORE_DIGITS: Final = 6
"""Scores are 32-bit floats: what should be 1 is 1.0000001."""

_INVALID: Final = -2
"""The score upstream gives a plan that could not be run."""

_ENLARGER: Final = "image_super_resolution"
_MB_PER_PIXEL: Final = {
    "image_denoising": ("restormer", 0.00532998),
    "image_deblurring": ("restormer", 0.00532998),
    _ENLARGER: ("super-resolution", 0.0071),
}
"""GPU memory per pixel of the input: Restormer's is exact to 0.1 % in all steps of the pools, the other's to 1 %."""

_ENLARGED: Final = 4
"""Pixels that super-resolution makes of one."""

Costs = list[tuple[float, float, float]]
"""Per step: ms, short-term CPU MB, short-term GPU MB."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One plan of a pool. `score` is None if it could not be run, `costs` if nothing was measured.

    `size` is that of the input image in pixels and how it is known.
    """

    task: int
    sample: int
    number: int
    plan: Plan
    score: float | None
    metric: str
    costs: Costs | None
    size: tuple[int, str] | None


def read_pool(data: bytes) -> Iterator[Measured]:
    """Yield the plans of a pool, input by input; raise `UnsafePickle` or `ValueError` saying what is wrong where."""
    pool = load(data, _NAMES)
    if not (isinstance(pool, Record) and pool.of == _POOL and isinstance(pool.state, dict)):
        raise ValueError("no OpenCATP plan pool (a pickled `PlanPool`)")
    missing = [name for name in _TABLES if name not in pool.state]
    if missing:
        raise ValueError(f"the pool has no {', '.join(missing)}")
    tables = {name: _mapping(pool.state[name], name) for name in _TABLES}
    for task, samples in tables["plans"].items():
        for sample in _mapping(samples, f"plans[{task}]"):
            entries = {name: _mapping(table[task], f"{name}[{task}]")[sample] for name, table in tables.items()}
            yield from _set(task, sample, entries)


def _set(task: Any, sample: Any, entries: Mapping[str, Any]) -> Iterator[Measured]:
    """The plans of one input."""
    where = f"task {task}, sample {sample}"
    if not (type(task) is int and type(sample) is int):
        raise ValueError(f"{where}: tasks and samples are numbered")
    if isinstance(entries["scores"], tuple):  # one plan that is not in a list
        entries = {name: [entry] for name, entry in entries.items()}
    if not all(isinstance(entry, list) for entry in entries.values()):
        raise ValueError(f"{where}: one list per column expected")
    if len({len(entry) for entry in entries.values()}) != 1:
        raise ValueError(
            f"{where}: columns of different lengths, {', '.join(f'{k} {len(v)}' for k, v in entries.items())}"
        )
    rows = [dict(zip(entries, row, strict=True)) for row in zip(*entries.values(), strict=True)]
    try:
        plans = [_plan(row["plans"]) for row in rows]
        costs = [_costs(row, len(plan.nodes)) for row, plan in zip(rows, plans, strict=True)]
        size = _size(plans, costs)
        for number, (row, plan, cost) in enumerate(zip(rows, plans, costs, strict=True)):
            score, metric = _score(row["scores"])
            yield Measured(task, sample, number, plan, score, metric, cost, size)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _plan(given: Any) -> Plan:
    if not isinstance(given, list) or len(given) % 2 or not given:
        raise ValueError("a plan is a list [tool, [dependencies], ...]")
    nodes: list[PlanNode] = []
    edges: list[list[str]] = []
    latest: dict[str, str] = {}
    for number, (tool, dependencies) in enumerate(zip(given[::2], given[1::2], strict=True), 1):
        if not isinstance(tool, str) or tool not in TOOLS:
            raise ValueError(f"unknown tool {tool!r}")
        if not isinstance(dependencies, list):
            raise ValueError(f"a list of dependencies expected after {tool!r}")
        node = f"n{number}"
        for item in dependencies:
            source = latest.get(item) if isinstance(item, str) else None
            if source is None and not (isinstance(item, str) and item.lower() in _QUERY):
                raise ValueError(f"{tool!r} depends on {item!r}, which does not come before it")
            edges.append([source or "input", node])
        nodes.append(PlanNode(id=node, tool=tool))
        latest[tool] = node
    return Plan(nodes=nodes, edges=edges)


def _costs(row: Mapping[str, Any], steps: int) -> Costs | None:
    columns = [row[name] for name in _TABLES[2:]]
    if any(column is None for column in columns):
        return None
    if not all(isinstance(column, list) and len(column) == steps for column in columns):
        raise ValueError(f"one time and two sizes of memory per tool expected, for {steps} tools")
    rows = [tuple(_number(value) for value in values) for values in zip(*columns, strict=True)]
    if any(value < 0 for values in rows for value in values):
        raise ValueError("times and memory are not negative")
    return [(ms, cpu, gpu) for ms, cpu, gpu in rows]


def _score(given: Any) -> tuple[float | None, str]:
    if not (isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], str)):
        raise ValueError("a score is a pair (score, metric)")
    score, metric = _number(given[0]), given[1]
    if score == _INVALID:
        return None, metric
    return round(score / 100 if metric == "vit_score" else score, _SCORE_DIGITS), metric  # upstream divides, too


def _number(given: Any) -> float:
    """Read a number, also one of numpy's: `scalar(dtype("f4"), bytes)`."""
    if isinstance(given, Record) and given.of in _SCALARS and len(given.args) == 2:
        dtype, data = given.args
        kind = dtype.args[0] if isinstance(dtype, Record) and dtype.of == "numpy.dtype" and dtype.args else None
        form = {"f4": "<f", "f8": "<d", "i4": "<i", "i8": "<q"}.get(kind) if isinstance(kind, str) else None
        if form is not None and isinstance(data, bytes) and len(data) == struct.calcsize(form):
            given = struct.unpack(form, data)[0]
    if isinstance(given, bool) or not isinstance(given, int | float) or abs(given) > 1e12 or given != given:
        raise ValueError(f"a number expected, not {type(given).__name__}")
    return float(given)


def _mapping(value: Any, where: str) -> Mapping[Any, Any]:
    found = value.items if isinstance(value, Record) and value.of == "collections.defaultdict" else value
    if not isinstance(found, dict):
        raise ValueError(f"{where}: a mapping expected, not {type(value).__name__}")
    return found


def _size(plans: list[Plan], costs: list[Costs | None]) -> tuple[int, str] | None:
    """How large the image is and how that is known: memory of some tools grows with it. None if none of them ran.

    Steps that got the image as it was given count first; after super-resolution it has four times the pixels, roughly.
    """
    found: dict[tuple[str, bool], list[float]] = {}
    for plan, cost in zip(plans, costs, strict=True):
        scale: dict[str, int] = {"input": 1}
        parent = {edge[1]: edge[0] for edge in plan.edges}
        for node, (_, _, gpu) in zip(plan.nodes, cost or (), strict=cost is not None):
            given = scale[parent.get(node.id, "input")]
            scale[node.id] = given * _ENLARGED if node.tool == _ENLARGER else given
            if node.tool in _MB_PER_PIXEL:
                kind, rate = _MB_PER_PIXEL[node.tool]
                found.setdefault((kind, given == 1), []).append(gpu / rate / given)
    for kind, as_given in (("restormer", True), ("super-resolution", True), ("restormer", False)):
        if (kind, as_given) in found:
            return round(median(found[kind, as_given])), f"inferred from {kind} GPU memory"
    return None
