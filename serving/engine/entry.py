"""The scheduler's notes on a job: how much memory it may take at worst, and how policies see it."""

from dataclasses import replace
from math import inf

from catp.serving.engine.request import Job
from catp.serving.engine.tables import Tables
from catp.serving.policies.costmodel import CostModel
from catp.serving.policies.protocol import Context, Interval, View

__all__ = ["Entry"]

_STALE = 8
"""Output tokens after which a running job's view is made anew."""


class Entry:
    """Notes on one job.

    Attributes:
        job: the job.
        number: in order of arrival.
        length: predicted output tokens.
        most: blocks it holds at worst: all branches as long as they may get, with only `shared` blocks in common.
        matched: leading blocks of the prompt that were cached when last looked at.
        longest: tokens of a branch at worst.
        width: branches at worst.
        seen: how policies saw it when last asked.
        latest: when it must start at the latest to be in time at best, or when it is late if it has started.
    """

    __slots__ = (
        "_due", "_shared", "job", "latest", "length", "longest", "matched", "most", "number", "seen", "size", "width",
    )  # fmt: skip

    def __init__(self, job: Job, number: int, length: Interval, size: int, costs: CostModel, budget: int) -> None:
        request = job.request
        self.job, self.number, self.length, self.size = job, number, length, size
        self.longest, self.width = len(request.prompt) + request.bound, request.width
        # a job with a single branch never forks: it keeps all of its table to its end
        self.shared = len(request.prompt) // size if request.width > 1 else -(-self.longest // size)
        self.matched = 0
        self.seen: View | None = None
        self._due: tuple[float | None, float | None] = (None, None)
        self._due = self._dues(costs, budget)
        self.latest = inf

    @property
    def shared(self) -> int:
        """Leading blocks that all branches have in common."""
        return self._shared

    @shared.setter
    def shared(self, blocks: int) -> None:
        self._shared = blocks
        self.most = blocks + self.width * (-(-self.longest // self.size) - blocks)

    @property
    def tokens(self) -> int:
        """Tokens of its prompt and its bound, what limits of the queue count."""
        return self.longest

    def view(self, tables: Tables) -> View:
        """Return how policies see it; the same object as before if little has changed."""
        request, branches, old = self.job.request, self.job.branches, self.seen
        context = len(request.prompt)
        root = branches[0]
        decodes = old is not None and not old.prompt and len(branches) == 1 and root.computed >= context
        if old is not None and decodes and len(root.tokens) - context - old.generated < _STALE:
            return old
        longest = len(root.tokens) if len(branches) == 1 else max(len(branch.tokens) for branch in branches)
        if root.computed or root.blocks:
            open_ = max(context - root.computed, 0)
        else:  # waiting: what is computed again after a preemption counts as prompt
            self.matched = tables.matched(root, self.matched)
            open_ = longest - self.matched * self.size
        generated = longest - context
        if old is None or old.prompt != open_ or abs(generated - old.generated) >= _STALE:
            self.seen = old = View(
                request.id, request.arrival, open_, context, request.bound, self.length, generated, request.tenant,
                request.priority, request.kind, *self._due, request.slo.tpot,
                len(self.job.holding.blocks),
            )  # fmt: skip
        return old

    def refresh(self, tables: Tables, costs: CostModel, budget: int) -> None:
        """Set `latest`: on an otherwise idle engine, if its output is as short as predicted with probability 0.9."""
        ttft, e2e = self._due
        started = self.job.started is not None
        view = self.view(tables)
        outlook = costs.outlook(Context(0.0, costs, (), budget))
        times = [inf]
        if ttft is not None and not view.generated:
            times.append(ttft if started else ttft - outlook.first(view))
        if e2e is not None:
            shortest = replace(view, length=Interval(self.length.low, self.length.low, self.length.high))
            times.append(e2e if started else e2e - outlook.service(shortest))
        self.latest = min(times)

    def _dues(self, costs: CostModel, budget: int) -> tuple[float | None, float | None]:
        """Return when the first token and the end are due; a plan's slack counts from the expected end."""
        request, slo = self.job.request, self.job.request.slo
        ttft = None if slo.ttft is None else request.arrival + slo.ttft
        ends = [] if slo.e2e is None else [request.arrival + slo.e2e]
        if slo.slack is not None:
            ends.append(request.arrival + costs.remaining(self._alone(), Context(request.arrival, costs, (), budget)))
            ends[-1] += slo.slack
        return ttft, min(ends, default=None)

    def _alone(self) -> View:
        request = self.job.request
        prompt = len(request.prompt)
        return View(request.id, request.arrival, prompt, prompt, request.bound, self.length)
