"""OpenCATP's measured plans: the upstream pools (pickles) and their re-export as trajectories, both as trajectories.

    for record in read(Path("seq_plan_pool.pkl")): ...          # a pool as upstream keeps it
    for record in read(Path("trajectories.jsonl.gz")): ...      # the re-export, with `toolset.json` beside it

Source: github.com/duowuyms/OpenCATP-LLM at a06e1f2 (Apache-2.0; arXiv 2411.16313), `src/catpllm/data/plan_pool.py`
for the layout of a pool, `cost_utils.py` and `config.py` for the price. A pool is five mappings
`{task: {sample: [one entry per plan]}}`: `plans` (`[tool, [dependency, ...], tool, ...]`), `scores`
(`(score, metric)`), `tools_exec_time` (ms) and `tools_cpu_mem`, `tools_gpu_mem` (short-term MB) per tool.

What the records say of it: prices follow OpenCATP's own formula, which is 1,500 to 6,700 times what the named cloud
charges; a score for which an image was compared is a distance used as a similarity (`score_suspect`); times of
sequential plans are multiples of 100 ms (`timing_quantised_100ms`). Start times were not measured: a step is taken to
start when the steps it depends on have ended.
"""

import struct
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any, Final

from catp.training.data.files import read as read_records
from catp.training.data.opencatp_tools import PRICE_SCALE_USD, TOOLS, price_usd, toolset
from catp.training.data.safe_pickle import Record, UnsafePickle, load
from catp.training.data.toolset import Toolset
from catp.training.data.trajectory import (
    Event,
    InputInfo,
    Objective,
    Outcome,
    Plan,
    PlanNode,
    Provenance,
    Request,
    ToolsetRef,
    Trajectory,
)

__all__ = ["LICENSE", "SOURCE", "read"]

SOURCE: Final = "github.com/duowuyms/OpenCATP-LLM@a06e1f2"
LICENSE: Final = "Apache-2.0"

_PROTOCOL: Final = b"\x80"
"""How a pickle begins (protocol 2 and later)."""
_POOL: Final = "src.catpllm.data.plan_pool.PlanPool"
_SCALARS: Final = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
_NAMES: Final = frozenset({_POOL, "collections.defaultdict", "builtins.dict", "numpy.dtype", *_SCALARS})
_TABLES: Final = ("plans", "scores", "tools_exec_time", "tools_cpu_mem", "tools_gpu_mem")

_QUERY: Final = frozenset({"input_of_query", "input of query"})
_FIRST_NONSEQ: Final = 200
"""Tasks from here on are the non-sequential ones (upstream `config.py`)."""

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


