"""Finding the toolset that a record names: the file given, or one beside the data or in its parent folder.

In each folder `toolsets/<id>.json` is looked for, then `toolset.json`.
"""

from collections.abc import Iterator
from pathlib import Path

from catp.training.data.problems import Problem, shown
from catp.training.data.rules_text import Offer
from catp.training.data.toolset import Toolset
from catp.training.data.trajectory import Trajectory

__all__ = ["Toolsets"]


class Toolsets:
    """All toolsets met so far; each file is read once."""

    def __init__(self, given: Path | None = None) -> None:
        self._given = given
        self._read: dict[Path, Toolset | None] = {}
        self._offers: dict[str, Offer | None] = {}
        self.missing: set[str] = set()
        """Ids that no file was found for."""
        if given is not None:
            self._read[given] = Toolset.load(given)

    def offer(self, record: Trajectory, data: Path) -> tuple[Offer | None, list[Problem]]:
        """Return the tools a record of the file `data` could use, None if they are not known, and what is wrong.

        A file that cannot be used is told of once.
        """
        problems: list[Problem] = []
        ref = record.toolset
        id_, sha256 = (ref, None) if isinstance(ref, str) else (ref.id, ref.sha256)
        toolset = self._find(id_, data, problems)
        if toolset is None:
            self.missing.add(id_)
            return None, problems
        field = "toolset" if isinstance(ref, str) else "toolset.id"
        if toolset.id != id_:
            why = f"the toolset file has {toolset.id!r}"
            problems.append(Problem("toolset", field, shown(id_), why, "name its file with --toolset"))
        if sha256 is not None and sha256 != toolset.sha256:
            why = f"the digest of the toolset file is {toolset.sha256}"
            fix = "the tools have changed since: find the old file, or collect anew"
            problems.append(Problem("toolset", "toolset.sha256", shown(sha256), why, fix))
        return self._offer(toolset, problems), problems

    def _find(self, id_: str, data: Path, problems: list[Problem]) -> Toolset | None:
        if self._given is not None:
            return self._read[self._given]
        beside = None
        for path in _places(id_, data):
            found = self._load(path, problems)
            if found is not None and found.id == id_:
                return found
            if found is not None and path.parent == data.absolute().parent:
                beside = found  # a toolset beside the data is meant for it
        return beside

    def _load(self, path: Path, problems: list[Problem]) -> Toolset | None:
        if path not in self._read:
            try:
                self._read[path] = Toolset.load(path) if path.is_file() else None
            except (OSError, ValueError) as error:
                self._read[path] = None
                problems.append(_unusable(error))
        return self._read[path]

    def _offer(self, toolset: Toolset, problems: list[Problem]) -> Offer | None:
        if toolset.sha256 not in self._offers:
            try:
                self._offers[toolset.sha256] = Offer(toolset.view())
            except ValueError as error:
                self._offers[toolset.sha256] = None
                problems.append(_unusable(error))
        return self._offers[toolset.sha256]


def _places(id_: str, data: Path) -> Iterator[Path]:
    parent = data.absolute().parent
    for folder in (parent, parent.parent):
        if not {"/", "\\", "\0"} & set(id_):  # an id is no path
            yield folder / "toolsets" / f"{id_}.json"
        yield folder / "toolset.json"


def _unusable(error: Exception) -> Problem:
    message = str(error).splitlines()[0]
    return Problem("toolset", "toolset", "", f"the toolset file cannot be used: {message}", "mend it")
