"""Asking somebody about the plan and its steps, while whatever does not depend on the answer goes on."""

import asyncio
from collections.abc import Callable

from catp.runtime.approval import ApprovalRequest, Approver
from catp.runtime.clock import Clock
from catp.runtime.commands import Approved, Event
from catp.runtime.dispatch import spawn

__all__ = ["Asking"]


class Asking:
    """The questions of one run.

    Args:
        approve: Decides; without it everything is refused.
        request: Makes the question about a step, or about the plan (None).
        clock: Time.
        post: Takes the answers.
        postpone: Told for how many nanoseconds the whole plan waited: its deadline counts from then.
    """

    def __init__(
        self,
        approve: Approver | None,
        *,
        request: Callable[[str | None], ApprovalRequest],
        clock: Clock,
        post: Callable[[Event], None],
        postpone: Callable[[int], None],
    ) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self.held_ns = 0
        self._approve = approve
        self._request = request
        self._clock = clock
        self._post = post
        self._postpone = postpone

    def ask(self, step: str | None) -> None:
        """Ask about a step, or about the plan (None)."""
        if self._approve is None:
            reason = "needs approval, and nobody was given to ask"
            self._post(Approved(self._clock.now_ns(), step, False, reason))
        else:
            spawn(self.tasks, self._ask(self._approve, step))

    async def _ask(self, approve: Approver, step: str | None) -> None:
        asked_ns = self._clock.now_ns()
        granted: bool | None = False
        reason = "approval was denied"
        try:
            answer = await approve(self._request(step))
            granted = None if answer is None else bool(answer)
        except Exception as error:
            reason = f"approval could not be had: {type(error).__name__}: {error}"
        if step is None:
            waited_ns = self._clock.now_ns() - asked_ns
            self.held_ns += waited_ns
            self._postpone(waited_ns)
        self._post(Approved(self._clock.now_ns(), step, granted, reason))
