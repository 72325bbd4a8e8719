"""The policy planner: a learned writer proposes and rates plans, the compiler prices them, a fixed rule decides.

    k cheapest plans ──────────┐
    greedy, sampled, beams ────┴─ valid, wanted, distinct ── compiler ── quality known to the writer ── switch rule
         (PlanWriter)              serves, canonical_plan    price, p95     +- standard deviation        (decide)

The writer is never trusted: every plan passes the checker, the request's own conditions and the hard limits again, and
whatever goes wrong with it (an exception, silence, ratings that are no numbers, opinions too vague to act on) leads to
the fallback, usually exact search, with a first note that says so. Nothing here calls a tool.
"""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from catp.planlang.money import Money, format_usd
from catp.planlang.nodes import Plan
from catp.planners.assess import Assessed, Unusable, assess
from catp.planners.cheapest import Cheap, cheapest_plans
from catp.planners.decide import Decision, Option, candidate, decide, price_scale
from catp.planners.front import spread
from catp.planners.metered import cpu_price
from catp.planners.pricing import priced
from catp.planners.protocol import FrontPlanner, NothingFits, Planner, PlanningFailed, PlanRequest, Proposal
from catp.planners.refusals import check_request
from catp.planners.repair import RepairRequest, repair_by_search
from catp.planners.search import SearchPlanner
from catp.planners.serves import serves
from catp.planners.writer import Decided, Draft, PlanWriter, Unwritable, Usage
from catp.tools.price import PerUnit, total
from catp.tools.usage import Usage as ToolUsage

__all__ = ["GPU_SECOND_USD", "PolicyPlanner"]

GPU_SECOND_USD = "0.0007"
"""Price of a second of a GPU: 2.50 USD an hour, about what an H100 is let for. No tool is priced by GPU time."""

_GPU = PerUnit("gpu_seconds", GPU_SECOND_USD)
_SEARCH = SearchPlanner()

_ADVICE = 4
"""Plans asked of the adviser."""

UNRATED_QUALITY = 0.5
"""Quality of an advised plan that neither its adviser nor the policy can rate."""

T = TypeVar("T")


