"""Where training examples come from: shipped benchmarks by name, and trajectory files, as cases with a digest.

train   sides of the split named in the configuration
val     tasks on the side `val`, and inputs on the side `val` of the tasks learned from; never an input of `test`
"""

import hashlib
import importlib.resources
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Literal, TypeAlias

from catp.planlang.vocabulary import Vocabulary
from catp.planners.protocol import PlanRequest
from catp.tools.catalogue import Catalogue
from catp.training.bench.joins import bench_catalogue
from catp.training.bench.tasks import FOLDER, WarmEstimator, load_tasks
from catp.training.caorl.cases import Case, CaseMaker
from catp.training.caorl.config import DataConfig
from catp.training.data.files import data_files, read
from catp.training.data.trajectory import Split, Trajectory, nano

__all__ = ["Side", "bench_requests", "load_cases", "on_side"]

Side: TypeAlias = Literal["train", "val"]


def load_cases(
    config: DataConfig, vocabulary: Vocabulary, side: Side, progress: Callable[[str], None] = lambda text: None
) -> tuple[list[Case], dict[str, str]]:
    """Return the cases of one side, and the SHA-256 of each data file by name.

    Raises:
        ValueError: nothing is on this side, or data cannot be learned from.
        OSError: a file is not there.
    """
    cases: list[Case] = []
    digests: dict[str, str] = {}
    for name in config.paths:
        files = _files(name)
        digests |= {f"{name}/{file.parent.name}/{file.name}": _digest(file) for file in files}
        records = (record for file in files for record in read(file) if on_side(record.split, config, side))
        room = None if config.limit is None else max(0, config.limit - len(cases))
        cases += islice(_bench(records, config, vocabulary, progress), room)
    if not cases:
        raise ValueError(
            f"nothing to learn from on the side {side!r} of {', '.join(config.paths)}: no record has "
            f"split.name in {list(config.task_split)}, split.inputs in {list(config.input_split)}, split.phrasing in "
            f"{list(config.phrasing_split)}; see catp data stats, and catp data split to make a split"
        )
    return cases, digests


def on_side(split: Split | None, config: DataConfig, side: Side) -> bool:
    """Whether a record with this split belongs to a side; a finer split that a record does not have never excludes."""
    if split is None:
        return side == "train"
    if side == "train":
        return (
            split.name in config.task_split
            and split.inputs in (None, *config.input_split)
            and split.phrasing in (None, *config.phrasing_split)
        )
    if split.inputs == "test":
        return False
    return split.name == "val" or (split.name in config.task_split and split.inputs == "val")


def bench_requests(config: DataConfig) -> Callable[[Trajectory], PlanRequest | None]:
    """Return what finds the request of a record of CATP-Bench, None if there is none, on the tools that are learned."""
    tasks = load_tasks()
    whole = bench_catalogue()
    catalogue = Catalogue([spec for spec in whole if spec.name not in config.without_tools], whole.profiles)
    view, estimator = catalogue.view(), WarmEstimator(catalogue)

    def request_of(record: Trajectory) -> PlanRequest | None:
        task, scale = tasks.get(record.candidate_set), record.objective.price_scale_usd
        if task is None or scale is None:
            return None
        return replace(task.request(catalogue, 0.8, nano(scale)), registry=view, estimator=estimator)

    return request_of


def _bench(
    records: Iterable[Trajectory], config: DataConfig, vocabulary: Vocabulary, progress: Callable[[str], None]
) -> Iterator[Case]:
    maker = CaseMaker(bench_requests(config), vocabulary)
    for number, case in enumerate(maker.cases(records)):
        if number % 100 == 0:
            progress(f"preparing examples: {number} inputs")
        yield case
    for reason, count in sorted(maker.left_out.items()):
        progress(f"left out {count} plans: {reason}")


def _files(name: str) -> Sequence[Path]:
    if name == FOLDER:
        root = importlib.resources.files("catp") / "datasets" / FOLDER / "measured"
        with importlib.resources.as_file(root) as folder:
            return data_files(folder)
    path = Path(name)
    if not path.exists():
        raise FileNotFoundError(f"data.paths: {name} is neither a file or folder nor a shipped data set ({FOLDER})")
    return data_files(path)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
