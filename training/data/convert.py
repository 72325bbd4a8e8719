"""Which foreign formats can be read and written, and by whom; modules are imported only when their format is used.

A reader is called with a path and yields trajectories, those of `GOLD` yield `catp.gold/1` records: plans that nobody
ran, which can only be written as JSONL. A writer is called with a path and trajectories.
"""

from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from catp.training.data.files import SUFFIXES, read, write
from catp.training.data.toolset import Toolset
from catp.training.data.trajectory import Trajectory

__all__ = ["GOLD", "READERS", "WRITERS", "reader", "writer"]

READERS: dict[str, str] = {
    "opencatp": "catp.training.data.opencatp:read",
    "taskbench": "catp.training.data.taskbench:read",
    "nestful": "catp.training.data.nestful:read",
}
"""Formats that can be read, besides our own."""

WRITERS: dict[str, str] = {
    "d3rlpy": "catp.training.data.d3rlpy_hdf5:write",
    "minari": "catp.training.data.minari:write",
}
"""Formats that can be written, besides our own."""

GOLD = frozenset({"taskbench", "nestful"})
"""Formats that hold plans without executions."""

_BY_SUFFIX = {".h5": "d3rlpy", ".hdf5": "d3rlpy", ".pkl": "opencatp"}


def reader(path: Path, format: str | None = None) -> Callable[[Path], Iterable[Trajectory]]:
    """Return what reads `path`: by `format` if one is given, else by suffix; raise `ValueError` if nothing does."""
    found = _named(path, format, READERS, "read")
    return read if found is None else found


def writer(
    path: Path, format: str | None = None, *, toolset: Toolset | None = None
) -> Callable[[Path, Iterable[Trajectory]], Any]:
    """Return what writes `path`: by `format` if one is given, else by suffix.

    Foreign formats may need the `toolset`; by default they look for it beside `path`.

    Raises:
        ValueError: nothing writes this, or a toolset is given for our own format, which has no use for it.
    """
    found = _named(path, format, WRITERS, "written")
    if found is None and toolset is not None:
        raise ValueError(f"a toolset is for {' and '.join(WRITERS)}, not for {str(path)!r}")
    return write if found is None else partial(found, toolset=toolset)


def _named(path: Path, format: str | None, known: dict[str, str], done: str) -> Any:
    if format is None and (path.name.endswith(SUFFIXES) or path.is_dir()):
        return None
    name = format or _BY_SUFFIX.get(path.suffix)
    if name not in known:
        given = f"format {format!r}" if format else f"the suffix of {str(path)!r}"
        formats = ", ".join([*known, *SUFFIXES])
        raise ValueError(f"{given} cannot be {done}; known are: {formats}")
    module, function = known[name].split(":")
    return getattr(import_module(module), function)
