"""From measured plans to the data set that ships: price scales, shards, one logged plan per input, tables, digests.

The price scale of a family (the price that weighs as much as quality 1 at alpha 0.5) is a share, the same for all
families, of the median price of the dearest candidate over its training inputs. The share puts the interesting weights
in the middle: at alpha 0.8 it is about as bad to buy always the cheapest plan as always the most accurate one.
"""

import hashlib
import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from catp.planlang.money import Money, format_usd
from catp.tools.catalogue import Catalogue
from catp.training.bench.lines import write_json, write_lines
from catp.training.bench.record import TOOLSET
from catp.training.data.toolset import Toolset
from catp.training.data.trajectory import Event, Objective, ToolsetRef, Trajectory, nano

__all__ = ["content_digest", "price_tables", "scaled", "scales", "with_shared", "write_data"]

HELD_OUT_TOOLS = ("ocr_rapid_lines", "denoise_dct", "deblur_tv", "language_fasttext", "phrases_textrank")
"""Tools that "held-out tools" takes out of training: each has rivals, and is sometimes the best."""

SCALE_SHARE = 0.36
"""Price scale over the price of the dearest candidate."""

_TABLES = {"train": 4, "test": 2}
_LOWEST, _HIGHEST = 0.2, 5.0
_MEASURED = ("cpu_ms", "cpu_mem_mb", "start_ms", "end_ms", "price_usd", "shared")
"""What two measurements of the same call do not agree on, and what is told from it."""


def scales(records: Iterable[Trajectory]) -> dict[str, Money]:
    """Return the price scale of every family that has records; of training inputs, or of all if there are none."""
    dearest: dict[str, dict[str, int]] = defaultdict(dict)
    training: dict[str, dict[str, int]] = defaultdict(dict)
    for record in records:
        if record.outcome.price_usd is not None:
            price = nano(record.outcome.price_usd)
            for table in [dearest, *([training] if record.split and record.split.inputs == "train" else [])]:
                sets = table[record.group]
                sets[record.candidate_set] = max(price, sets.get(record.candidate_set, 0))
    return {group: Money(round(SCALE_SHARE * statistics.median((training.get(group) or sets).values())))
            for group, sets in dearest.items()}  # fmt: skip


def scaled(record: Trajectory, scales: Mapping[str, Money], toolset: str | None = None) -> Trajectory:
    """Return the record with its family's price scale, and the digest of the tools on offer."""
    objective = Objective(price_scale_usd=Decimal(format_usd(scales[record.group])))
    ref = ToolsetRef(id=TOOLSET, sha256=toolset)
    return record.model_copy(update={"objective": objective, "toolset": ref})


def write_data(records: Iterable[Trajectory], catalogue: Catalogue, out: Path, *, seed: int = 0) -> dict[str, str]:
    """Write `measured/*.jsonl.gz`, `logged/*.jsonl.gz`, `toolset.json`, `prices.json` and `splits.json` below `out`.

    `records` come candidate set by candidate set, the first of each being the first draw of the behaviour mixture: it
    is what a system that tries one plan per input would have logged. Returns content digests by file.
    """
    sets = groupby(records, key=lambda record: record.candidate_set)
    found = [record for _, group in sets for record in with_shared(list(group))]
    toolset = Toolset.of(catalogue, TOOLSET)
    toolset.save(out / "toolset.json")
    known = scales(found)
    found = [scaled(record, known, toolset.sha256) for record in found]
    digests: dict[str, str] = {}
    for side in ("train", "val", "test"):
        mine = [record for record in found if record.split is not None and record.split.name == side]
        first = [_logged(record) for record in mine if record.trajectory_id.endswith("-00")]
        for folder, chosen in (("measured", mine), ("logged", first)):
            if not chosen:  # a part of the families may have none on a side
                (out / folder / f"{side}.jsonl.gz").unlink(missing_ok=True)
                continue
            (out / folder).mkdir(exist_ok=True)
            write_lines(out / folder / f"{side}.jsonl.gz", (record.to_line() for record in chosen))
            digests[f"{folder}/{side}.jsonl.gz"] = content_digest(chosen)
    tables = price_tables([tool.name for tool in toolset.tools], seed)
    write_json(out / "prices.json", {"schema": "catp.prices/1", "seed": seed, **tables})
    write_json(out / "splits.json", _splits(found))
    return digests


def with_shared(records: Sequence[Trajectory]) -> list[Trajectory]:
    """Return the records of one set with `shared` on every call that several of its plans used.

    One call is told from another by its measurements: CPU time to the microsecond, memory and price.
    """
    users: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    for record in records:
        for event in record.events:
            users[_measurement(event)].add(record.trajectory_id)

    def marked(event: Event) -> Event:
        return event.model_copy(update={"shared": True}) if len(users[_measurement(event)]) > 1 else event

    return [record.model_copy(update={"events": [marked(event) for event in record.events]}) for record in records]


def _measurement(event: Event) -> tuple[Any, ...]:
    return event.tool, event.cpu_ms, event.cpu_mem_mb, event.price_usd


def _logged(record: Trajectory) -> Trajectory:
    ids = {"trajectory_id": record.trajectory_id.removesuffix("-00") + "-log", "dataset": "catp-bench/logged"}
    return record.model_copy(update=ids)


def content_digest(records: Iterable[Trajectory]) -> str:
    """Return a SHA-256 of what a rebuild gives again: everything but prices, times, memory and the machine."""
    digest = hashlib.sha256()
    for record in records:
        data = record.model_dump(mode="json", by_alias=True, exclude={"objective", "provenance"})
        for event in data["events"]:
            for name in _MEASURED:
                del event[name]
        for name in ("price_usd", "latency_ms", "serial_ms"):
            del data["outcome"][name]
        digest.update(json.dumps(data, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def price_tables(tools: Iterable[str], seed: int) -> dict[str, list[dict[str, Any]]]:
    """Return other price lists, for training and held out: each multiplies every tool's price by its own factor.

    Factors are log-uniform in [0.2, 5].
    """
    random = np.random.default_rng([seed, 23])
    names = sorted(tools)

    def table(name: str) -> dict[str, Any]:
        factors = np.exp(random.uniform(np.log(_LOWEST), np.log(_HIGHEST), len(names)))
        return {"name": name, "factors": {tool: round(float(f), 3) for tool, f in zip(names, factors, strict=True)}}

    return {side: [table(f"{side}-{number + 1}") for number in range(count)] for side, count in _TABLES.items()}


def _splits(records: Iterable[Trajectory]) -> dict[str, Any]:
    """Which unit is on which side of which split, for readers without the records."""
    tasks: dict[str, set[str]] = defaultdict(set)
    inputs: dict[str, set[str]] = defaultdict(set)
    phrasing: dict[str, set[str]] = defaultdict(set)
    for record in records:
        if record.split is not None:
            tasks[record.split.name].add(record.group)
            inputs[str(record.split.inputs)].add(record.candidate_set)
            phrasing[str(record.split.phrasing)].update((record.request.template or "").split("+"))

    def lists(sides: Mapping[str, set[str]]) -> dict[str, list[str]]:
        return {side: sorted(units) for side, units in sorted(sides.items())}

    return {
        "schema": "catp.splits/1",
        "tasks": {"unit": "group", **lists(tasks)},
        "inputs": {"unit": "candidate_set", **lists(inputs)},
        "phrasing": {"unit": "pattern of the request", **lists(phrasing)},
        "tools": {"unit": "tool", "held_out": list(HELD_OUT_TOOLS)},
        "prices": {"unit": "price table", "file": "prices.json"},
    }
