"""The planner that `catp` uses unless told otherwise: the learned policy, or search where it cannot be loaded.

    an engine runs (`catp serve`) ── asked over HTTP ── fails ──┐
    none does ─────────────────────── loaded in this process <──┘── cannot be loaded ── search, with a note

The policy lives in `catp.training`, which nothing here imports: it is found by name, and only when the first plan is
asked for, because loading torch takes seconds that `catp --help` and runs of a given plan should not pay.
"""

import asyncio
import importlib
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from catp.planlang.nodes import Plan
from catp.planners.protocol import Planner, PlanRequest, Proposal
from catp.planners.repair import RepairRequest, repair_by_search
from catp.planners.search import SearchPlanner
from catp.planners.terms import Bounds
from catp.planners.writer import Decided

if TYPE_CHECKING:
    from catp.planners.policy import PolicyPlanner

__all__ = ["DeferredPolicy", "ServedOrLocal", "default_planner", "load_policy"]

_WRITERS = "catp.training.policy.writer"


def default_planner(model: str | None = None) -> Planner:
    """Return the planner for `model` (name or folder of a policy; None: the shipped one). Loads nothing yet.

    `openai:MODEL@URL` is a chat model (`ChatPlanner.from_spec`), with search where it fails.

    Raises:
        ValueError: it begins with `openai:` and is no such spec.
    """
    if model is not None and model.startswith("openai:"):
        from catp.planners.chat import ChatPlanner

        return ChatPlanner.from_spec(model, fallback=SearchPlanner())
    return ServedOrLocal(model)


_QUICK = Bounds(max_terms=1_500, max_nodes=5_000)
"""How far the search looks whose plans the policy rates beside its own."""


def load_policy(model: str | None = None, *, device: str = "cpu", threads: int | None = 1) -> "PolicyPlanner":
    """Load a policy and return the planner that asks it; takes seconds.

    A writer may have `kappa` and `margin`, the decision rule that it was tuned with.

    Raises:
        ImportError, OSError, ValueError: the policy cannot be loaded; the message names the fix.
    """
    from catp.planners.policy import PolicyPlanner

    writer = importlib.import_module(_WRITERS).load_writer(model, device=device, threads=threads)
    return PolicyPlanner(
        writer, kappa=getattr(writer, "kappa", 0.0), margin=getattr(writer, "margin", 0.0),
        advice=SearchPlanner(bounds=_QUICK),
    )  # fmt: skip


class DeferredPolicy:
    """The policy planner, loaded in a thread at the first plan; plans by search, and says so, if that fails.

    A failed loading is not tried again: what is missing then is still missing a second later.
    """

    name = "policy"

    def __init__(self, model: str | None = None, *, device: str = "cpu", threads: int | None = 1) -> None:
        self.model = model
        self._device, self._threads = device, threads
        self._loaded: PolicyPlanner | _Noted | None = None
        self._lock = threading.Lock()

    async def plan(self, request: PlanRequest) -> Proposal:
        """Plan with the policy, or by search with a first note that says why."""
        return await (await asyncio.to_thread(self._planner)).plan(request)

    async def plan_aloud(self, request: PlanRequest, decided: Decided) -> Proposal:
        """As `plan`; `decided` is told of steps as the policy decides them. Search tells of none."""
        return await (await asyncio.to_thread(self._planner)).plan_aloud(request, decided)

    async def front(self, request: PlanRequest) -> Proposal:
        """Return the Pareto front of the policy's plans, or of search with a first note that says why."""
        return await (await asyncio.to_thread(self._planner)).front(request)

    async def repair(self, request: RepairRequest) -> tuple[Plan, ...]:
        """Return ways to go on after a failure, best first; see `catp.planners.repair`."""
        return await repair_by_search(request, self.plan)

    def _planner(self) -> "PolicyPlanner | _Noted":
        with self._lock:  # two first plans at once load the policy once
            if self._loaded is None:
                try:
                    self._loaded = load_policy(self.model, device=self._device, threads=self._threads)
                except (ImportError, OSError, ValueError) as error:
                    self._loaded = _Noted(SearchPlanner(), f"policy: {error}; planned by search instead")
                except RuntimeError as error:  # torch's word for a device that is not there or has no memory left
                    reason = f"cannot be loaded ({type(error).__name__}: {error})"
                    self._loaded = _Noted(SearchPlanner(), f"policy: {reason}; planned by search instead")
            return self._loaded


class ServedOrLocal:
    """The policy by the engine that runs, if one does, else in this process; what runs is looked up at each plan.

    Plans that an engine made say so: they are by `served:MODEL`, with its address in the notes. An engine that was
    announced and does not answer is said in a note, too.

    Args:
        model: name or folder of a policy; None: whichever the engine serves, or the shipped one.
    """

    name = "policy"

    def __init__(self, model: str | None = None) -> None:
        self.model = model
        self._local = DeferredPolicy(model)

    async def plan(self, request: PlanRequest) -> Proposal:
        """Plan with the policy, or by search with a first note that says why."""
        return await self._ask(lambda planner: planner.plan(request))

    async def plan_aloud(self, request: PlanRequest, decided: Decided) -> Proposal:
        """As `plan`; `decided` is told of steps as the policy decides them. Search tells of none."""
        return await self._ask(lambda planner: planner.plan_aloud(request, decided))

    async def front(self, request: PlanRequest) -> Proposal:
        """Return the Pareto front of the policy's plans, or of search with a first note that says why."""
        return await self._ask(lambda planner: planner.front(request))

    async def repair(self, request: RepairRequest) -> tuple[Plan, ...]:
        """Return ways to go on after a failure, best first; see `catp.planners.repair`."""
        return await repair_by_search(request, self.plan)

    async def _ask(self, ask: "Callable[[PolicyPlanner | DeferredPolicy], Awaitable[Proposal]]") -> Proposal:
        from catp.planners.policy import PolicyPlanner
        from catp.planners.served import ServedWriter, find_engine, known_engine

        running = await asyncio.to_thread(find_engine, self.model)
        if running is None:
            found, known = await ask(self._local), known_engine()
            if known is None:
                return found
            note = f"the engine at {known.url} is not ready (or gone), or serves another model: planned in this process"
            return replace(found, notes=(*found.notes, note))
        planner = PolicyPlanner(
            ServedWriter(running), self._local, kappa=running.kappa, margin=running.margin,
            advice=SearchPlanner(bounds=_QUICK),
        )  # fmt: skip
        found = await ask(planner)
        if found.by:  # another planner stood in, and the first note says why
            return found
        return replace(
            found, by=f"served:{running.model}", notes=(*found.notes, f"planned by the engine at {running.url}")
        )


class _Noted:
    """Search whose every proposal starts with the same note."""

    def __init__(self, planner: SearchPlanner, note: str) -> None:
        self.name = planner.name
        self._planner, self._note = planner, note

    async def plan(self, request: PlanRequest) -> Proposal:
        return self._noted(await self._planner.plan(request))

    async def plan_aloud(self, request: PlanRequest, decided: Decided) -> Proposal:
        return await self.plan(request)

    async def front(self, request: PlanRequest) -> Proposal:
        return self._noted(await self._planner.front(request))

    def _noted(self, found: Proposal) -> Proposal:
        return replace(found, notes=(self._note, *found.notes), by=found.by or self.name)
