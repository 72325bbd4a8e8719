"""Tools on the machines of a Ray cluster: the same calls, metered and billed the same, elsewhere.

    agent = Agent(tools, pools={"gpu": RayPool("ray-head:6379", num_gpus=1), "default": RayPool()})

A pool has places: Ray actors that reserve what the pool asks for and run one call at a time. See `docs/ray.md`.
"""

import asyncio
import math
import pickle
import weakref
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from typing import Any, NoReturn

from catp.tools import frames
from catp.tools.adapters.ray_actor import Answer, Done, RemoteCall, Stopped
from catp.tools.adapters.ray_cluster import PoolError, Resources, cause, forget, in_ray_thread
from catp.tools.adapters.ray_place import Place
from catp.tools.adapters.ray_places import Places
from catp.tools.backends import AsyncBackend, ProcessBackend, ThreadBackend, nobody_asked
from catp.tools.contract import Contract
from catp.tools.errors import ToolCrashed, ToolError, ToolFailed, ToolTimeout, ToolUnavailable
from catp.tools.spec import BackendResult, ToolSpec
from catp.tools.target import Target
from catp.tools.usage import Usage, carrying
from catp.tools.workers import Job

__all__ = ["RayPool"]

_LATE_S = 2.0
"""How much longer than its timeout a call may take to be heard of again before its place is given up."""
_STOP_S = 1.5
"""How long a stopped call may take to say what it used; shorter than the grace the runtime gives a call."""

_numbers = count(1)


