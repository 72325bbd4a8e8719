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

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from catp.training.data.files import read as read_records
from catp.training.data.opencatp_pool import Costs, Measured, read_pool
from catp.training.data.opencatp_tools import PRICE_SCALE_USD, price_usd, toolset
from catp.training.data.safe_pickle import UnsafePickle
from catp.training.data.toolset import Toolset
from catp.training.data.trajectory import (
    Event,
    InputInfo,
    Objective,
    Outcome,
    Plan,
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

_FIRST_NONSEQ: Final = 200
"""Tasks from here on are the non-sequential ones (upstream `config.py`)."""


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
        for found in read_pool(path.read_bytes()):
            yield _record(found, known)
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


def _record(found: Measured, known: Toolset) -> Trajectory:
    pool = "nonseq" if found.task >= _FIRST_NONSEQ else "seq"
    wanted = _wanted(found.plan, known)
    events = _events(found.plan, found.costs)
    prices = [event.price_usd for event in events if event.price_usd is not None]
    pixels, how = found.size or (None, None)
    size: dict[Any, int] | None = None if pixels is None else {"pixels": pixels}
    candidate_set = f"opencatp-{pool}-{found.task}-{found.sample}"
    return Trajectory(
        trajectory_id=f"{candidate_set}-{found.number}",
        dataset=f"opencatp/{pool}",
        group=f"task-{found.task}",
        candidate_set=candidate_set,
        request=Request(inputs=[InputInfo(type="image", size=size, size_source=how)], wanted=wanted),
        toolset=ToolsetRef(id=known.id, sha256=known.sha256),
        objective=Objective(price_scale_usd=PRICE_SCALE_USD),
        plan=found.plan,
        events=events,
        outcome=Outcome(
            status="failed" if found.score is None else "ok",
            score=found.score,
            metric=found.metric,
            score_suspect="image" in wanted,
            price_usd=sum(prices, Decimal(0)) if events else None,
            latency_ms=max(event.end_ms for event in events) if events else None,
            serial_ms=sum(ms for ms, _, _ in found.costs) if found.costs else None,
        ),
        provenance=Provenance(source=SOURCE, license=LICENSE, timing_quantised_100ms=pool == "seq"),
    )


def _events(plan: Plan, cost: Costs | None) -> list[Event]:
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
