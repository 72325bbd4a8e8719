"""Where training examples come from: shipped benchmarks by name, and trajectory files, as cases with a digest.

    catp-bench        the shipped benchmark              catp.training.caorl.source_bench
    catp-sim          simulated candidate sets           catp.training.caorl.source_sim
    catp-sim/logged   one simulated plan per input
    a file or folder  of these, or of any other tools    catp.training.caorl.source_files

train   sides of the split named in the configuration
val     tasks on the side `val`, and inputs on the side `val` of the tasks learned from; never an input of `test`
"""

import importlib.resources
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal, TypeAlias

from catp.planlang.vocabulary import Vocabulary
from catp.training.bench.tasks import FOLDER, load_tasks
from catp.training.caorl.cases import Case, CaseMaker
from catp.training.caorl.config import DataConfig
from catp.training.caorl.source_bench import bench_requests
from catp.training.caorl.source_files import FileRequests
from catp.training.caorl.source_sim import SimRequests
from catp.training.data.files import data_files, read
from catp.training.data.trajectory import Split, Trajectory
from catp.training.digest import file_digest

__all__ = ["SIM", "Side", "case_maker", "load_cases", "on_side"]

SIM = "catp-sim"
"""Name of the shipped simulated data."""

Side: TypeAlias = Literal["train", "val"]


def load_cases(
    config: DataConfig, vocabulary: Vocabulary, side: Side, progress: Callable[[str], None] = lambda text: None
) -> tuple[list[Case], dict[str, str]]:
    """Return the cases of one side, and the SHA-256 of each data file that they were made from, by name.

    Raises:
        ValueError: nothing is on this side, or data cannot be learned from.
        OSError: a file is not there.
    """
    cases: list[Case] = []
    left_out: Counter[str] = Counter()
    digests: dict[str, str] = {}
    for name in config.paths:
        files = _files(name)
        room = None if config.limit is None else max(0, config.limit - len(cases))
        maker = case_maker(files, config, vocabulary)
        places: dict[str, set[Path]] = defaultdict(set)
        made = list(islice(_told(maker, _on_side(files, config, side, places), progress), room))
        cases += made
        used = {file for case in made for file in places[case.id]}
        if isinstance(maker.request_of, FileRequests):  # which learns prices beyond `limit` too
            used |= maker.request_of.priced_by
        digests |= {f"{name}/{file.parent.name}/{file.name}": file_digest(file) for file in sorted(used)}
        left_out += maker.left_out
        for reason, count in sorted(maker.left_out.items()):
            progress(f"{name}: left out {count} plans: {reason}")
    if not cases and left_out:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in sorted(left_out.items()))
        raise ValueError(
            f"nothing to learn from on the side {side!r} of {', '.join(config.paths)}: all plans were left out: "
            f"{reasons}; see catp data validate"
        )
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
    if "test" in (split.inputs, split.phrasing):
        return False
    return split.name == "val" or (split.name in config.task_split and split.inputs == "val")


def case_maker(files: Sequence[Path], config: DataConfig, vocabulary: Vocabulary) -> CaseMaker:
    """Return what makes cases of the records in these files, by what the first of them is.

    Raises:
        ValueError: a file is not of trajectories, or lacks its toolset.
    """
    first = next((record for file in files for record in read(file)), None)
    if first is not None and first.dataset.startswith(SIM):
        return CaseMaker(SimRequests(vocabulary.tool_slots, config.without_tools), vocabulary)
    if first is not None and first.candidate_set in load_tasks():
        return CaseMaker(bench_requests(config.without_tools), vocabulary)
    requests = FileRequests(
        files, vocabulary.tool_slots, config.without_tools, lambda record: on_side(record.split, config, "train")
    )
    return CaseMaker(requests, vocabulary, requests.plan)


def _on_side(
    files: Iterable[Path], config: DataConfig, side: Side, places: Mapping[str, set[Path]]
) -> Iterator[Trajectory]:
    """The records of a side; notes in `places` which files hold those of a candidate set."""
    for file in files:
        for record in read(file):
            if on_side(record.split, config, side):
                places[record.candidate_set].add(file)
                yield record


def _told(maker: CaseMaker, records: Iterable[Trajectory], progress: Callable[[str], None]) -> Iterator[Case]:
    for number, case in enumerate(maker.cases(records)):
        if number % 100 == 0:
            progress(f"preparing examples: {number} inputs")
        yield case


def _files(name: str) -> Sequence[Path]:
    folders = {FOLDER: f"{FOLDER}/measured", SIM: f"{SIM}/sets", f"{SIM}/logged": f"{SIM}/logged"}
    if name in folders:
        root = importlib.resources.files("catp") / "datasets" / folders[name]
        with importlib.resources.as_file(root) as folder:
            return data_files(folder)
    path = Path(name)
    if not path.exists():
        known = ", ".join(folders)
        raise FileNotFoundError(f"data.paths: {name} is neither a file or folder nor a shipped data set ({known})")
    return data_files(path)