class RayPool:
    """Runs functions of tools on a Ray cluster. Connects at the first call.

    Args:
        address: `"host:port"` or `"ray://host:port"` of a cluster, `"auto"` for the one this machine belongs to; None
            for the cluster this process is connected to or `RAY_ADDRESS` names, else a new one on this machine.
        num_cpus: CPUs one call reserves, and threads its libraries use.
        num_gpus: GPUs one call reserves; it sees no others.
        memory_mb: Memory one call reserves and may allocate.
        resources: Other resources one call reserves, such as `{"licence": 1}`.
        max_calls: Calls at once. By default as many as the nodes that are there can hold; give a number that is
            higher to have an autoscaler add nodes.
        runtime_env: Ray's runtime environment for the calls: code, packages, environment variables.
        idle_s: How long a place keeps its resources and loaded tools for the next call.
        patience_s: How long to wait for a node when none that is there can offer what is reserved.

    Raises:
        ModuleNotFoundError: Ray is not installed.
        ValueError: An amount is impossible.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        num_cpus: float = 1,
        num_gpus: float = 0,
        memory_mb: int | None = None,
        resources: Mapping[str, float] | None = None,
        max_calls: int | None = None,
        runtime_env: Mapping[str, Any] | None = None,
        idle_s: float = 30.0,
        patience_s: float = 30.0,
    ) -> None:
        try:
            import ray  # noqa: F401  now, not at the first call: loading its library holds up every event loop for 0.3 s
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("RayPool needs Ray: pip install 'catp[ray]'", name="ray") from error
        wanted = Resources(num_cpus, num_gpus, memory_mb, dict(resources or {}))
        _check_amounts(
            num_cpus=num_cpus, num_gpus=num_gpus, memory_mb=memory_mb or 0, idle_s=idle_s, patience_s=patience_s,
            **wanted.others,
        )  # fmt: skip
        if max_calls is not None and max_calls < 1:
            raise ValueError(f"max_calls must be at least 1, got {max_calls!r}")
        self._places = Places(
            address, wanted, most=max_calls, idle_s=idle_s, patience_s=patience_s, runtime_env=runtime_env
        )
        self._backends: dict[int, _RayBackend] = {}

    def backend(self, spec: ToolSpec) -> "_RayBackend":
        """Return what runs calls of this tool in the pool.

        Raises `ToolUnavailable` if it is no function of a module: a program, a service, a function inside another one.
        """
        known = self._backends.get(id(spec))
        if known is None:
            known = self._backends[id(spec)] = _RayBackend(self._places, *_function_of(spec), spec.unavailable)
            weakref.finalize(spec, self._backends.pop, id(spec), None).atexit = False
        return known

    async def close(self) -> None:
        """Stop what runs and give the resources back. The process stays connected to Ray until it ends."""
        await self._places.close()


class _RayBackend:
    """One tool in one pool."""

    def __init__(self, places: Places, contract: Contract, job: Job, check: Callable[[], str | None]) -> None:
        self._places, self._contract, self._job, self._check = places, contract, job, check
        self._shipped: bytes | None = None

    async def call(self, args: Mapping[str, Any], *, timeout: float) -> BackendResult:
        return await self.call_when_free(args, timeout=timeout, began=nobody_asked)

    async def call_when_free(
        self, args: Mapping[str, Any], *, timeout: float, began: Callable[[], Awaitable[None]]
    ) -> BackendResult:
        tool, family = self._job.tool, self._job.family
        self._contract.check_args(args)
        try:
            place = await self._places.take(family)
        except PoolError as error:
            _refuse(tool, error)
        try:
            call = self._packed(args, timeout)
            await began()
            answer = await _run(place, call)
        finally:
            self._places.give_back(place, family)
        if isinstance(answer, ToolError):
            raise answer
        if isinstance(answer, Stopped):
            raise ToolCrashed(tool, f"was stopped on {place.where} by somebody else", usage=answer.usage)
        return self._unpacked(answer)

    def warm(self) -> bool:
        """True if a place that has this tool loaded waits for a call."""
        return self._places.warm(self._job.family)

    def places(self) -> int:
        """How many calls can run at once, each in a place of its own."""
        return self._places.most

    async def close(self) -> None:
        """Nothing of its own: the pool ends its places."""

    def _packed(self, args: Mapping[str, Any], timeout: float) -> RemoteCall:
        try:
            chunks, buffers, size = frames.pack(args)
        except Exception as error:
            message = f"an argument cannot be sent to another machine: {error}"
            raise ToolFailed(self._job.tool, message, error_type=type(error).__name__, billing="nothing") from None
        parts = [pickle.PickleBuffer(part) for part in (*chunks, *buffers)]
        return RemoteCall(next(_numbers), self._job, self._pickled_check(), len(chunks), parts, size, timeout)

    def _pickled_check(self) -> bytes | None:
        if self._shipped is None:
            from ray import cloudpickle

            try:
                self._shipped = cloudpickle.dumps(self._check)  # type: ignore[no-untyped-call]  # Ray's own copy of it
            except Exception:  # then it is not asked: loading the tool shows what is missing
                self._shipped = b""
        return self._shipped or None

    def _unpacked(self, done: Done) -> BackendResult:
        try:
            value = frames.read_body(done.payload, done.sizes)
        except Exception as error:
            message = f"its result cannot be read here: {type(error).__name__}: {error}"
            raise ToolFailed(self._job.tool, message, usage=done.usage, error_type=type(error).__name__) from None
        return BackendResult(self._contract.check_result(value, done.usage), done.usage)


async def _run(place: Place, call: RemoteCall) -> Answer:
    """Run one call in a place that is free. A place that does not behave is killed.

    When cancelled, the call is stopped there before this returns, and the `CancelledError` carries its usage.
    """
    answering = asyncio.ensure_future(_asked(place, call))
    try:
        done, _ = await asyncio.wait({answering}, timeout=call.timeout + _LATE_S)
        if not done:
            raise ToolTimeout(call.job.tool, f"stopped after {call.timeout:g} s; {place.where} did not answer")
        return answering.result()
    except asyncio.CancelledError as stopped:
        usage = await _stopped(place, call, answering)
        if usage is not None:
            carrying(stopped, usage)
        raise
    except ToolError:
        raise
    except Exception as error:
        place.kill()
        raise ToolCrashed(call.job.tool, f"its place on {place.where} was lost: {cause(error)}") from None
    finally:
        if not answering.done():
            place.kill()
            answering.add_done_callback(forget)


async def _asked(place: Place, call: RemoteCall) -> Answer:
    reference = await in_ray_thread(lambda: place.actor.call.remote(call))
    answer: Answer = await reference
    return answer


async def _stopped(place: Place, call: RemoteCall, answering: "asyncio.Future[Answer]") -> Usage | None:
    """Have a running call killed; return what it had used, or None if its place does not say so in time."""
    await in_ray_thread(lambda: place.actor.stop.remote(call.number))
    done, _ = await asyncio.wait({answering}, timeout=_STOP_S)
    if not done or answering.exception() is not None:
        place.kill()
        return None
    return answering.result().usage


def _refuse(tool: str, error: PoolError) -> NoReturn:
    if error.permanent:
        raise ToolUnavailable(tool, str(error), billing="nothing") from None
    raise ToolFailed(tool, str(error), error_type="PoolError", billing="nothing") from None


def _function_of(spec: ToolSpec) -> tuple[Contract, Job]:
    backend = spec.backend
    if isinstance(backend, ProcessBackend) and backend.contract is not None:
        return backend.contract, backend.job
    if isinstance(backend, AsyncBackend | ThreadBackend):
        try:
            return backend.contract, Job(spec.name, spec.name, Target.of(backend.function))
        except ValueError as error:
            raise ToolUnavailable(spec.name, f"cannot run on Ray: {error}; move it to module level") from None
    raise ToolUnavailable(spec.name, "cannot run on Ray: it is no function, but a program or a service of its own")


def _check_amounts(**amounts: float) -> None:
    for name, amount in amounts.items():
        if not (math.isfinite(amount) and amount >= 0):
            raise ValueError(f"{name} must be a number of at least 0, got {amount!r}")
