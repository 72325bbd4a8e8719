"""The learned policy among the planners that are measured: what it is shown of data in files, and what it saw before.

A policy is not fitted anew for a protocol, so a protocol holds out nothing that the policy was trained on. What that
was stands in its manifest: the data, the sides of the split, and the tools left out.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from catp.training.bench.tasks import FOLDER, load_tasks
from catp.training.caorl.sources import SIM, on_side
from catp.training.data.files import data_files, read
from catp.training.data.trajectory import Split
from catp.training.digest import file_digest
from catp.training.evaluate.protocols import folds
from catp.training.policy.manifest import Manifest, read_manifest
from catp.training.policy.models import default_model, find_model

if TYPE_CHECKING:
    from catp.training.caorl.source_files import FileRequests
    from catp.training.evaluate.candidates import CandidateSet

__all__ = ["PolicyFiles", "manifest_of", "policy_files", "seen_before"]

PolicyFiles: TypeAlias = "Callable[[int], FileRequests | None]"
"""Gives the requests and plans of data in files to a policy with so many tool slots."""


def policy_files(path: Path, sets: Sequence["CandidateSet"], toolset: Path | None = None) -> PolicyFiles:
    """Return what shows a policy the sets of a file or folder: nothing for CATP-Bench and catp-sim, which it knows.

    Args:
        path: the file or folder.
        sets: of one data set in it.
        toolset: the tools of its records; else looked for beside the file.
    """
    first = sets[0]

    @cache
    def requests(tool_slots: int) -> "FileRequests | None":
        from catp.training.caorl.source_files import FileRequests

        if first.id in load_tasks() or _family(first.dataset) == SIM:
            return None
        return FileRequests(data_files(path), tool_slots, toolset=toolset)

    return requests


def manifest_of(model: str | None) -> Manifest:
    """Return the manifest of a policy by name or folder, of the default one for None.

    Raises:
        OSError, ValueError: there is no such policy, or its manifest cannot be read.
    """
    folder = default_model() if model is None else find_model(model)
    if folder is None:
        raise FileNotFoundError("no policy is installed; train one with catp train, or name a folder")
    return read_manifest(folder)


def seen_before(
    name: str, manifest: Manifest, path: Path, sets: Sequence["CandidateSet"], protocol: str, seed: int,
    tools: Sequence[Collection[str]] | None,
) -> Iterator[str]:  # fmt: skip
    """Yield a warning for everything that a protocol holds out though the policy was trained on it.

    Args:
        name: of the planner, as it was given.
        manifest: of the policy.
        path: the data.
        sets: of one data set in it.
        protocol: what is held out.
        seed: of the folds.
        tools: for `tools`, as for `folds`.

    Raises:
        ValueError: the sets do not suit the protocol.
    """
    data = manifest.config.data
    learned = _learned(manifest, path, sets)
    if not learned:
        return
    parts = folds(sets, protocol, seed=seed, tools=tools)
    judged = {one.id for fold in parts for one in fold.test}
    seen = len(judged & learned)
    if seen:
        yield (
            f"{name}: {seen:,} of the {len(judged):,} inputs that it is judged on under protocol {protocol} are ones "
            f"it was trained on ({', '.join(data.paths)}), so it looks better than it is; --protocol split, inputs and "
            "phrasing hold out what it has not seen"
        )
    if protocol == "tools":
        offered = {tool for one in sets if one.id in learned for option in one.options for tool in option.tools}
        held = {tool for fold in parts for tool in _held_out(fold.train, sets)}
        known = sorted(held & offered - set(data.without_tools))
        if known:
            yield (
                f"{name}: it was trained with plans that use {len(known)} of the {len(held)} tools held out "
                f"({', '.join(known)}), so this says nothing of new tools; train one with data.without_tools"
            )


def _held_out(train: Sequence["CandidateSet"], sets: Sequence["CandidateSet"]) -> set[str]:
    """The tools that the learning side of a fold knows nothing of."""
    left = {tool for one in train for option in one.options for tool in option.tools}
    return {tool for one in sets for option in one.options for tool in option.tools} - left


def _learned(manifest: Manifest, path: Path, sets: Sequence["CandidateSet"]) -> set[str]:
    """The sets that the policy was trained on: in a shipped data set or a file that its manifest names, by side."""
    config = manifest.config.data
    shipped = {_family(name) for name in config.paths} & {FOLDER, SIM}
    known = {one.id for one in sets if _family(one.dataset) in shipped}
    digests = set(manifest.data.values())
    for file in data_files(path) if digests and len(known) < len(sets) else ():
        if file_digest(file) in digests:
            known |= {record.candidate_set for record in read(file)}
    return {one.id for one in sets if one.id in known and on_side(_split(one), config, "train")}


def _split(one: "CandidateSet") -> Split | None:
    return Split.model_validate(dict(one.split)) if one.split else None


def _family(name: str) -> str:
    return name.partition("/")[0]
