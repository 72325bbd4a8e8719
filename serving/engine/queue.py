"""The waiting jobs and the order in which they are tried.

The policy is asked only when its answer may be another one: after an arrival or an end, or when `_ASK` seconds have
passed. A policy that raises, forgets somebody or takes too long is replaced by first come, first served for that time.
A job that was overtaken by later ones in `max_skips` rounds goes first, but only every `_AGED`-th start is one of
those, so that a queue full of late jobs does not undo the policy.
"""

from collections.abc import Callable, Iterator
from typing import Any

from catp.serving.engine.entry import Entry
from catp.serving.policies.base import QueuePolicy
from catp.serving.policies.fcfs import Fcfs
from catp.serving.policies.guard import Guarded
from catp.serving.policies.protocol import Context, View
from catp.serving.policies.registry import guarded

__all__ = ["Guard", "Queue"]

_ASK = 0.25
_AGED = 8


class Guard:
    """Asks a policy, and does without its answer if it is none.

    Args:
        policy: asked; its time limit is enforced (`catp.serving.policies.guard`).
        timer: seconds, for the limit.

    Attributes:
        failures: how often the policy raised or gave a wrong answer.
    """

    def __init__(self, policy: QueuePolicy, timer: Callable[[], float]) -> None:
        self.policy = policy if isinstance(policy, Guarded) else guarded(policy, clock=timer)
        self.failures = 0

    @property
    def name(self) -> str:
        """The policy's name."""
        return self.policy.name

    @property
    def fallbacks(self) -> int:
        """How often the policy failed or overran its time."""
        return self.failures + self.policy.overruns

    def order(self, views: list[View], context: Context) -> list[str]:
        """Return the ids in the policy's order, or by arrival."""
        ids = self._ask(lambda: list(self.policy.order(views, context)))
        if ids is not None and (len(ids) != len(views) or {view.id for view in views} != set(ids)):
            self.failures += 1
            ids = None
        return Fcfs().order(views, context) if ids is None else ids

    def shed(self, views: list[View], context: Context) -> list[str]:
        """Return whom the policy gives up."""
        ids = self._ask(lambda: list(self.policy.shed(views, context)))
        if not ids:
            return []
        known = {view.id for view in views}
        return [id_ for id_ in dict.fromkeys(ids) if id_ in known]

    def victim(self, views: list[View], context: Context) -> str:
        """Return whom to preempt; the last to arrive if the policy does not say."""
        choice: str | None = self._ask(lambda: self.policy.victim(views, context))
        if choice is not None and any(view.id == choice for view in views):
            return choice
        return max(views, key=lambda view: (view.arrival, view.id)).id

    def served(self, tenant: str, prompt: int, output: int) -> None:
        """Tell the policy what was computed."""
        self._ask(lambda: self.policy.served(tenant, prompt, output))

    def _ask(self, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except Exception:
            self.failures += 1
            return None


class Queue:
    """Waiting jobs by id, in order of arrival."""

    def __init__(self, guard: Guard, max_skips: int) -> None:
        self.entries: dict[str, Entry] = {}
        self.tokens = 0
        """Prompt tokens and bounds of all that wait."""
        self._guard, self._max_skips = guard, max_skips
        self._order: list[str] = []
        self._asked: float | None = None
        self._since_aged = _AGED

    def __len__(self) -> int:
        return len(self.entries)

    def add(self, entry: Entry) -> None:
        """Take a job in."""
        self.entries[entry.job.id] = entry
        self.tokens += entry.tokens
        self._asked = None

    def remove(self, entry: Entry) -> None:
        """Let a job go: it starts or ends."""
        if self.entries.pop(entry.job.id, None) is not None:
            self.tokens -= entry.tokens

    def changed(self) -> None:
        """Ask the policy anew when it matters next."""
        self._asked = None

    def stale(self, now: float) -> bool:
        """Whether the policy must be asked before the order means something."""
        return bool(self.entries) and (self._asked is None or now - self._asked >= _ASK)

    def ask(self, views: list[View], context: Context) -> list[Entry]:
        """Ask the policy for the order of all that wait; return whom it gives up."""
        self._asked = context.now
        self._order = self._guard.order(views, context)
        return [self.entries[id_] for id_ in self._guard.shed(views, context)]

    def __iter__(self) -> Iterator[Entry]:
        """The jobs in the order in which they are to be tried; an overtaken one first, if it is time for one."""
        aged = None
        if self._since_aged >= _AGED:
            aged = next((entry for entry in self.entries.values() if entry.job.skipped >= self._max_skips), None)
            if aged is not None:
                yield aged
        for id_ in self._order:
            entry = self.entries.get(id_)
            if entry is not None and entry is not aged:
                yield entry

    def overdue(self, entry: Entry) -> bool:
        """Whether nobody may overtake a job any more."""
        return entry.job.skipped >= self._max_skips and self._since_aged >= _AGED

    def started(self, entries: list[Entry]) -> None:
        """Count who was overtaken by those that started in a round; they are no longer in the queue."""
        for entry in entries:
            aged = entry.job.skipped >= self._max_skips
            self._since_aged = 0 if aged else self._since_aged + 1
        newest = max(entry.number for entry in entries)
        for entry in self.entries.values():
            if entry.number < newest:
                entry.job.skipped += 1
