"""This process's connection to Ray, and everything of Ray that blocks, done by one thread that never ends.

`ray.init` takes seconds, so it cannot run in an event loop. Nor can it run in a thread of a pool: the processes Ray
starts are killed when the *thread* that started them ends (`PR_SET_PDEATHSIG`). In a thread of its own it also leaves
the program's SIGTERM handler alone, which it would replace in the main thread.
"""

import asyncio
import logging
import os
import queue
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

__all__ = [
    "PoolError",
    "Resources",
    "capacity",
    "cause",
    "check_connected",
    "connect",
    "forget",
    "in_ray_thread",
    "offers",
    "soon",
]

T = TypeVar("T")

_CONNECT_S = 60.0
_REACH_S = 5.0


class PoolError(Exception):
    """No call can run in the pool now, or (`permanent`) ever. No call has used anything."""

    def __init__(self, message: str, *, permanent: bool) -> None:
        super().__init__(message)
        self.permanent = permanent


@dataclass(frozen=True, slots=True)
class Resources:
    """What one place reserves on a node."""

    cpus: float
    gpus: float
    memory_mb: int | None
    others: Mapping[str, float]

    def wanted(self) -> dict[str, float]:
        """Return the resources by Ray's names; memory in bytes."""
        found = {"CPU": self.cpus, "GPU": self.gpus, "memory": (self.memory_mb or 0) << 20, **self.others}
        return {name: amount for name, amount in found.items() if amount}

    def options(self) -> dict[str, Any]:
        """Return them as options of a Ray actor."""
        memory = {} if self.memory_mb is None else {"memory": self.memory_mb << 20}
        return {"num_cpus": self.cpus, "num_gpus": self.gpus, "resources": dict(self.others), **memory}

    def __str__(self) -> str:
        amounts = {"num_cpus": self.cpus, "num_gpus": self.gpus, "memory_mb": self.memory_mb, **self.others}
        return ", ".join(f"{name}={amount:g}" for name, amount in amounts.items() if amount) or "nothing"


class _RayThread:
    """Runs functions one after the other, in a daemon thread that lives as long as the program."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        threading.Thread(target=self._serve, name="catp-ray", daemon=True).start()

    def submit(self, function: Callable[[], T]) -> "Future[T]":
        future: Future[T] = Future()
        self._jobs.put((future, function))
        return future

    def _serve(self) -> None:
        while True:
            future, function = self._jobs.get()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except Exception as error:
                    future.set_exception(error)
                except BaseException as error:  # Ray gives up with SystemExit, which must end no thread and no loop
                    future.set_exception(RuntimeError(f"Ray gave up: {error!r}"))
            del future, function


_threads: dict[int, _RayThread] = {}


def soon(function: Callable[[], T]) -> "Future[T]":
    """Have the Ray thread of this process call `function`; return its future."""
    thread = _threads.get(os.getpid())
    if thread is None:
        thread = _threads[os.getpid()] = _RayThread()
    return thread.submit(function)


async def in_ray_thread(function: Callable[[], T]) -> T:
    """Call `function` in the Ray thread without blocking the event loop; see `check_connected`."""

    def call() -> T:
        check_connected()
        return function()

    return await asyncio.wrap_future(soon(call))


def check_connected() -> None:
    """Raise `ConnectionError` if somebody ended the connection: Ray would at once open another one, anywhere."""
    import ray

    if not ray.is_initialized():
        raise ConnectionError("the connection to Ray was closed")


def forget(task: "asyncio.Future[Any]") -> None:
    """Take note of the end of something nobody may be waiting for any more, so that nobody complains."""
    if not task.cancelled():
        task.exception()


async def connect(address: str | None) -> None:
    """Connect this process to Ray, if it is not yet. Raises `PoolError` within about a minute at most."""
    connecting = asyncio.wrap_future(soon(lambda: _connect(address)))
    connecting.add_done_callback(forget)
    try:
        async with asyncio.timeout(_CONNECT_S):
            await asyncio.shield(connecting)
    except TimeoutError:
        message = f"Ray on {_name(address)} did not answer within {_CONNECT_S:g} s"
        raise PoolError(message, permanent=False) from None


def _connect(address: str | None) -> None:
    import ray

    if ray.is_initialized():
        _check_same(address)
        return
    given = os.environ.get("RAY_ADDRESS") if address in (None, "auto") else address
    try:
        _reach(given or _noted())
    except PoolError:
        if given or address == "auto":
            raise
        address = "local"  # a cluster on this machine died and left its address behind
    options: dict[str, Any] = {} if "://" in str(address) else {"include_dashboard": False}
    try:
        ray.init(address, logging_level=logging.ERROR, **options)
    except (Exception, SystemExit) as error:
        raise PoolError(f"Ray on {_name(address)} cannot be used: {cause(error)}", permanent=False) from error


def _noted() -> str | None:
    """Return the address of the cluster that was last started on this machine, where Ray looks for it."""
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    try:
        return Path(folder, "ray", "ray_current_cluster").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None


def _reach(address: str | None) -> None:
    """Raise `PoolError` if nobody listens there: Ray would try for minutes and then end the whole program."""
    host, colon, port = (address or "").rpartition("://")[2].rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_S).close()
    except OSError as error:
        message = f"Ray on {address} cannot be reached: {error.strerror or error}; is `ray start --head` running there?"
        raise PoolError(message, permanent=False) from None


def _check_same(address: str | None) -> None:
    import ray

    if address in (None, "auto", "local") or "://" in str(address):
        return
    there = ray.get_runtime_context().gcs_address
    if there != address:
        message = f"this program is connected to Ray at {there}, and can use one cluster only, not also {address}"
        raise PoolError(message, permanent=True)


def _nodes() -> list[dict[str, Any]]:
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # Ray leaves it without annotations
    return [node for node in nodes if node["Alive"]]


def capacity(wanted: Mapping[str, float]) -> int:
    """Return how many places the nodes that are there now could hold if they held nothing else. Blocks."""
    amounts = wanted or {"CPU": 1.0}  # places that reserve nothing are still processes: one per CPU
    return sum(
        min(int(node["Resources"].get(name, 0.0) / amount + 1e-9) for name, amount in amounts.items())
        for node in _nodes()
    )


def offers(names: Mapping[str, float]) -> str:
    """Return in words what each node that is there has of these resources. Blocks."""
    return "; ".join(", ".join(f"{n} {node['Resources'].get(n, 0):g}" for n in names) for node in _nodes()) or "nothing"


def cause(error: BaseException) -> str:
    """Return what an error of Ray says about its cause, without its tables of ids; at most 300 characters."""
    lines = [line.strip() for line in str(error).splitlines()]
    known = ("class_name:", "actor_id:", "pid:", "namespace:", "ip:", "name:")
    text = " ".join(line for line in lines if line and not line.startswith(known)).partition(" Some common causes")[0]
    return f"{text[:300]}…" if len(text) > 300 else text or type(error).__name__


def _name(address: str | None) -> str:
    given = os.environ.get("RAY_ADDRESS") if address in (None, "auto") else address
    return given or "this machine"
