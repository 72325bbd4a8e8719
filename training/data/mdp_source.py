"""Which tools some records could use: what an export of the MDP needs and a list of records does not hold."""

from collections.abc import Iterable
from pathlib import Path

from catp.training.data import opencatp_tools
from catp.training.data.toolset import Toolset
from catp.training.data.trajectory import Trajectory

__all__ = ["toolset_for"]


def toolset_for(records: Iterable[Trajectory], path: Path) -> Toolset | None:
    """Return the toolset that all records name, if it is OpenCATP's or lies beside `path`.

    Files are looked for as `toolsets/<id>.json` and `toolset.json` in the folder of `path`; None if there is none with
    that id, or records name several.
    """
    ids = {record.toolset if isinstance(record.toolset, str) else record.toolset.id for record in records}
    if len(ids) != 1:
        return None
    wanted = ids.pop()
    for file in (path.parent / "toolsets" / f"{wanted}.json", path.parent / "toolset.json"):
        if file.is_file():
            found = Toolset.load(file)
            if found.id == wanted:
                return found
    opencatp = opencatp_tools.toolset()
    return opencatp if wanted == opencatp.id else None