def read(path: Path, *, tools: Toolset | None = None) -> Iterator[Trajectory]:
    """Yield the records of a pool (`.pkl`) or of its re-export (`.jsonl`, `.jsonl.gz`), set by set.

    Args:
        path: The file; its first bytes tell which of the two it is.
        tools: The toolset to refer to. By default `toolset.json` beside the file, else OpenCATP's eight tools.

    Raises:
        UnsafePickle: The pickle asks for something that reading data does not need; nothing of it was run.
        ValueError: The file is not what it should be; says where.
        OSError: It cannot be read.
    """
    beside = path.with_name("toolset.json")
    known = tools if tools is not None else Toolset.load(beside) if beside.is_file() else toolset()
    with path.open("rb") as file:
        pickled = file.read(1) == _PROTOCOL
    if not pickled:
        for record in read_records(path):
            yield _canonical(record, known)
        return
    try:
        yield from _pool(path.read_bytes(), known)
    except UnsafePickle as error:
        raise UnsafePickle(f"{path}: {error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


# --- the re-export --------------------------------------------------------------------------------------------------


def _canonical(record: Trajectory, known: Toolset) -> Trajectory:
    """Name the wanted types, the toolset's digest, and the size as every other data set does."""
    request = record.request
    inputs = [
        one
        if one.pixels is None and one.chars is None
        else one.model_copy(update={"size": _size(one), "pixels": None, "chars": None})
        for one in request.inputs
    ]
    wanted = request.wanted or _wanted(record.plan, known)
    ref = record.toolset if isinstance(record.toolset, ToolsetRef) else ToolsetRef(id=record.toolset)
    if ref.id == known.id:
        ref = ToolsetRef(id=known.id, sha256=known.sha256)
    changed = {"request": request.model_copy(update={"inputs": inputs, "wanted": wanted}), "toolset": ref}
    return record.model_copy(update=changed)


def _size(one: InputInfo) -> dict[str, int]:
    units = {"pixels": one.pixels, "chars": one.chars}
    return {unit: n for unit, n in units.items() if n is not None}


def _wanted(plan: Plan, known: Toolset) -> list[str]:
    """The types of the results that no step uses, in the order of the plan."""
    used = {edge[0] for edge in plan.edges}
    types = {name: tool.output for name, tool in known.by_name.items()}
    return [types[node.tool] for node in plan.nodes if node.id not in used and node.tool in types]


# --- pools ----------------------------------------------------------------------------------------------------------


def _pool(data: bytes, known: Toolset) -> Iterator[Trajectory]:
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
            yield from _set(task, sample, entries, known)


def _set(task: Any, sample: Any, entries: Mapping[str, Any], known: Toolset) -> Iterator[Trajectory]:
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
        pixels = _pixels(plans, costs)
        for number, (row, plan, cost) in enumerate(zip(rows, plans, costs, strict=True)):
            yield _record(task, sample, number, _score(row["scores"]), plan, cost, pixels, known)
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


_Costs = list[tuple[float, float, float]]
"""Per step: ms, short-term CPU MB, short-term GPU MB."""


def _costs(row: Mapping[str, Any], steps: int) -> _Costs | None:
    columns = [row[name] for name in _TABLES[2:]]
    if any(column is None for column in columns):
        return None
    if not all(isinstance(column, list) and len(column) == steps for column in columns):
        raise ValueError(f"one time and two sizes of memory per tool expected, for {steps} tools")
    rows = [tuple(_number(value) for value in values) for values in zip(*columns, strict=True)]
    if any(value < 0 for values in rows for value in values):
        raise ValueError("times and memory are not negative")
    return [(ms, cpu, gpu) for ms, cpu, gpu in rows]


def _score(given: Any) -> tuple[float, str]:
    if not (isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], str)):
        raise ValueError("a score is a pair (score, metric)")
    score, metric = _number(given[0]), given[1]
    if metric == "vit_score" and score != _INVALID:
        score /= 100  # upstream divides, too
    return round(score, _SCORE_DIGITS), metric


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


def _pixels(plans: list[Plan], costs: list[_Costs | None]) -> tuple[int, str] | None:
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


def _record(
    task: int, sample: int, number: int, scored: tuple[float, str], plan: Plan, cost: _Costs | None,
    pixels: tuple[int, str] | None, known: Toolset,
) -> Trajectory:  # fmt: skip
    pool = "nonseq" if task >= _FIRST_NONSEQ else "seq"
    score, metric = scored
    valid = score != _INVALID
    wanted = _wanted(plan, known)
    events = _events(plan, cost)
    prices = [event.price_usd for event in events if event.price_usd is not None]
    size: dict[Any, int] | None = None if pixels is None else {"pixels": pixels[0]}
    return Trajectory(
        trajectory_id=f"opencatp-{pool}-{task}-{sample}-{number}",
        dataset=f"opencatp/{pool}",
        group=f"task-{task}",
        candidate_set=f"opencatp-{pool}-{task}-{sample}",
        request=Request(
            inputs=[InputInfo(type="image", size=size, size_source=None if pixels is None else pixels[1])],
            wanted=wanted,
        ),
        toolset=ToolsetRef(id=known.id, sha256=known.sha256),
        objective=Objective(price_scale_usd=PRICE_SCALE_USD),
        plan=plan,
        events=events,
        outcome=Outcome(
            status="ok" if valid else "failed",
            score=score if valid else None,
            metric=metric,
            score_suspect="image" in wanted,
            price_usd=sum(prices, Decimal(0)) if events else None,
            latency_ms=max(event.end_ms for event in events) if events else None,
            serial_ms=sum(ms for ms, _, _ in cost) if cost else None,
        ),
        provenance=Provenance(source=SOURCE, license=LICENSE, timing_quantised_100ms=pool == "seq"),
    )


def _events(plan: Plan, cost: _Costs | None) -> list[Event]:
    ends: dict[str, float] = {"input": 0.0}
    events: list[Event] = []
    for node, (ms, cpu, gpu) in zip(plan.nodes, cost or (), strict=cost is not None):
        start = max((ends[source] for source, target in plan.edges if target == node.id), default=0.0)
        ends[node.id] = start + ms
        price = price_usd(node.tool, ms, cpu, gpu)
        events.append(
            Event(
                node=node.id, tool=node.tool, status="ok", start_ms=start, end_ms=start + ms, cpu_mem_mb=cpu,
                gpu_mem_mb=gpu, price_usd=price, price_model="opencatp",
            )
        )  # fmt: skip
    return events
