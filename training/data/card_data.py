"""What a data card is about: the trajectories and tools below a folder."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from catp.planlang.money import Money
from catp.training.data.card_tally import Tally, together
from catp.training.data.files import SUFFIXES, lines, read
from catp.training.data.problems import Problem
from catp.training.data.toolset import ToolInfo, Toolset
from catp.training.data.trajectory import SCHEMA
from catp.training.evaluate.candidates import CandidateSet, candidate_sets

__all__ = ["CardError", "Gathered", "card_files", "gather", "toolset_of"]


class CardError(ValueError):
    """A folder without data, or a README whose blocks cannot be told apart: says where, and what to do."""


@dataclass(frozen=True)
class Gathered:
    """All candidate sets of a folder, and what their records tell.

    `extracts` are files whose records are of inputs that other files have all plans of (one logged plan per input,
    say): name and number of records. They take no part in the figures.
    """

    sets: list[CandidateSet]
    tally: Tally
    extracts: dict[str, int]


def gather(
    folder: Path, *, price_scale: Money | None = None, progress: Callable[[int], None] = lambda done: None
) -> Gathered:
    """Read all trajectories of a folder once; `progress` is told how many records there were.

    Raises:
        CardError: there is no file of trajectories, or no record with a score and a price.
        ValueError: a record is broken (`DataError`) or has no price scale, or a candidate set is in several pieces.
    """
    found: dict[Path, tuple[Tally, list[CandidateSet]]] = {}
    before = 0
    for path in card_files(folder):
        tally, start = Tally(), before
        watched = tally.watch(read(path), lambda done, start=start: progress(start + done))  # type: ignore[misc]
        found[path] = tally, list(candidate_sets(watched, price_scale=price_scale))
        before += tally.records
    extracts = _extracts({path: sets for path, (_, sets) in found.items()})
    kept = [entry for path, entry in found.items() if path not in extracts]
    sets = [one for _, mine in kept for one in mine]
    if not sets:
        raise CardError(f"{folder}: none of {before:,} records has a score and a price: no figures")
    names = {path.relative_to(folder).as_posix(): found[path][0].records for path in sorted(extracts)}
    return Gathered(sets, together(tally for tally, _ in kept), names)


def card_files(folder: Path) -> list[Path]:
    """Return the files of trajectories in a folder and below, in name order.

    Other JSONL files are passed over, and so is a Parquet file beside a JSONL file of the same name: it holds the same.

    Raises:
        CardError: there is none.
    """
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.name.endswith(SUFFIXES) and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    names = {_stem(path) for path in found if path.suffix != ".parquet"}
    kept = [path for path in found if path.suffix != ".parquet" or _stem(path) not in names]
    kept = [path for path in kept if _holds_trajectories(path)]
    if not kept:
        raise CardError(f"{folder}: no file of trajectories in here; they end in {', '.join(SUFFIXES)}")
    return kept


def toolset_of(folder: Path) -> Mapping[str, ToolInfo]:
    """Return the tools of all toolset files in a folder and below, by name; raise `ValueError` for a broken one.

    Such files are called `toolset.json` or the like, or lie in a folder `toolsets`.
    """
    found: dict[str, ToolInfo] = {}
    for path in sorted(folder.rglob("*.json")):
        if "toolset" in path.name or path.parent.name == "toolsets":
            found.update(Toolset.load(path).by_name)
    return found


def _extracts(found: Mapping[Path, list[CandidateSet]]) -> set[Path]:
    """Return the files whose every set is in another file with more plans.

    Raises:
        ValueError: a set is in two files otherwise.
    """
    sizes: dict[str, list[tuple[int, Path]]] = {}
    for path, sets in found.items():
        for one in sets:
            sizes.setdefault(one.id, []).append((len(one), path))
    most = {name: max(size for size, _ in places) for name, places in sizes.items()}
    extracts = {
        path
        for path, sets in found.items()
        if sets and all(len(sizes[one.id]) > 1 for one in sets) and all(len(one) <= most[one.id] for one in sets)
        and any(len(one) < most[one.id] for one in sets)
    }  # fmt: skip
    for name, places in sizes.items():
        whole = [path for _, path in places if path not in extracts]
        if len(whole) > 1:
            raise ValueError(
                f"candidate set {name!r} is in {whole[0]} and in {whole[1]}: put its records into one file"
            )
    return extracts


def _holds_trajectories(path: Path) -> bool:
    """Whether the first line says so; of a damaged file, yes, so that reading it says what is wrong."""
    first = next((item for _, item in lines(path)), None)
    return isinstance(first, Problem) or (first is not None and first.get("schema") == SCHEMA)


def _stem(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".gz").rpartition(".")[0])
