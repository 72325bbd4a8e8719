"""Where a SQLite file may lie: not on a network file system, whose locks do not keep two writers apart."""

import re
from pathlib import Path

from catp.store.errors import StoreError

__all__ = ["refuse_network", "system_mounts"]

_NETWORK = re.compile(r"nfs\d*|cifs|smb\w*|ncpfs|afs|9p|ceph|glusterfs|lustre|gpfs|beegfs|davfs|sshfs|fuse\..+")
_LOCAL_FUSE = frozenset({"fuse.fuse-overlayfs", "fuse.lxcfs", "fuse.ntfs-3g", "fuse.exfat"})


def system_mounts() -> str:
    """The mount table of this machine, empty where there is none to read."""
    try:
        return Path("/proc/mounts").read_text(errors="replace")
    except OSError:
        return ""


def refuse_network(path: Path, mounts: str) -> None:
    """Raise `StoreError` if `path` lies on a network file system; `mounts` has the form of `/proc/mounts`."""
    found = _mount(path.resolve(), mounts)
    if found is None:
        return
    point, kind = found
    if _NETWORK.fullmatch(kind) and kind not in _LOCAL_FUSE:
        raise StoreError(
            f"run store {path} would lie on {point}, a network file system ({kind}): SQLite cannot lock files there "
            "and would lose runs. Choose a local file with --store, or a PostgreSQL server, which several machines can "
            "share: --store postgresql://user@host/database"
        )


def _mount(path: Path, mounts: str) -> tuple[str, str] | None:
    """The innermost mount that holds `path`, and its kind; of two on one point, the later one hides the other."""
    best: tuple[str, str] | None = None
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[1])  # blanks are written as \040
        inside = path == Path(point) or Path(point) in path.parents
        if inside and (best is None or len(point) >= len(best[0])):
            best = point, fields[2]
    return best
