"""Who drives a run, so that nobody else does: the process is named in the run's row and shows that it lives.

A process is named `place:pid:start`. The place (host, boot, process-id name space) says whether this process can look
the other one up; if it cannot, the other's heartbeat decides.
"""

import os
import socket
import time
from functools import cache
from pathlib import Path

from sqlalchemy import Connection

from catp.store.errors import RunOwned
from catp.store.statements import execute, query

__all__ = ["HEARTBEAT_S", "STALE_S", "alive", "beat", "claim", "myself", "release"]

HEARTBEAT_S = 5.0
"""How often a process says that it still drives its runs."""

STALE_S = 60.0
"""A process on another machine that was silent for so long is taken for dead."""


@cache
def _place(pid: int) -> str:
    boot, space = _read("/proc/sys/kernel/random/boot_id")[:8], _link("/proc/self/ns/pid")
    return f"{socket.gethostname()}/{boot}/{space}".replace(":", "_")


@cache
def _myself(pid: int) -> str:
    return f"{_place(pid)}:{pid}:{_started(pid)}"


def myself() -> str:
    """The name of this process; a fork has another one."""
    return _myself(os.getpid())


def alive(owner: str | None, heartbeat_ns: int | None, *, now_ns: int | None = None) -> bool:
    """True if the process drives the run: it exists where it can be looked up, else it was heard of a minute ago.

    The clocks of machines that share a store must agree within that minute; one that is ahead is not taken for dead.
    """
    if owner is None:
        return False
    place, pid, start = owner.rsplit(":", 2)
    if place == _place(os.getpid()):
        return _exists(int(pid)) and _started(int(pid)) == start
    now = time.time_ns() if now_ns is None else now_ns
    return heartbeat_ns is not None and now - heartbeat_ns < STALE_S * 1e9


def claim(connection: Connection, run_id: str, *, owner: str | None = None) -> None:
    """Take over a run that nobody drives any more.

    Raises:
        RunOwned: A living process drives it, this one included.
        KeyError: There is no such run.
    """
    lock = " FOR UPDATE" if connection.dialect.name == "postgresql" else ""  # SQLite has one writer anyway
    found = query(connection, f"SELECT owner, heartbeat_ns FROM runs WHERE id = ?{lock}", run_id)
    if not found:
        raise KeyError(f"no run {run_id!r}")
    if alive(found[0].owner, found[0].heartbeat_ns):
        _place_of, pid, _start = found[0].owner.rsplit(":", 2)
        raise RunOwned(
            f"run {run_id} is being driven by process {pid} on {_place_of.split('/')[0]}; wait for it, or end that "
            "process first"
        )
    execute(
        connection,
        "UPDATE runs SET owner = ?, heartbeat_ns = ? WHERE id = ?",
        [(owner or myself(), time.time_ns(), run_id)],
    )
    execute(connection, "DELETE FROM stops WHERE run_id = ?", [(run_id,)])  # meant for whoever drove it before


def release(connection: Connection, run_ids: list[str], *, owner: str | None = None) -> None:
    """Stop driving runs; those that another process has taken over stay with it. Nobody need stop them any more."""
    rows = [(run_id, owner or myself()) for run_id in run_ids]
    execute(connection, "DELETE FROM stops WHERE run_id IN (SELECT id FROM runs WHERE id = ? AND owner = ?)", rows)
    execute(connection, "UPDATE runs SET owner = NULL WHERE id = ? AND owner = ?", rows)


def beat(connection: Connection, run_ids: list[str], *, owner: str | None = None) -> None:
    """Say that this process still drives the runs."""
    rows = [(time.time_ns(), run_id, owner or myself()) for run_id in run_ids]
    execute(connection, "UPDATE runs SET heartbeat_ns = ? WHERE id = ? AND owner = ?", rows)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _state(pid) not in ("Z", "X")  # a zombie has ended; nobody has looked yet


def _started(pid: int) -> str:
    """When the process started, in clock ticks since boot: a new process with an old number started later."""
    fields = _stat(pid)
    return fields[19] if len(fields) > 19 else "0"


def _state(pid: int) -> str:
    fields = _stat(pid)
    return fields[0] if fields else ""


def _stat(pid: int) -> list[str]:
    return _read(f"/proc/{pid}/stat").rpartition(")")[2].split()


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:  # no Linux: process numbers alone must do
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path).strip("pid:[]")
    except OSError:
        return ""