class PolicyPlanner:
    """Plans with a learned `PlanWriter`; implements `Planner` and never spends on tools.

    Args:
        writer: Writes and rates plans.
        fallback: Plans instead where the writer cannot; None: `PlanningFailed` is raised.
        samples: Plans to sample.
        beams: Width of the beam search, 0 for none.
        cheapest: How many of the cheapest plans are added to the writer's.
        kappa: Standard deviations of quality taken off a plan, and added to the cheapest one, before they are compared.
        margin: Utility by which a plan must beat the cheapest one.
        unsure: Mean standard deviation of quality above which the fallback plans; the default is about that of a policy
            that thinks every difference from -1 to 1 equally likely (an outcome of 0 or 1 alone has up to 0.5).
        patience_s: Seconds to wait for the writer.
        seed: Decides what is sampled: the same request and seed give the same plans.
        advice: A planner whose plans the policy rates beside its own and the cheapest ones.
    """

    name = "policy"

    def __init__(
        self,
        writer: PlanWriter,
        fallback: Planner | None = _SEARCH,
        *,
        samples: int = 4,
        beams: int = 0,
        cheapest: int = 4,
        kappa: float = 0.0,
        margin: float = 0.0,
        unsure: float = 0.55,
        patience_s: float = 60.0,
        seed: int = 0,
        advice: Planner | None = None,
    ) -> None:
        self.writer, self.fallback, self.advice = writer, fallback, advice
        self.samples, self.beams, self.cheapest = samples, beams, cheapest
        self.kappa, self.margin, self.unsure = kappa, margin, unsure
        self.patience_s, self.seed = patience_s, seed
        for name, value in (("samples", samples), ("beams", beams), ("cheapest", cheapest), ("kappa", kappa),
                            ("margin", margin), ("unsure", unsure), ("patience_s", patience_s)):  # fmt: skip
            if not value >= 0:
                raise ValueError(f"{name} must be at least 0, got {value!r}")

    async def plan(self, request: PlanRequest) -> Proposal:
        """Return up to `request.candidates` plans, best first, or raise `PlanningFailed`."""
        return await self._propose(request, lambda ranked, _: ranked[: request.candidates])

    async def plan_aloud(self, request: PlanRequest, decided: Decided) -> Proposal:
        """As `plan`; `decided` is told of the steps that the writer tells of."""
        return await self._propose(request, lambda ranked, _: ranked[: request.candidates], decided=decided)

    async def front(self, request: PlanRequest) -> Proposal:
        """Return plans none of which another beats on price, predicted quality and expected latency, best first.

        If there are more than `request.candidates`, some of those between are left out (see `spread`).
        """
        return await self._propose(request, lambda ranked, count: spread(ranked, _point, count), front=True)

    async def repair(self, request: RepairRequest) -> tuple[Plan, ...]:
        """Return ways to go on after a failure, best first; see `catp.planners.repair`."""
        return await repair_by_search(request, self.plan)

    async def _propose(
        self, request: PlanRequest, choose: Callable[[Sequence[Option], int], Sequence[Option]], *, front: bool = False,
        decided: Decided | None = None,
    ) -> Proposal:  # fmt: skip
        check_request(request)
        cheap, cpu_s = await asyncio.to_thread(_timed, lambda: cheapest_plans(request, self.cheapest))
        advised, advice_price = await self._advised(request)
        cheap = (*cheap, *advised)
        clock = time.process_time if self.writer.device == "cpu" else time.perf_counter
        began = clock()
        usage = Usage()
        try:
            draft = await self._draft(request, cheap, decided)
            usage = _sound(draft.usage)
            assessed, more = await asyncio.to_thread(_timed, lambda: _assessed(draft, cheap, request))
            cpu_s += more
            reason = self._doubt(assessed, len(draft.written))
        except Unusable as error:
            if usage == Usage():  # a writer that failed does not say what it used: at most what the process did
                usage = Usage(seconds=clock() - began)
            return await self._instead(request, str(error), _sum(self._price(usage, cpu_s), advice_price), front)
        price = _sum(self._price(usage, cpu_s), advice_price)
        if reason and (self.fallback is not None or not assessed.options):
            return await self._instead(request, reason, price, front)
        scale = price_scale(assessed.options, request.objective)
        decision = decide(assessed.options, request.objective, scale, kappa=self.kappa, margin=self.margin)
        chosen = tuple(candidate(o, request.objective, scale) for o in choose(decision.ranked, request.candidates))
        notes = self._notes(request, assessed, decision, scale)
        return Proposal(chosen, exact=False, notes=((f"policy: {reason}",) if reason else ()) + notes, price=price)

    async def _advised(self, request: PlanRequest) -> tuple[tuple[Cheap, ...], Money | None]:
        """The adviser's plans and what they cost; none where it finds none: the policy may know better."""
        if self.advice is None:
            return (), Money(0)
        try:
            found = await self.advice.plan(replace(request, candidates=max(request.candidates, _ADVICE)))
        except PlanningFailed as error:
            return (), error.price
        fitting = [(one, priced(one.plan, request)) for one in found.candidates if serves(one.plan, request)]
        plans = tuple(
            Cheap(price, UNRATED_QUALITY if one.quality is None else one.quality, one.quality is not None)
            for one, price in fitting
            if price is not None
        )
        return plans, found.price

    async def _draft(self, request: PlanRequest, cheap: Sequence[Cheap], decided: Decided | None) -> Draft:
        """Ask the writer.

        Raises:
            Unusable: it failed, or did not answer in time.
            PlanningFailed: it says that there is no plan, and the cheapest plans do not prove it wrong.
        """
        shown = [one.priced.plan for one in cheap]
        limit = asyncio.timeout(self.patience_s)
        try:
            async with limit:
                draft = await self.writer.write(
                    request, samples=self.samples, beams=self.beams, shown=shown, seed=self.seed, decided=decided
                )
        except Unwritable as error:
            raise Unusable(str(error)) from error
        except PlanningFailed as error:
            if not cheap:
                raise
            raise Unusable(f"found no plan though there is one ({error})") from error
        except Exception as error:  # whatever a model, a driver or a server can raise
            if limit.expired():
                raise Unusable(f"no answer within {self.patience_s:g} s") from error
            raise Unusable(f"failed with {type(error).__name__}: {error}") from error
        if not isinstance(draft, Draft):
            raise Unusable(f"answered with {type(draft).__name__} instead of a draft")
        return draft

    def _doubt(self, assessed: Assessed, written: int) -> str:
        """Why the policy's answer should not be used, if it should not."""
        if not assessed.written:
            return f"none of the {written} plans it wrote does what is wanted within the limits"
        if assessed.sd > self.unsure:
            return f"unsure (standard deviation of quality {assessed.sd:.2f} on average, above {self.unsure:g})"
        return ""

    async def _instead(self, request: PlanRequest, reason: str, price: Money | None, front: bool) -> Proposal:
        if self.fallback is None:
            objective = request.objective
            failed = PlanningFailed(f"policy: {reason}")
            if objective.budget is not None or objective.deadline_ms is not None:
                failed = NothingFits(f"policy: {reason}", "budget" if objective.budget is not None else "deadline")
            failed.price = price
            raise failed
        try:
            planner = self.fallback
            found = await (planner.front if front and isinstance(planner, FrontPlanner) else planner.plan)(request)
        except PlanningFailed as error:
            error.price = _sum(price, error.price)
            raise
        note = f"policy: {reason}; planned by {self.fallback.name} instead"
        by = found.by or self.fallback.name
        return replace(found, notes=(note, *found.notes), price=_sum(price, found.price), by=by)

    def _price(self, usage: Usage, cpu_s: float) -> Money | None:
        """What planning cost: the CPU time spent here, and the writer's price or its seconds."""
        on_gpu = self.writer.device != "cpu"
        if usage.price is None and not on_gpu:
            cpu_s += usage.seconds
        own = cpu_price(cpu_s * 1e3)
        theirs: Money | None = Money(0)
        if usage.price is not None:
            theirs = usage.price
        elif on_gpu:
            theirs = total(_GPU.charge(ToolUsage(units={"gpu_seconds": usage.seconds})))
        return _sum(own, theirs)

    def _notes(self, request: PlanRequest, assessed: Assessed, decision: Decision, scale: Money) -> tuple[str, ...]:
        notes = []
        best, held = decision.ranked[0], decision.held_back
        if held is not None:
            more = Money(held.priced.expected - best.priced.expected)
            notes.append(
                f"kept the cheapest plan: one for ${format_usd(more)} more has a predicted quality of "
                f"{held.rating.possible:.2f} instead of {best.rating.possible:.2f}, which is not sure enough to pay for"
            )
        if assessed.dropped:
            notes.append(f"{assessed.dropped} plans of the policy were dropped: not what is wanted, or over a limit")
        if assessed.unrated:
            notes.append(
                f"{assessed.unrated} of the cheapest plans could not be rated by the policy: their quality is that of "
                "the tools' profiles"
            )
        if any(not option.priced.price.priced for option in assessed.options):
            notes.append("some plans use tools of unknown price: they come last and are rated as the dearest")
        made = {output.name for option in assessed.options for output in option.priced.plan.outputs}
        missing = [want.name for want in request.wanted if want.name not in made]
        if missing:
            notes.append(f"no plan includes the optional {', '.join(missing)}")
        if request.objective.price_scale is None and any(o.priced.price.priced for o in assessed.options):
            notes.append(
                f"price scale ${format_usd(scale)}: the cheapest plan about as good as the best of "
                f"{len(assessed.options)}, by the policy's ratings"
            )
        return tuple(notes)


def _sum(left: Money | None, right: Money | None) -> Money | None:
    return None if left is None or right is None else Money(left + right)


def _sound(usage: Usage) -> Usage:
    """What a writer says it used.

    Raises:
        Unusable: it says nothing that can be priced.
    """
    seconds = getattr(usage, "seconds", math.nan)  # a writer may be somebody else's code
    if not (math.isfinite(seconds) and seconds >= 0):
        raise Unusable(f"cannot say what it used: {usage!r}")
    return usage


def _assessed(draft: Draft, cheap: Sequence[Cheap], request: PlanRequest) -> Assessed:
    """`assess`, for drafts that may hold anything: a writer can be somebody else's code or server.

    Raises:
        Unusable: the draft is not one.
    """
    try:
        return assess(draft, cheap, request)
    except (AttributeError, TypeError, KeyError, IndexError) as error:
        raise Unusable(f"answered with a draft that cannot be read ({type(error).__name__}: {error})") from error


def _point(option: Option) -> tuple[int, float, float]:
    return option.priced.expected, -option.rating.quality, option.priced.latency.expected_ms


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    """The result of `work` and the CPU seconds of this thread that it took."""
    began = time.thread_time()
    return work(), time.thread_time() - began
