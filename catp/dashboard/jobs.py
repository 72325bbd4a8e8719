"""Runs that this server drives itself, and requests that must not be carried out twice.

    POST ──> Jobs.start ──> task: agent.run, fork, resume ──first event──> run id ──> 202
                              └── refused, no plan, wrong inputs: the error, as a Problem ──> 409, 422

A run lives in this process. When the server stops, its calls are stopped and its ledger is completed; it is then
`cancelled` because it was interrupted, and can be resumed.
"""

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from catp.dashboard.actions import AgentFor, agent_of
from catp.dashboard.demo_names import DEMO_PROJECTS
from catp.dashboard.problems import Problem, of_error
from catp.inputs import InputError
from catp.planlang.errors import PlanError
from catp.planners.protocol import NothingFits, PlanningFailed
from catp.result import RunRefused, RunResult
from catp.runtime.doubts import InDoubt
from catp.runtime.events import RunEvent
from catp.store.errors import StoreError
from catp.store.store import RunStore

if TYPE_CHECKING:
    from catp.agent import Agent

__all__ = ["MOST_KEYS", "Jobs", "Repeats", "Work", "or_problem", "problem_of"]

Work: TypeAlias = "Callable[[Agent, Callable[[RunEvent], None]], Awaitable[RunResult]]"
"""Runs something with an agent, which tells its events to the second argument."""

T = TypeVar("T")

MOST_KEYS = 1_000
_LONGEST_KEY = 200
_SAVED_S = 5.0

_log = logging.getLogger("catp.dashboard")


def problem_of(error: Exception) -> Problem | None:
    """Return what an error of planning or of starting a run is over HTTP; None if it is a defect."""
    from catp.recorded import CannotResume

    match error:
        case Problem():
            return error
        case RunRefused():
            return Problem(409, "refused", str(error))
        case NothingFits():
            return Problem(409, "nothing-fits", str(error))
        case PlanningFailed():
            return Problem(422, "not-planned", str(error))
        case PlanError():
            return Problem(422, "plan", str(error))
        case InputError():
            return Problem(422, "input", str(error))
        case InDoubt():
            return Problem(409, "in-doubt", str(error))
        case CannotResume():
            return Problem(409, "cannot-go-on", str(error))
        case StoreError():
            return of_error(error)
    return None


async def or_problem(do: Callable[[], Awaitable[T]]) -> T:
    """Await it; what is wrong with the request becomes a `Problem`."""
    try:
        return await do()
    except Exception as error:
        problem = problem_of(error)
        if problem is None:
            raise
        raise problem from error


class Jobs:
    """The runs of one server, all driven by one agent.

    Args:
        store: Where they are saved.
        agent_for: Makes the agent, when it is first needed.
    """

    def __init__(self, store: RunStore, agent_for: AgentFor) -> None:
        self._store = store
        self._agent_for = agent_for
        self._agent: Agent | None = None
        self._demo: Agent | None = None
        self._making = asyncio.Lock()
        self._tasks: set[asyncio.Task[RunResult]] = set()

    async def agent(self, run: str | None = None) -> "Agent":
        """Return the agent that plans and runs here, or that has the tools of a saved run; it is made once."""
        of = None if run is None else await asyncio.to_thread(self._store.find, run)
        async with self._making:
            if of is not None and of.project in DEMO_PROJECTS:
                if self._demo is None:
                    self._demo = await asyncio.to_thread(agent_of, self._store, self._agent_for, of)
                return self._demo
            if self._agent is None:
                self._agent = await asyncio.to_thread(self._agent_for, self._store)
            return self._agent

    async def start(self, work: Work, run: str | None = None) -> str:
        """Start a run, or go on with one, and return its id as soon as it is in the store; it goes on by itself.

        Raises:
            Problem: it did not begin; says why.
        """
        agent = await self.agent(run)
        begun: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def hear(event: RunEvent) -> None:
            if not begun.done():
                begun.set_result(event.run_id)

        async def drive() -> RunResult:
            return await work(agent, hear)

        task = asyncio.create_task(drive(), name="catp-dashboard-run")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        both: set[asyncio.Future[Any]] = {task, begun}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not begun.done():
            return (await self._result(task)).run_id
        await self._saved(begun.result(), task)
        return begun.result()

    async def close(self) -> None:
        """Stop all runs, wait until their ledgers are complete and saved, and let the agent go."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        agents, self._agent, self._demo = (self._agent, self._demo), None, None
        for agent in agents:
            if agent is not None:
                await agent.close()

    async def _result(self, task: "asyncio.Task[RunResult]") -> RunResult:
        try:
            return await task
        except asyncio.CancelledError:
            raise Problem(503, "stopping", "the server is stopping; nothing was started") from None
        except Exception as error:
            problem = problem_of(error)
            if problem is None:
                raise
            raise problem from error

    async def _saved(self, run_id: str, task: "asyncio.Task[RunResult]") -> None:
        """Wait until the run can be looked at: its first events are written in another thread."""
        patience = asyncio.get_running_loop().time() + _SAVED_S
        while not task.done() and asyncio.get_running_loop().time() < patience:
            with suppress(KeyError, StoreError):
                await asyncio.to_thread(self._store.find, run_id)
                return
            await asyncio.sleep(0.02)

    def _ended(self, task: "asyncio.Task[RunResult]") -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception) and problem_of(error) is None:
            _log.error("a run that the dashboard started failed", exc_info=error)


class Repeats:
    """Answers of requests with an `Idempotency-Key`: the latest `most` keys are remembered, in memory.

    The same key with the same request gets the same answer, also while the first is still under way; one that failed
    is tried again.
    """

    def __init__(self, most: int = MOST_KEYS) -> None:
        self._most = most
        self._known: OrderedDict[str, tuple[str, asyncio.Task[Any]]] = OrderedDict()

    async def once(
        self, key: str | None, request: bytes, do: Callable[[], Awaitable[dict[str, Any]]]
    ) -> dict[str, Any]:
        """Return the answer of `do`, or the one that the key had before.

        Raises:
            Problem: 409, the key was used for another request; 422, it is too long.
        """
        if key is None:
            return await do()
        if len(key) > _LONGEST_KEY:
            raise Problem(422, "idempotency-key", f"a key may have {_LONGEST_KEY} characters, not {len(key)}")
        asked = hashlib.sha256(request).hexdigest()
        known = self._known.get(key)
        if known is not None and known[0] != asked:
            raise Problem(409, "idempotency-key", f"the key {key[:60]!r} was used for another request; take a new one")
        if known is None or (known[1].done() and (known[1].cancelled() or known[1].exception() is not None)):
            task = asyncio.ensure_future(_as_coroutine(do))
            self._known[key] = asked, task
            if len(self._known) > self._most:
                self._known.popitem(last=False)
        else:
            task = known[1]
        return dict(await asyncio.shield(task))


async def _as_coroutine(do: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    return await do()
